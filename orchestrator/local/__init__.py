"""Emulates AWS, Jenkins and the control plane on a developer's machine; a deployed function does not load this."""
