"""Emulates AWS, Jenkins and the control plane on a developer's machine. Deployed functions do not import it."""
