"""Runs the consumers of an event side by side and performs the actions that they return."""
