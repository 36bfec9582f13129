"""The ready-made function: the built-in consumers, with the settings of the environment."""

from orchestrator.lifecycle import registry
from orchestrator.wiring import create_handler

lambda_handler = create_handler(registry)
