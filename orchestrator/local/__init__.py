"""What `orchestrator invoke` needs besides the handler; nothing here is loaded in a Lambda."""
