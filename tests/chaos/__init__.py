"""Runs the function in child processes and injects faults: kills, failed requests, lost and late answers."""
