"""Runs a handler on an event as the function would, with everything that acts replaced by what only reads."""
