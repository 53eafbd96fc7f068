"""Linux mm of L0 for one simulated host: frames, limits, replacement, swap device, page-ins."""
