"""What a tenant's record says of its life: how far it is, since when, by which build, and why it went no further."""

from enum import StrEnum
from typing import Any

from orchestrator.actions import UpdateTenant
from orchestrator.details import BuildDetail, ProvisioningDetail
from orchestrator.event import Event
from orchestrator.lifecycle.job import tenant_of
from orchestrator.tenants import STATUS_WEBHOOK, written

_MAX_REASON_LENGTH = 1000


class TenantStatus(StrEnum):
    """How far a tenant is."""

    PROVISIONING = "PROVISIONING"
    PROVISIONED = "PROVISIONED"
    PROVISIONING_FAILED = "PROVISIONING_FAILED"
    DEPLOYING = "DEPLOYING"
    DEPLOYED = "DEPLOYED"
    DEPLOYMENT_FAILED = "DEPLOYMENT_FAILED"
    DEPROVISIONING = "DEPROVISIONING"
    DEPROVISIONED = "DEPROVISIONED"
    DEPROVISIONING_FAILED = "DEPROVISIONING_FAILED"


def status_of(
    event: Event[Any], status: TenantStatus, build: str | None = None, reason: str | None = None
) -> dict[str, str | None]:
    """Make the attributes of a record that tell of a status.

    Args:
        event: The event that brings it.
        status: The status.
        build: The build that came to it.
        reason: Why it is no better, in words that may be stored.

    Returns:
        `status`, `statusAt`, `statusBuild`, `statusReason` and `statusWebhook` (why the control plane did not get or
        accept it); `None` where there is nothing to say.
    """
    return {
        "status": status,
        "statusAt": written(event.time),
        "statusBuild": build,
        "statusReason": reason and reason[:_MAX_REASON_LENGTH],
        STATUS_WEBHOOK: None,
    }


def record_of(event: Event[Any], detail: ProvisioningDetail, status: TenantStatus) -> dict[str, Any]:
    """Make the record of a tenant that has none: what the event brings, and the status."""
    known = {name: value for name, value in status_of(event, status).items() if value is not None}
    return {**detail.model_dump(by_alias=True, exclude_unset=True), "tenant": tenant_of(detail), **known}


def reached(event: Event[BuildDetail], status: TenantStatus) -> UpdateTenant:
    """Note that a build brought a tenant on.

    Args:
        event: The event that says so.
        status: How far the tenant is.

    Returns:
        The change of its record.
    """
    return UpdateTenant(tenant_id=event.detail.tenant.id, changes=status_of(event, status, event.detail.build))


def failed(event: Event[BuildDetail], status: TenantStatus, *, create: bool = False) -> UpdateTenant:
    """Note that a build failed, and why.

    Args:
        event: The event that says so.
        status: Which step it was.
        create: Whether a record is made for a tenant that has none.

    Returns:
        The change of its record.
    """
    build = event.detail.build
    reason = event.detail.reason or (f"build {build} failed" if build else "the job failed")
    return UpdateTenant(
        tenant_id=event.detail.tenant.id, changes=status_of(event, status, build, reason), create=create
    )
