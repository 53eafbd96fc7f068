"""Simulated time: windows, counter-based randomness, what the two sides must offer."""
