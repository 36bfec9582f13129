"""Reads tier details, and reads and writes tenant records."""
