"""The command `orchestrator bridge`: sends the events of another message bus to the waiting queue."""
