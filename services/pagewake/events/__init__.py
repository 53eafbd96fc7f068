"""The wire: every event, commits, digests, schemas."""
