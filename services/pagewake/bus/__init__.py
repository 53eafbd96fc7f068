"""Records in partitions: both ends of an at-least-once log; memory, Kafka, log directories."""
