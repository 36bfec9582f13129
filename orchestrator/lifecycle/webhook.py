"""Handles the ending of a tenant's run: updates the tenant record, and sends the status webhook to the control plane.

See "The status webhook" in orchestrator/lifecycle/README.md.
"""

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
"""The webhook's name in diagrams."""

SIGNING = ("secret", "context")
"""Names of the two values with which a tenant's webhooks are signed, in details, tenant records and job variables."""

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
# The only webhook type that the reference control plane has. For a webhook with status 1, that control plane activates
# the tenant and sends the welcome mail.
_RESOURCES_PROVISIONED = 0
# Attributes of a tier that hold an address, each with the path to append to that address. The reference infrastructure
# sets the second attribute.
_TIER_ADDRESSES = MappingProxyType({"API_ENDPOINT": "", "CONTROL_PLANE_HOST": "/tenant-mgmt-facade/webhook"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tenant:
    """The tenant record and the tier details of an event's tenant."""

    record: Mapping[str, Any]
    tier: Mapping[str, Any]


def conclude(
    event: Event[BuildDetail],
    status: TenantStatus,
    context: Context,
    *,
    record: Mapping[str, Any] | None = None,
) -> list[Action]:
    """Build the actions after a tenant's job has ended: update the tenant record, and send the status webhook.

    The webhook's address is the first of these that is set: the detail's `API_ENDPOINT`, the tenant record's
    `callbackAddress` (stored by an earlier event), the tier's `API_ENDPOINT`, the tier's `CONTROL_PLANE_HOST` with a
    fixed path, and the setting `CALLBACK_URL`. A value of the tier that is not an http(s) address is ignored.

    The webhook is signed with two values, `secret` and `context` (a text, not the argument `context`). Each of the two
    values is taken from the detail, or else from the tenant record.

    Several events may report the ending of one run. If they contain the run's id, the webhook is sent only once: for
    the first event for which the address and both signing values are known.

    Args:
        event: The event that reports how the job ended or that it could not be started, or a TENANT_DEPLOYMENT event
            that starts no job.
        status: The tenant's new status: `DEPLOYED`, `DEPROVISIONED`, or a status that ends in `_FAILED`.
        context: The consumer's context.
        record: The tenant record, if the caller has read it already. If it is `None`, the tenant record is read.

    Returns:
        The update, and the webhook. If the address or a signing value is missing, the webhook is returned but will not
        be sent; the tenant record and the log will say why. For a deprovisioning, the webhook is returned only if the
        setting `DEPROVISIONING_WEBHOOK_TYPE` is set.
    """
    is_failure = _STATUSES[status] == FAILURE
    if event.detail.has_failed and not event.type.endswith("_FAILURE"):
        context.logger.warning(
            f"{shown(event.type)} event {shown(event.id)} is handled as a failure: its CODEBUILD_BUILD_SUCCEEDING is 0"
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
    """Build the status webhook; see `conclude` for the arguments, the webhook's address and its signature.

    Returns:
        The webhook. If its address, secret or context is missing, the webhook cannot be sent, and its attribute
        `missing` names what is missing.
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
        "secret (in the event or the tenant record)": secret,
        "context (in the event or the tenant record)": signing_context,
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
        once_per=once_per_run(run_id) if run_id else None,
    )


def once_per_run(run_id: str) -> str:
    """Return the key for `SendCallback.once_per` with which only one status webhook is sent for a run."""
    return f"status webhook of run {run_id}"


def _known(detail: BuildDetail, context: Context, record: Mapping[str, Any] | None) -> _Tenant:
    if record is None:
        record = context.tenants.get(detail.tenant.id) or {}
    name = tier_name(detail, record)
    try:
        tier = context.tiers.get(name) if name else {}
    except (ConfigurationError, InvalidEvent):  # without the tier, the address may still come from elsewhere
        tier = {}
    return _Tenant(record=record, tier=tier)


def _tier_address(tier: Mapping[str, Any], context: Context) -> str:
    for name, path in _TIER_ADDRESSES.items():
        address = _text(tier, name).rstrip("/")
        if address and _host(address):
            return address + path
        if address:
            context.logger.warning(
                f"{name} of tier {shown(tier.get('tier'))} is not an http(s) address and is ignored; write it like "
                "https://control.example.com"
            )
    return ""


def _hosts(tier: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the hosts of the control plane's addresses in a tier's details. The webhook may go to these hosts."""
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
    """Build the webhook's body.

    The order of the keys matters: to check the signature, the receiver parses the body and serializes
    it again in this order.
    """
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
    # The reference service leaves these out, too, because JSON.stringify omits undefined values.
    known = {name: value for name, value in data.items() if value is not None}
    return {"initiatorId": detail.tenant.id, "type": webhook_type, "data": known}
