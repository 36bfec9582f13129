"""Builds the attributes of a tenant record that describe the tenant's status, and the actions that set them.

Among these attributes are the status itself, the time of the event that led to the status, and the id of the run, if a
run led to the status.
"""

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
from orchestrator.stores.tenants import STARTED_BY, STATUS_WEBHOOK, WAITING_FOR
from orchestrator.timing.clock import written

STATUS_RUN = "statusRun"
"""Attribute of a tenant record: id of the run that led to the status.

It is missing if no run led to the status, for example because a job could not be started.
"""

CALLBACK_ADDRESS = "callbackAddress"
"""Attribute of a tenant record: address of the status webhook.

Only an event whose `Event.start` is known may change it.
"""

_MAX_REASON_LENGTH = 1000


class TenantStatus(StrEnum):
    """How far a tenant has come, from its provisioning to its deprovisioning."""

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
    """Build the status attributes of a tenant record.

    Args:
        event: The event that leads to the status. Its time is stored.
        status: The new status.
        run_id: The run that led to the status, if any.
        build: The id of the CodeBuild build, or the URL of another build or execution, that led to the status, if any.
        reason: Why something failed. Only its first 1,000 characters are stored.

    Returns:
        All status attributes. If the new status has no value for an attribute, the attribute is `None`. The update of
        the tenant record then removes the attribute.
    """
    return {
        "status": status,
        "statusAt": written(event.time),
        STATUS_RUN: run_id,
        "statusBuild": build,
        "statusReason": reason and reason[:_MAX_REASON_LENGTH],
        STATUS_WEBHOOK: None,
        WAITING_FOR: None,
    }


def record_of(event: Event[Any], detail: ProvisioningDetail, status: TenantStatus) -> dict[str, Any]:
    """Build a new tenant record from an event's detail and a status."""
    known = {name: value for name, value in status_of(event, status).items() if value is not None}
    return {**detail.model_dump(by_alias=True, exclude_unset=True), "tenant": tenant_of(detail), **known}


# A status may only be replaced by one that comes later in this list. Failures come after successes, because a build may
# publish a success and then fail, but not the reverse.
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
# For each status, the statuses that normally follow it. If the tenant already has one of those, the event is late or a
# repeat. Its update of the tenant record is skipped then, but the other actions are performed.
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
    """Build the update that sets a tenant's status after a success.

    When the update is performed, it is skipped if the tenant record has a status that comes after the new status in
    `_ORDER`, where failures come after successes (see `UpdateTenant.ahead` and `UpdateTenant.final`). A failure is
    replaced nevertheless in two cases:

    - The record has no `statusRun`. Normally, this means that a job could not be started, and the job may have been
      started since. The failures `PROVISIONING_FAILED` and `DEPLOYMENT_FAILED` are then replaced.
    - `event.start` is `None`: the event's run is unknown, so the failure may belong to another run. `PROVISIONED` and
      `DEPLOYING` then replace `PROVISIONING_FAILED`. `DEPLOYED` replaces `PROVISIONING_FAILED` and `DEPLOYMENT_FAILED`.
      `DEPROVISIONED` replaces every failure.

    Args:
        event: The event that leads to the status.
        status: The new status: `PROVISIONED`, `DEPLOYING`, `DEPLOYED` or `DEPROVISIONED`.
        record: The tenant record before the update.
    """
    update = _changed(event, status, status_of(event, status, run_of(event), event.detail.build))
    if STATUS_RUN in record:
        return update
    ahead, final = ([one for one in known if one != record.get("status")] for known in (update.ahead, update.final))
    is_failed = record.get("status") in _FAILED
    return replace(update, ahead=tuple(ahead), final=tuple(final)) if is_failed else update


def failed(event: Event[BuildDetail], status: TenantStatus, record: Mapping[str, Any]) -> UpdateTenant:
    """Build the update that sets a tenant's status after a failure.

    When the update is performed, it is skipped if the tenant record has a status that comes after the new status in
    `_ORDER`. If `event.start` is `None`, this rule applies only to the statuses of a deprovisioning.

    If the Lambda function cannot start the first job of an operation, such as a tenant's provisioning, it publishes the
    failure event itself. In this case, the update also creates a missing tenant record, and removes the attribute
    `startedBy`. If someone then sends the operation's first event again, the operation begins again. However, if
    `startedBy` is the id of that first event, and the record has a status to which only a run can have led, another
    delivery of the first event has started the job. This update is then skipped, too.

    Args:
        event: The event that reports the failure.
        status: The new status, which ends in `_FAILED`.
        record: The tenant record before the update.
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
        # This delivery started no job. A status that only a run can reach comes from a later delivery, so it is kept.
        final = (*final, *(reached for reached in _REACHED_BY_RUNS if reached != status))
    return replace(update, create=True, final=final)


def run_of(event: Event[BuildDetail]) -> str | None:
    """Read the run id, `ORCHESTRATOR_RUN_ID`, from an event's detail; return `None` if the detail has none."""
    run_id = event.detail.as_sent.get(RUN_ID_VARIABLE)
    return run_id if isinstance(run_id, str) and run_id else None


def _changed(event: Event[BuildDetail], status: TenantStatus, changes: Mapping[str, Any]) -> UpdateTenant:
    ahead = _AHEAD.get(status, ())
    final = [other for other in _ORDER[_ORDER.index(status) + 1 :] if other not in ahead]
    if event.start is not None and event.detail.api_endpoint:
        changes = {**changes, CALLBACK_ADDRESS: event.detail.api_endpoint}
    if event.start is None:  # the event's run is unknown, so a stored failure may be that of another run: replace it
        final = [other for other in final if _is_off_boarding(other) and not _is_off_boarding(status)]
    return UpdateTenant(
        tenant_id=event.detail.tenant.id, changes=changes, status=status, ahead=ahead, final=tuple(final)
    )


def _is_off_boarding(status: TenantStatus) -> bool:
    return status.startswith("DEPROVISION")
