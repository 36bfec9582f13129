"""The job that a tier has for an event of a tenant, with its variables (CONTRACT sections 1 and 3)."""

from collections.abc import Mapping
from typing import Any

from orchestrator.actions import StartJob
from orchestrator.details import BuildDetail, ProvisioningDetail
from orchestrator.tiers import builder_name, job_name

IDENTITY_PROVIDER_FEATURE = "IdP"


def tenant_job(event_type: str, detail: ProvisioningDetail, tier: Mapping[str, Any]) -> StartJob:
    """Decide on the job.

    Args:
        event_type: The event's type.
        detail: What the event, or the tenant's record, asks for.
        tier: The tier's details.

    Returns:
        The job: on the build system of the detail, else of the tier; with the tier's variables, those that the
        detail asks for, and `tenant`.

    Raises:
        ConfigurationError: The tier names no such job.
    """
    return StartJob(
        name=job_name(tier, event_type),
        builder=(detail.builder_config and detail.builder_config.type) or builder_name(tier),
        trusted_variables=tier,
        variables={
            **requested_variables(detail.model_dump(by_alias=True, exclude_unset=True)),
            "tenant": tenant_of(detail),
        },
        tenant_id=detail.tenant.id,
    )


def tier_name(detail: BuildDetail, record: Mapping[str, Any]) -> str | None:
    """Read the tier of a build's tenant: from the build's environment, else from the tenant's record."""
    plan = record.get("planConfig")
    name = detail.tier or (plan.get("tier") if isinstance(plan, Mapping) else None)
    return name if isinstance(name, str) and name else None


def tenant_of(detail: ProvisioningDetail) -> dict[str, Any]:
    """Make the tenant as its jobs get it.

    Args:
        detail: What the event, or the tenant's record, holds.

    Returns:
        The tenant, with the identity provider that the plan's feature `IdP` decides on.
    """
    tenant = detail.tenant.model_dump(by_alias=True, exclude_unset=True)
    for feature in detail.plan_config.features or ():
        provider = feature.effective_value()
        if feature.key == IDENTITY_PROVIDER_FEATURE and provider is not None:
            tenant["identityProvider"] = provider
    return tenant


def requested_variables(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Read which variables a tenant's jobs are to have, besides its tier's.

    Args:
        detail: The flat detail of a TENANT_PROVISIONING event, or a stored tenant record.

    Returns:
        The variables; `environmentOverride` alone in shapes A and B, which say what the build gets.
    """
    builder: Mapping[str, Any] = detail.get("builderConfig") or {}
    override = (builder.get("config") or {}).get("environmentOverride") or {}
    if builder and detail.get("subscription") is None:
        return dict(override)
    given = {name: detail[name] for name in ("secret", "context") if detail.get(name) is not None}
    return {**((detail.get("planConfig") or {}).get("sizeConfig") or {}), **given, **override}
