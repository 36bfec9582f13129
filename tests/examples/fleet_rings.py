from orchestrator import Event, Registry, StartJob, create_handler
from orchestrator.lifecycle import registry as lifecycle

RINGS = {"ring 0": 2, "ring 1": 20, "ring 2": 100}  # how many upgrades run at a time

registry = Registry()
registry.include(lifecycle)


@registry.consumer("TENANT_UPGRADE")
def upgrade(event: Event) -> StartJob:
    ring = event.detail["ring"]
    return StartJob(
        name="upgrade-tenant",
        tenant_id=event.detail["tenantId"],
        variables={"version": event.detail["version"]},
        slot=ring,
        slots=RINGS[ring],
    )


@registry.consumer("TENANT_UPGRADE_FAILURE")
def count_failure(event: Event) -> None:
    """Let the metric EventHandled count upgrades that failed."""


lambda_handler = create_handler(registry)
