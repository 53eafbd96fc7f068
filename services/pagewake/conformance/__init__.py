"""Recorded vectors, run against the code that simulations run."""
