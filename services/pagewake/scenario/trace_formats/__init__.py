"""What page traces look like in the files that people have, a module for each family of formats."""
