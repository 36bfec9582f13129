"""Records which actions were performed, so that each is performed once, and which of the started runs have ended."""
