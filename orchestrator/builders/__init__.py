"""Starts jobs in build systems, looks up how their runs ended, and checks the variables that are passed to the jobs."""
