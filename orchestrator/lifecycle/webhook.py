"""The status webhook: tells the control plane how a tenant's job ended (CONTRACT section 5)."""

from collections.abc import Mapping
from typing import Any

from orchestrator.actions import SendCallback
from orchestrator.context import Context
from orchestrator.details import BuildDetail, given_variables
from orchestrator.errors import InvalidEvent, shown
from orchestrator.event import Event

WEBHOOK = "status webhook"
"""What a diagram calls it."""

SUCCESS = 1
FAILURE = 0
_RESOURCES_PROVISIONED = 0


def status_webhook(
    event: Event[BuildDetail], status: int, context: Context, *, may_be_settled: bool = False
) -> list[SendCallback]:
    """Decide on the webhook, where the event allows one.

    Args:
        event: The event that tells how the job ended.
        status: `SUCCESS` or `FAILURE`.
        context: Gives the tenant's record, for a secret and a context that the event leaves out.
        may_be_settled: Whether the tenant need not be in provisioning.

    Returns:
        The callback; none where there is no address, or nothing to sign it with: the log then says so.

    Raises:
        InvalidEvent: The status is another one.
    """
    if status not in (SUCCESS, FAILURE) or isinstance(status, bool):
        raise InvalidEvent(f"the status webhook of {shown(event.type)} has no status 0 or 1; correct the consumer")
    detail = event.detail
    if not detail.api_endpoint:
        return _untold(event, context, "API_ENDPOINT")
    signing = _signing(detail, context)
    for name, value in signing.items():
        if not value:
            return _untold(event, context, name)
    return [
        SendCallback(
            url=detail.api_endpoint,
            body=status_body(detail, status),
            secret=signing["secret"],
            context=signing["context"],
            may_be_settled=may_be_settled,
        )
    ]


def status_body(detail: BuildDetail, status: int) -> dict[str, Any]:
    """Make the webhook's body.

    Args:
        detail: The job's environment.
        status: `SUCCESS` or `FAILURE`.

    Returns:
        The body, its keys in the order of CONTRACT section 5; what is not known is left out, as
        `JSON.stringify` does.
    """
    resources = []
    if detail.state_bucket:
        place = {"bucket": detail.state_bucket, "path": detail.state_key}
        resources.append({"type": "s3", "metadata": {name: value for name, value in place.items() if value}})
    data: dict[str, Any] = {"status": status, "resources": resources}
    if detail.app_plane_url is not None:
        data["appPlaneUrl"] = detail.app_plane_url
    return {"initiatorId": detail.tenant.id, "type": _RESOURCES_PROVISIONED, "data": data}


def _signing(detail: BuildDetail, context: Context) -> dict[str, str]:
    sent = {"secret": detail.secret, "context": detail.context}
    stored: Mapping[str, Any] = {}
    if not all(sent.values()):
        stored = given_variables(context.tenants.get(detail.tenant.id) or {})
    found = {name: value or stored.get(name) for name, value in sent.items()}
    return {name: value if isinstance(value, str) else "" for name, value in found.items()}


def _untold(event: Event[BuildDetail], context: Context, missing: str) -> list[SendCallback]:
    context.logger.warning(
        f"tenant {shown(event.detail.tenant.id)}: the control plane is not told, because the event has no {missing}"
    )
    return []
