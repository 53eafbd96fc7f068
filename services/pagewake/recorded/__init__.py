"""Recordings of real kernels: their lines, what they say in pagewake's events, and checks of it."""
