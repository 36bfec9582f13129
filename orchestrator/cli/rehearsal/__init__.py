"""Runs a handler on an event without side effects: stores, clients and builders are replaced by read-only ones."""
