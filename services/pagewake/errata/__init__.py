"""The gallery of defects: each is run under the rules that had it, and with one switch mended."""
