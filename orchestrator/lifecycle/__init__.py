"""The built-in consumers; each can be left out with `registry.remove(name)`."""

from orchestrator.lifecycle import deployment, deprovisioning, endings, provisioning
from orchestrator.registry import Registry

registry = Registry()
for part in (provisioning, deployment, deprovisioning, endings):
    registry.include(part.registry)
