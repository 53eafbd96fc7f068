"""The cluster runtime: services on Kafka, control over MQTT, metrics."""
