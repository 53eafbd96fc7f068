"""The documentation, and what makes and checks it: `make docs`, tests/docs."""
