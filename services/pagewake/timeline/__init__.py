"""A log as a timeline for Chrome and Perfetto, in simulated time."""
