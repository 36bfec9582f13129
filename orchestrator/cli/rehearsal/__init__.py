"""Runs a handler's consumers on an event, with stores, clients and builders that only read."""
