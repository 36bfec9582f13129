"""Keeps records of actions, so that each action is performed once, and of runs, which are checked until they end."""
