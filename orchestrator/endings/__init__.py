"""Finds out how runs ended, from events and from the build systems, and publishes it."""
