"""Measures what DESIGN gives a budget for; every comparison is taken in one interleaved run."""
