"""Records every action, so that each is performed once, and follows every run until it ends."""
