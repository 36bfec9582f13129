"""Starts the job that provisions a tenant (CONTRACT sections 1 to 3)."""

from collections.abc import Mapping
from typing import Any

from orchestrator.actions import Action, SaveTenant, StartJob
from orchestrator.context import Context
from orchestrator.details import ProvisioningDetail
from orchestrator.event import Event, EventType
from orchestrator.registry import Registry
from orchestrator.tiers import builder_name, job_name

IDENTITY_PROVIDER_FEATURE = "IdP"

registry = Registry()


@registry.consumer(EventType.TENANT_PROVISIONING, failure_type=EventType.TENANT_PROVISIONING_FAILURE)
def start_provisioning_job(event: Event[ProvisioningDetail], context: Context) -> list[Action]:
    """Store the tenant's record, then start the job of the plan's tier.

    Args:
        event: A TENANT_PROVISIONING event of any shape.
        context: Gives the tier's details.

    Returns:
        The record to store and the job to start, in this order.

    Raises:
        ConfigurationError: The tier is not known, or names no job.
    """
    detail = event.detail
    tier = context.tiers.get(detail.plan_config.tier)
    tenant = _tenant(detail)
    record = {**detail.model_dump(by_alias=True, exclude_unset=True), "tenant": tenant}
    return [
        SaveTenant(tenant_id=detail.tenant.id, record=record),
        StartJob(
            name=job_name(tier, event.type),
            builder=(detail.builder_config and detail.builder_config.type) or builder_name(tier),
            trusted_variables=tier,
            variables={**_requested_variables(detail), "tenant": tenant},
            tenant_id=detail.tenant.id,
        ),
    ]


def _tenant(detail: ProvisioningDetail) -> dict[str, Any]:
    tenant = detail.tenant.model_dump(by_alias=True, exclude_unset=True)
    for feature in detail.plan_config.features or ():
        provider = feature.effective_value()
        if feature.key == IDENTITY_PROVIDER_FEATURE and provider is not None:
            tenant["identityProvider"] = provider
    return tenant


def _requested_variables(detail: ProvisioningDetail) -> Mapping[str, Any]:
    config = detail.builder_config.config if detail.builder_config else None
    override = (config and config.environment_override) or {}
    if detail.builder_config is not None and detail.subscription is None:
        return override  # shapes A and B say what the build gets
    given = {"secret": detail.secret, "context": detail.context}
    return {
        **(detail.plan_config.size_config or {}),
        **{name: value for name, value in given.items() if value is not None},
        **override,
    }
