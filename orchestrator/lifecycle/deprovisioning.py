"""Starts the deprovisioning job of a tenant, and handles the ending of the job's run."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from orchestrator.action import Action, SaveTenant, UpdateTenant
from orchestrator.consumer import Context
from orchestrator.details import BuildDetail, DeprovisioningDetail, ProvisioningDetail, given_variables
from orchestrator.ending_event import EndingEvent
from orchestrator.errors import InvalidEvent, UnknownTenant, shown
from orchestrator.event import Event, EventType
from orchestrator.lifecycle.status import TenantStatus, record_of, status_of
from orchestrator.lifecycle.tenant_job import tenant_job
from orchestrator.lifecycle.webhook import SIGNING, WEBHOOK, conclude
from orchestrator.registry import Registry
from orchestrator.values.validation import explain

registry = Registry()


@registry.consumer(EventType.TENANT_DEPROVISIONING, ending=EndingEvent())
def start_deprovisioning_job(event: Event[DeprovisioningDetail], context: Context) -> list[Action]:
    """Set the tenant's status to DEPROVISIONING, and start the deprovisioning job of the tenant's tier.

    Members that the event's detail lacks, such as the plan, are taken from the tenant record. If the tenant has no
    tenant record, and the event names the plan, a tenant record is created.

    Raises:
        UnknownTenant: The tenant has no tenant record, and the event names no plan.
        InvalidEvent: With the members from the tenant record, the detail is invalid, or requests a variable that the
            tier does not allow.
        ConfigurationError: The tier is unknown, names no deprovisioning job, or has a malformed attribute.
    """
    record = context.tenants.get(event.detail.tenant.id)
    detail = _completed(event, record)
    tier = context.tiers.get(detail.plan_config.tier)
    note: Action
    if record is None:
        note = SaveTenant(tenant_id=detail.tenant.id, record=record_of(event, detail, TenantStatus.DEPROVISIONING))
    else:
        sent = event.detail.model_dump(by_alias=True, exclude_unset=True)
        changes = {**status_of(event, TenantStatus.DEPROVISIONING), **_own_signing(sent)}
        note = UpdateTenant(tenant_id=detail.tenant.id, changes=changes, starts=True)
    return [note, tenant_job(event.type, detail, tier)]


@registry.consumer(EventType.TENANT_DEPROVISIONING_SUCCESS, leads_to=[WEBHOOK])
def handle_deprovisioning_success(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Set the tenant's status to DEPROVISIONED, and remove `secret` and `context` from the tenant record.

    A status webhook is sent only if the setting `DEPROVISIONING_WEBHOOK_TYPE` is set (see `conclude`). If the detail
    says that the build failed, the event is handled as TENANT_DEPROVISIONING_FAILURE instead.
    """
    if event.detail.has_failed:
        return conclude(event, TenantStatus.DEPROVISIONING_FAILED, context)
    return [*conclude(event, TenantStatus.DEPROVISIONED, context), *_forgotten(event.detail.tenant.id, context)]


@registry.consumer(EventType.TENANT_DEPROVISIONING_FAILURE, leads_to=[WEBHOOK])
def handle_deprovisioning_failure(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Set the tenant's status to DEPROVISIONING_FAILED.

    A status webhook is sent only if the setting `DEPROVISIONING_WEBHOOK_TYPE` is set (see `conclude`).
    """
    return conclude(event, TenantStatus.DEPROVISIONING_FAILED, context)


def _forgotten(tenant_id: str, context: Context) -> list[Action]:
    """Build the action that removes the attributes `secret` and `context` from the tenant record.

    They are removed from the record's top level and from the record's `builderConfig.config.environmentOverride`. If
    there is nothing to remove, the result is an empty list.
    """
    record = context.tenants.get(tenant_id) or {}
    changes: dict[str, Any] = {name: None for name in SIGNING if name in record}
    builder = _mapping(record.get("builderConfig"))
    config = _mapping(builder.get("config"))
    override = _mapping(config.get("environmentOverride"))
    if not override.keys().isdisjoint(SIGNING):
        kept = {name: value for name, value in override.items() if name not in SIGNING}
        changes["builderConfig"] = {**builder, "config": {**config, "environmentOverride": kept}}
    return [UpdateTenant(tenant_id=tenant_id, changes=changes)] if changes else []


def _completed(event: Event[DeprovisioningDetail], record: Mapping[str, Any] | None) -> ProvisioningDetail:
    sent = event.detail.model_dump(by_alias=True, exclude_unset=True)
    if record is None and sent.get("planConfig") is None:
        raise UnknownTenant(
            f"{shown(event.type)} event {shown(event.id)}: tenant {shown(event.detail.tenant.id)} has no record, and "
            "detail.planConfig is missing; correct the tenant's id, or send planConfig"
        )
    try:
        return ProvisioningDetail.model_validate(_filled(_with_own_signing(sent, record or {}), record or {}))
    except ValidationError as error:
        raise InvalidEvent(
            f"{shown(event.type)} event {shown(event.id)}: with the tenant record, {explain(error, root='detail')}"
        ) from None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _own_signing(sent: Mapping[str, Any]) -> dict[str, Any]:
    given = given_variables(sent)
    return {name: given[name] for name in SIGNING if given.get(name)}


def _with_own_signing(sent: Mapping[str, Any], stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an event's detail with its `secret` and `context` copied to both places that may contain them.

    These places are the detail's top level and `builderConfig.config.environmentOverride`. The second place gets the
    copies only if the tenant record has a `builderConfig`.

    The caller then adds the members of the tenant record that the detail lacks. Without the copies, an outdated
    `secret` or `context` from the tenant record could get into one of the two places.

    Args:
        sent: The event's detail.
        stored: The tenant record; empty if there is none.
    """
    own = _own_signing(sent)
    if not own or not stored.get("builderConfig"):
        return {**sent, **own}
    override = {"builderConfig": {"config": {"environmentOverride": own}}}
    return _filled(override, {**sent, **own})


def _filled(sent: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(stored)
    for name, value in sent.items():
        before = stored.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            filled[name] = _filled(value, before)
        elif value is not None or name not in stored:
            filled[name] = value
    return filled
