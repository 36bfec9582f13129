"""The command `orchestrator bridge`: sends events from another message bus to the stack's waiting queue, in SQS."""
