"""Measures what has a budget; every comparison is taken in one interleaved run."""
