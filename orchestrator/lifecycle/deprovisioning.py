"""Deprovisions a tenant: starts the job, and sees to what comes of it (CONTRACT sections 1 and 5)."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from orchestrator.actions import Action, UpdateTenant
from orchestrator.context import Context
from orchestrator.details import BuildDetail, DeprovisioningDetail, ProvisioningDetail
from orchestrator.errors import InvalidEvent, UnknownTenant, shown
from orchestrator.event import Event, EventType
from orchestrator.lifecycle.job import tenant_job
from orchestrator.lifecycle.status import TenantStatus, failed, reached, status_of
from orchestrator.lifecycle.webhook import FAILURE, SUCCESS, WEBHOOK, status_webhook
from orchestrator.registry import Registry
from orchestrator.validation import explain

registry = Registry()


@registry.consumer(
    EventType.TENANT_DEPROVISIONING,
    failure_type=EventType.TENANT_DEPROVISIONING_FAILURE,
    leads_to=[EventType.TENANT_DEPROVISIONING_SUCCESS],
)
def start_deprovisioning_job(event: Event[DeprovisioningDetail], context: Context) -> list[Action]:
    """Start the deprovisioning job of the tenant's tier; the tenant's record fills in what the event leaves out.

    Args:
        event: A TENANT_DEPROVISIONING event.
        context: Gives the tier's details and the tenant's record.

    Returns:
        The change of the tenant's record and the job, in this order.

    Raises:
        UnknownTenant: The tenant has no record, and the event names no plan.
        InvalidEvent: The tenant's record does not fit.
        ConfigurationError: The tier is not known, or names no job for it.
    """
    detail = _completed(event, context.tenants.get(event.detail.tenant.id))
    tier = context.tiers.get(detail.plan_config.tier)
    changes = status_of(event, TenantStatus.DEPROVISIONING)
    status = UpdateTenant(tenant_id=detail.tenant.id, changes=changes)
    return [status, tenant_job(event.type, detail, tier)]


@registry.consumer(EventType.TENANT_DEPROVISIONING_SUCCESS, leads_to=[WEBHOOK])
def report_deprovisioning_success(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Note that the tenant is gone, then tell the control plane.

    Args:
        event: A TENANT_DEPROVISIONING_SUCCESS event.
        context: Gives the tenant's record.

    Returns:
        The change of the tenant's record and, where the event allows one, the status webhook.
    """
    # The control plane answers 401 for a tenant that is not in provisioning, as this one need not be.
    webhook = status_webhook(event, SUCCESS, context, may_be_settled=True)
    return [reached(event, TenantStatus.DEPROVISIONED), *webhook]


@registry.consumer(EventType.TENANT_DEPROVISIONING_FAILURE, leads_to=[WEBHOOK])
def report_deprovisioning_failure(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Note why the tenant is still there, then tell the control plane.

    Args:
        event: A TENANT_DEPROVISIONING_FAILURE event.
        context: Gives the tenant's record.

    Returns:
        The change of the tenant's record and, where the event allows one, the status webhook.
    """
    webhook = status_webhook(event, FAILURE, context, may_be_settled=True)
    return [failed(event, TenantStatus.DEPROVISIONING_FAILED), *webhook]


def _completed(event: Event[DeprovisioningDetail], record: Mapping[str, Any] | None) -> ProvisioningDetail:
    sent = event.detail.model_dump(by_alias=True, exclude_unset=True)
    if record is None and sent.get("planConfig") is None:
        raise UnknownTenant(
            f"{shown(event.type)} event {shown(event.id)}: tenant {shown(event.detail.tenant.id)} has no record, and "
            "detail.planConfig is missing; correct the tenant, or send its plan"
        )
    try:
        return ProvisioningDetail.model_validate(_filled(sent, record or {}))
    except ValidationError as error:
        raise InvalidEvent(
            f"{shown(event.type)} event {shown(event.id)}: with the tenant's record, {explain(error, root='detail')}"
        ) from None


def _filled(sent: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(stored)
    for name, value in sent.items():
        before = stored.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            filled[name] = _filled(value, before)
        elif value is not None or name not in stored:
            filled[name] = value
    return filled
