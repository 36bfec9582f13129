"""Proves that a bridge which is killed at any point loses no event, and that no job starts twice."""
