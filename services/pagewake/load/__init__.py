"""Load tests: VMs that thrash, in growing sizes, embedded or on a cluster."""
