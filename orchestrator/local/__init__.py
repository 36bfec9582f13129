"""Local AWS, Jenkins and control plane for `orchestrator invoke`; a deployed function loads nothing of this."""
