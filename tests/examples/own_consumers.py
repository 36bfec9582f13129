from orchestrator import Event, Registry, StartJob, create_handler
from orchestrator.lifecycle import registry as lifecycle

from .own_builder import CloudFormation

TEMPLATE = "https://my-templates.s3.amazonaws.com/tenant-domain.json"

registry = Registry()
registry.include(lifecycle)


@registry.consumer("TENANT_DOMAIN_ADDED")
def add_domain(event: Event) -> StartJob:
    variables = {"TenantId": event.detail["tenantId"], "Domain": event.detail["domain"]}
    return StartJob(builder="CLOUD_FORMATION", name=TEMPLATE, variables=variables)


lambda_handler = create_handler(registry, builders={"CLOUD_FORMATION": CloudFormation()})
