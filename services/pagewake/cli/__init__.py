"""The `pagewake` command."""
