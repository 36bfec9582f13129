"""The ready-made function: the built-in consumers, with the settings of the environment."""

from orchestrator.application import create_handler
from orchestrator.lifecycle import registry

lambda_handler = create_handler(registry)
