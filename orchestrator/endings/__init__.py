"""Finds out from events and from the build systems how runs ended, and publishes the endings."""
