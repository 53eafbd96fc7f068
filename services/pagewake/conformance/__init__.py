"""Recorded vectors, run against the rules that simulations run by."""
