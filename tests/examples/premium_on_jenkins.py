from dataclasses import replace

from orchestrator import Action, Context, Event, Registry, StartJob, create_handler
from orchestrator.details import ProvisioningDetail
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.lifecycle.provisioning import start_provisioning_job


def is_premium(event: Event[ProvisioningDetail]) -> bool:
    return event.detail.plan_config.tier == "PREMIUM"


def with_builder(builder: str, actions: list[Action]) -> list[Action]:
    return [replace(action, builder=builder) if isinstance(action, StartJob) else action for action in actions]


registry = Registry()
registry.include(lifecycle)
registry.remove("start_provisioning_job")


@registry.consumer("TENANT_PROVISIONING", when=is_premium)
def provision_on_jenkins(event: Event[ProvisioningDetail], context: Context) -> list[Action]:
    return with_builder("JENKINS", start_provisioning_job(event, context))


@registry.consumer("TENANT_PROVISIONING", when=lambda event: not is_premium(event))
def provision_on_codebuild(event: Event[ProvisioningDetail], context: Context) -> list[Action]:
    return with_builder("CODE_BUILD", start_provisioning_job(event, context))


lambda_handler = create_handler(registry)
