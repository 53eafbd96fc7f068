"""Scenario files: the model, its reading and writing, presets, page traces."""
