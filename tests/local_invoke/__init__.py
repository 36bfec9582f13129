"""The built function in a container, as `sam local invoke` runs it; see `__main__`."""
