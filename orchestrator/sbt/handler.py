"""The ready-made Lambda handler with the built-in consumers and the consumers for AWS SaaS Builder Toolkit."""

from orchestrator.lifecycle import registry as lifecycle
from orchestrator.registry import Registry
from orchestrator.sbt import registry as sbt
from orchestrator.wiring import create_handler

registry = Registry()
registry.include(lifecycle)
registry.include(sbt)

lambda_handler = create_handler(registry)
