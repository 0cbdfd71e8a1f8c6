"""Fuzzing: what dynsys reads, drawn at random, and what must be true of whatever comes out. See `__main__`."""
