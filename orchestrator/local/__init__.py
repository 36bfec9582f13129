"""Emulates AWS, Jenkins and the control plane for local use. Deployed functions do not import `orchestrator.local`."""
