"""Performs actions: starts jobs, publishes events, sends callbacks and writes tenant records."""
