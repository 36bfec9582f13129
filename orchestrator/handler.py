"""The ready-made Lambda handler, with the built-in consumers and with settings from environment variables."""

from orchestrator.lifecycle import registry
from orchestrator.wiring import create_handler

lambda_handler = create_handler(registry)
