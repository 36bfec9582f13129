"""The built-in consumers. Each of them can be left out: `registry.remove(name)`."""

from orchestrator.lifecycle import deployment, deprovisioning, endings, provisioning
from orchestrator.registry import Registry

registry = Registry()
for part in (provisioning, deployment, deprovisioning, endings):
    registry.include(part.registry)
