"""A scenario from a recording: what the recording says, a skeleton of it, and how near it comes."""
