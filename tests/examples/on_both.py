from orchestrator import Event, Registry, StartJob, create_handler
from orchestrator.lifecycle import registry as lifecycle

registry = Registry()
registry.include(lifecycle)


@registry.consumer("TENANT_UPGRADED")
def upgrade(event: Event) -> list[StartJob]:
    variables = {"tenant": event.detail["tenant"], "tier": event.detail["tier"]}
    return [
        StartJob(builder="CODE_BUILD", name="tenant-infrastructure", variables=variables),
        StartJob(builder="JENKINS", name="tenants/migrate-data", variables=variables),
    ]


lambda_handler = create_handler(registry)
