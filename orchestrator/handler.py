"""The ready-made Lambda handler. It has the built-in consumers, and its settings come from environment variables."""

from orchestrator.lifecycle import registry
from orchestrator.wiring import create_handler

lambda_handler = create_handler(registry)
