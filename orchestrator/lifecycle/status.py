"""What a tenant's record says of its life: how far it is, since when, by which build, and why it went no further."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from orchestrator.action import UpdateTenant
from orchestrator.details import BuildDetail, ProvisioningDetail
from orchestrator.event import Event
from orchestrator.lifecycle.tenant_job import tenant_of
from orchestrator.run import EVENT_ID_VARIABLE, RUN_ID_VARIABLE
from orchestrator.stores.tenants import STARTED_BY, STATUS_WEBHOOK
from orchestrator.timing.clock import written

STATUS_RUN = "statusRun"
"""Attribute with the run id of the run that came to the status; none came to that of a job that was not started."""

CALLBACK_ADDRESS = "callbackAddress"
"""Attribute with the address of the status webhook that a report brought which was believed."""

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
    event: Event[Any],
    status: TenantStatus,
    run_id: str | None = None,
    build: str | None = None,
    reason: str | None = None,
) -> dict[str, str | None]:
    """Make the attributes of a record that tell of a status.

    Args:
        event: The event that brings it.
        status: The status.
        run_id: The run that came to it.
        build: The build that came to it.
        reason: Why it is no better, in words that may be stored.

    Returns:
        `status`, `statusAt`, `statusRun`, `statusBuild`, `statusReason` and `statusWebhook` (why the control plane did
        not get or accept it); `None` where there is nothing to say.
    """
    return {
        "status": status,
        "statusAt": written(event.time),
        STATUS_RUN: run_id,
        "statusBuild": build,
        "statusReason": reason and reason[:_MAX_REASON_LENGTH],
        STATUS_WEBHOOK: None,
    }


def record_of(event: Event[Any], detail: ProvisioningDetail, status: TenantStatus) -> dict[str, Any]:
    """Make the record of a tenant that has none: what the event brings, and the status."""
    known = {name: value for name, value in status_of(event, status).items() if value is not None}
    return {**detail.model_dump(by_alias=True, exclude_unset=True), "tenant": tenant_of(detail), **known}


# In the order in which a tenant has them. Those of a deprovisioning come after any of a provisioning, and a build that
# failed may have told of a success before, but never after.
_ORDER = (
    TenantStatus.PROVISIONING,
    TenantStatus.PROVISIONED,
    TenantStatus.DEPLOYING,
    TenantStatus.DEPLOYED,
    TenantStatus.DEPLOYMENT_FAILED,
    TenantStatus.PROVISIONING_FAILED,
    TenantStatus.DEPROVISIONING,
    TenantStatus.DEPROVISIONED,
    TenantStatus.DEPROVISIONING_FAILED,
)
# What comes of a status when all goes its way: to such a tenant it is told again, or late.
_AHEAD: Mapping[TenantStatus, tuple[TenantStatus, ...]] = MappingProxyType(
    {
        TenantStatus.PROVISIONED: (
            TenantStatus.DEPLOYING,
            TenantStatus.DEPLOYED,
            TenantStatus.DEPLOYMENT_FAILED,
        ),
        TenantStatus.DEPLOYING: (TenantStatus.DEPLOYED, TenantStatus.DEPLOYMENT_FAILED),
    }
)


_FAILED = (TenantStatus.PROVISIONING_FAILED, TenantStatus.DEPLOYMENT_FAILED)
_REACHED_BY_RUNS = (
    TenantStatus.PROVISIONED,
    TenantStatus.DEPLOYING,
    TenantStatus.DEPLOYED,
    TenantStatus.DEPLOYMENT_FAILED,
    TenantStatus.DEPROVISIONED,
)


def reached(event: Event[BuildDetail], status: TenantStatus, record: Mapping[str, Any]) -> UpdateTenant:
    """Note that a build brought a tenant on.

    Args:
        event: The event that says so.
        status: How far the tenant is.
        record: The tenant's record. Where it says that a job could not be started, that was before somebody sent the
            event again.

    Returns:
        The change of its record; of one that has come further, or whose build has failed, nothing is changed.
    """
    update = _changed(event, status, status_of(event, status, run_of(event), event.detail.build))
    if STATUS_RUN in record:
        return update
    ahead, final = ([one for one in known if one != record.get("status")] for known in (update.ahead, update.final))
    is_failed = record.get("status") in _FAILED
    return replace(update, ahead=tuple(ahead), final=tuple(final)) if is_failed else update


def failed(event: Event[BuildDetail], status: TenantStatus, record: Mapping[str, Any]) -> UpdateTenant:
    """Note that a build failed, and why.

    Args:
        event: The event that says so; this function's own where the job could not be started. Then the tenant may have
            no record yet, and the event that was to start the job may be sent once more.
        status: Which step it was.
        record: The tenant's record.

    Returns:
        The change of its record.
    """
    build = event.detail.build
    reason = event.detail.reason or (f"build {build} failed" if build else "the job failed")
    changes = status_of(event, status, run_of(event), build, reason)
    start = event.start if event.is_own_failure else None
    if start is None or start.event_id != event.detail.as_sent.get(EVENT_ID_VARIABLE):
        return _changed(event, status, changes)
    update = _changed(event, status, {**changes, STARTED_BY: None})
    final = update.final
    if record.get(STARTED_BY) == start.event_id:
        # With no job started, no run can have brought the tenant on, unless somebody has sent the event again since.
        final = (*final, *(reached for reached in _REACHED_BY_RUNS if reached != status))
    return replace(update, create=True, final=final)


def run_of(event: Event[BuildDetail]) -> str | None:
    """Read the run id of the run that a build's detail is of."""
    run_id = event.detail.as_sent.get(RUN_ID_VARIABLE)
    return run_id if isinstance(run_id, str) and run_id else None


def _changed(event: Event[BuildDetail], status: TenantStatus, changes: Mapping[str, Any]) -> UpdateTenant:
    ahead = _AHEAD.get(status, ())
    final = [other for other in _ORDER[_ORDER.index(status) + 1 :] if other not in ahead]
    if event.start is not None and event.detail.api_endpoint:
        changes = {**changes, CALLBACK_ADDRESS: event.detail.api_endpoint}
    if event.start is None:  # of no run that is known: the failure may have been another run's, which was mended
        final = [other for other in final if _is_off_boarding(other) and not _is_off_boarding(status)]
    return UpdateTenant(
        tenant_id=event.detail.tenant.id, changes=changes, status=status, ahead=ahead, final=tuple(final)
    )


def _is_off_boarding(status: TenantStatus) -> bool:
    return status.startswith("DEPROVISION")
