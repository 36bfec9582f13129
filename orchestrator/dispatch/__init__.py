"""Consumers of an event, side by side, and what they decided, performed."""
