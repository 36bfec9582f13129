from orchestrator import Registry, create_handler
from orchestrator.lifecycle import app_plane
from orchestrator.lifecycle import registry as lifecycle

registry = Registry()
registry.include(lifecycle)
registry.include(app_plane.registry, replace=True)

lambda_handler = create_handler(registry)
