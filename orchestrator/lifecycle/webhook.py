"""How a tenant's job ended: noted in the tenant's record, and sent to the control plane as its status webhook."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from orchestrator.action import Action, SendCallback
from orchestrator.consumer import Context
from orchestrator.details import BuildDetail, given_variables
from orchestrator.errors import ConfigurationError, InvalidEvent, shown
from orchestrator.event import Event
from orchestrator.lifecycle.status import CALLBACK_ADDRESS, TenantStatus, failed, reached, run_of
from orchestrator.lifecycle.tenant_job import tier_name

WEBHOOK = "status webhook"
"""Its name in diagrams."""

SIGNING = ("secret", "context")
"""What signs a tenant's webhooks: names in a detail, a record and a job's environment."""

SUCCESS, FAILURE = 1, 0
_STATUSES: Mapping[TenantStatus, int] = MappingProxyType(
    {
        TenantStatus.DEPLOYED: SUCCESS,
        TenantStatus.PROVISIONING_FAILED: FAILURE,
        TenantStatus.DEPLOYMENT_FAILED: FAILURE,
        TenantStatus.DEPROVISIONED: SUCCESS,
        TenantStatus.DEPROVISIONING_FAILED: FAILURE,
    }
)
_OFF_BOARDING = (TenantStatus.DEPROVISIONED, TenantStatus.DEPROVISIONING_FAILED)
# The reference control plane knows this type alone: status 1 activates the tenant and sends the welcome mail.
_RESOURCES_PROVISIONED = 0
# Attributes of a tier, and where on each the webhook is: CONTROL_PLANE_HOST is the reference infrastructure's.
_TIER_ADDRESSES = MappingProxyType({"API_ENDPOINT": "", "CONTROL_PLANE_HOST": "/tenant-mgmt-facade/webhook"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tenant:
    """What is known of an event's tenant besides the event."""

    record: Mapping[str, Any]
    tier: Mapping[str, Any]


def conclude(
    event: Event[BuildDetail],
    status: TenantStatus,
    context: Context,
    *,
    record: Mapping[str, Any] | None = None,
) -> list[Action]:
    """Note how a tenant's job ended, and send it to the control plane.

    The webhook goes to the detail's `API_ENDPOINT`, else to that of an earlier report (in the tenant's record), else to
    that of the tier, else to the tier's `CONTROL_PLANE_HOST`, else to `CALLBACK_URL`; it is signed with the detail's
    `secret` and `context`, else those of the tenant's record.
    For one run it is sent once, with the first event that has all of that.

    Args:
        event: The event that reports it.
        status: `DEPLOYED`, `DEPROVISIONED`, or one that ends in `_FAILED`.
        context: Gives the tenant's record, the tier and the settings.
        record: The tenant's record; `None` reads it.

    Returns:
        The change of the tenant's record, and the webhook. Where that has no address, or nothing to sign it with,
        record and log say so. The end of a deprovisioning is sent only where `DEPROVISIONING_WEBHOOK_TYPE` is set.
    """
    is_failure = _STATUSES[status] == FAILURE
    if event.detail.has_failed and not event.type.endswith("_FAILURE"):
        context.logger.warning(
            f"{shown(event.type)} event {shown(event.id)} is of a build that failed: CODEBUILD_BUILD_SUCCEEDING is 0"
        )
    if record is None:
        record = context.tenants.get(event.detail.tenant.id) or {}
    update = failed(event, status, record) if is_failure else reached(event, status, record)
    if status in _OFF_BOARDING and context.settings.deprovisioning_webhook_type is None:
        return [update]
    return [update, status_webhook(event, status, context, record=record)]


def status_webhook(
    event: Event[BuildDetail], status: TenantStatus, context: Context, *, record: Mapping[str, Any] | None = None
) -> SendCallback:
    """Make the status webhook; see `conclude`.

    Args:
        event: The event that reports how a job ended, or follows from one.
        status: What to say.
        context: Gives the tenant's record, the tier and the settings.
        record: The tenant's record; `None` reads it.

    Returns:
        The webhook, which may lack something to be sent.
    """
    tenant = _known(event.detail, context, record)
    url = (
        event.detail.api_endpoint
        or _text(tenant.record, CALLBACK_ADDRESS)
        or _tier_address(tenant.tier, context)
        or context.settings.callback_url
        or ""
    )
    secret, signing_context = _signing(event.detail, tenant.record)
    needs = {
        "address (API_ENDPOINT in the event or the tier, CONTROL_PLANE_HOST in the tier, or CALLBACK_URL)": url,
        "secret (in the event or the tenant's record)": secret,
        "context (in the event or the tenant's record)": signing_context,
    }
    missing = [need for need, value in needs.items() if not value]
    run_id = run_of(event)
    return SendCallback(
        url=url,
        body=_body(event.detail, status, tenant, context),
        secret=secret,
        context=signing_context,
        allowed_hosts=_hosts(tenant.tier),
        may_be_settled=True,
        tenant_id=event.detail.tenant.id,
        missing=f"no {', no '.join(missing)}" if missing else None,
        once_per=f"status webhook of run {run_id}" if run_id else None,
    )


def _known(detail: BuildDetail, context: Context, record: Mapping[str, Any] | None) -> _Tenant:
    if record is None:
        record = context.tenants.get(detail.tenant.id) or {}
    name = tier_name(detail, record)
    try:
        tier = context.tiers.get(name) if name else {}
    except (ConfigurationError, InvalidEvent):  # a tier that is not there, or cannot be, names no address
        tier = {}
    return _Tenant(record=record, tier=tier)


def _tier_address(tier: Mapping[str, Any], context: Context) -> str:
    for name, path in _TIER_ADDRESSES.items():
        address = _text(tier, name).rstrip("/")
        if address and _host(address):
            return address + path
        if address:
            context.logger.warning(
                f"{name} of tier {shown(tier.get('tier'))} is no http(s) address, and is passed over; write it as in "
                "https://control.example.com"
            )
    return ""


def _hosts(tier: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the hosts that a tier's item vouches for."""
    return tuple(host for name in _TIER_ADDRESSES if (host := _host(_text(tier, name))))


def _host(address: str) -> str | None:
    try:
        parts = urlsplit(address)
        return parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        return None


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _signing(detail: BuildDetail, record: Mapping[str, Any]) -> tuple[str, str]:
    stored = given_variables(record)
    return detail.secret or _text(stored, "secret"), detail.context or _text(stored, "context")


def _body(detail: BuildDetail, status: TenantStatus, tenant: _Tenant, context: Context) -> dict[str, Any]:
    """Make the webhook's body; the receiver writes it again with its keys in this order, and compares signatures."""
    data: dict[str, Any] = {"status": _STATUSES[status], "resources": []}
    if status in _OFF_BOARDING:
        data |= {"appPlaneUrl": "", "tier": tier_name(detail, tenant.record)}
        webhook_type = context.settings.deprovisioning_webhook_type
    else:
        if detail.state_bucket:
            place = {"bucket": detail.state_bucket, "path": detail.state_key}
            metadata = {name: value for name, value in place.items() if value}
            data["resources"] = [{"type": "s3", "metadata": metadata}]
        if detail.app_plane_url is not None:
            data["appPlaneUrl"] = detail.app_plane_url
        webhook_type = _RESOURCES_PROVISIONED
    # What is not known is left out, as JSON.stringify leaves out what is undefined.
    known = {name: value for name, value in data.items() if value is not None}
    return {"initiatorId": detail.tenant.id, "type": webhook_type, "data": known}
