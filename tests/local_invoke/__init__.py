"""Runs the built function in a container with `sam local invoke`."""
