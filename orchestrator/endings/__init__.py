"""How runs ended: from events, from state changes, and by asking the build systems."""
