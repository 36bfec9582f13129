"""The built-in consumers; each can be left out with `registry.remove(name)`."""

from orchestrator.lifecycle import provisioning
from orchestrator.registry import Registry

registry = Registry()
registry.include(provisioning.registry)
