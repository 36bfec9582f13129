"""Keeps records of actions, so that each action is performed once. The records also show which runs are followed."""
