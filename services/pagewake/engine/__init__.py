"""The embedded runtime: a whole run in one process."""
