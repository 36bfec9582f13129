"""Drives the function in real child processes, and breaks them and their surroundings on purpose."""
