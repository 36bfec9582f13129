"""Records actions, so that each is performed once, and lists the runs that are followed until they end."""
