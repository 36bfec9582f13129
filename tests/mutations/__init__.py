"""Hands mutated events to the handler; see tests/chaos/README.md."""
