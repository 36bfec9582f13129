"""Build systems that run jobs, and the variables passed to the jobs."""
