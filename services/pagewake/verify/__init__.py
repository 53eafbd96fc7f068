"""A log checked from itself alone: integrity, order, digests, invariants."""
