"""A log as one HTML page."""
