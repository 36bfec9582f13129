"""Proves that a project of `orchestrator init` works with nothing but the built wheel."""
