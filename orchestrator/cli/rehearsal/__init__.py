"""Runs a handler on an event without changing anything: replaces each part that would act by one that only reads."""
