"""One record for each action: performed once, and for each job followed until its run has ended."""
