"""The consumers: each receives an event, and returns the actions to perform."""

from orchestrator import Event, Registry, StartJob
from orchestrator.lifecycle import registry as lifecycle

registry = Registry()
registry.include(lifecycle)  # all built-ins; registry.remove("name") opts out of one


@registry.consumer("TENANT_SUSPENDED")
def suspend(event: Event) -> StartJob:
    return StartJob(builder="CODE_BUILD", name="suspend-tenant", variables={"tenant": event.detail["tenantId"]})


@registry.consumer("TENANT_SUSPENDED", when=lambda event: event.detail["tier"] == "PREMIUM")
def scale_down(event: Event) -> StartJob:
    return StartJob(builder="JENKINS", name="tenants/scale-down", variables={"tenant": event.detail["tenantId"]})
