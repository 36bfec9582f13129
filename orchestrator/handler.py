"""The ready-made Lambda handler: the built-in consumers, with settings from the environment."""

from orchestrator.lifecycle import registry
from orchestrator.wiring import create_handler

lambda_handler = create_handler(registry)
