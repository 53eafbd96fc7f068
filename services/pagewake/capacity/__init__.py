"""What a cluster needs for a scenario: measured on its beginning, scaled to the whole run."""
