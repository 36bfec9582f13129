"""Benchmarks; each comparison is measured in one interleaved run."""
