"""Build systems that start jobs, and the variables that the jobs get."""
