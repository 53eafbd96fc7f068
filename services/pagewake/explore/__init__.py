"""Every interleaving of a small machine, walked with the code that simulations run."""
