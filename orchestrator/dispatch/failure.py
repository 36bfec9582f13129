"""Builds the event about a consumer's failure, so that the control plane does not wait for a job that never starts."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from orchestrator.action import Action, Following, PublishEvent, StartJob
from orchestrator.details import Tenant, find_tenant_id, find_tier, given_variables
from orchestrator.errors import OrchestratorError, UnknownTenant
from orchestrator.event import Event
from orchestrator.run import EVENT_ID_VARIABLE, EVENT_TYPE_VARIABLE, OWN_SOURCE, TENANT_ID_VARIABLE
from orchestrator.values.limits import MAX_ENTRY_BYTES
from orchestrator.values.text import to_json

# Leaves room for the event's source, type and resources.
_MAX_DETAIL_BYTES = MAX_ENTRY_BYTES - 4096
# The control plane needs these; they are taken from the event or the job's variables.
_PASSED_ON = ("tenant", "secret", "context", "tier", "API_ENDPOINT")


def failure_event(
    event_type: str, event: Event[Mapping[str, Any]], actions: Iterable[Action | Following], error: OrchestratorError
) -> PublishEvent | None:
    """Build the event about a consumer's failure.

    Args:
        event_type: The type of the event that is built, such as `TENANT_PROVISIONING_FAILURE`.
        event: The event that the consumer could not handle.
        actions: The actions that the consumer returned; empty if the consumer failed before it returned any.
        error: The failure. Its text becomes `reason` in the new event's detail, and its class name becomes `error`.

    Returns:
        The action that publishes the new event. The new event's detail identifies the tenant. It also contains those of
        `secret`, `context`, `tier` and `API_ENDPOINT` that are known, unless the detail would be too large with them.
        `None` if nobody waits for a job. Nobody waits in three cases: `event` has no tenant id, the error is an
        `UnknownTenant`, or the consumer returned actions and none of them starts a job.
    """
    actions = list(actions)
    tenant_id = find_tenant_id(event.detail)
    # Without a job, something else failed, such as a callback. A failure event would then revoke the job's success.
    has_no_job = bool(actions) and not any(isinstance(action, StartJob) for action in actions)
    if tenant_id is None or has_no_job or isinstance(error, UnknownTenant):
        return None
    known: dict[str, Any] = {}
    for source in (given_variables(event.detail), *(_job_variables(action) for action in actions)):
        known.update((name, source[name]) for name in _PASSED_ON if source.get(name) is not None)
    known.setdefault("tier", find_tier(event.detail))
    detail = {name: value if isinstance(value, str) else _json(value) for name, value in known.items() if value}
    if not _is_tenant(detail.get("tenant", "")):
        detail["tenant"] = json.dumps({"id": tenant_id})
    failure = {
        "reason": str(error),
        "error": type(error).__name__,
        EVENT_ID_VARIABLE: event.id,
        EVENT_TYPE_VARIABLE: event.type,
        TENANT_ID_VARIABLE: tenant_id,
    }
    detail = _cut({**detail, **failure}, tenant_id)
    return PublishEvent(type=event_type, detail=detail, source=OWN_SOURCE, failure=error)


def _is_tenant(text: str) -> bool:
    try:
        Tenant.model_validate_json(text)
    except ValidationError:
        return False
    return True


def _cut(detail: dict[str, str], tenant_id: str) -> dict[str, str]:
    """Shorten a detail that is too large for an event; return any other detail unchanged.

    First, the value of `tenant` is replaced by an object that has only the tenant's id. If the detail is still too
    large, the other variables in `_PASSED_ON` are removed, the longest first, until the detail fits.
    """
    if _size(detail) <= _MAX_DETAIL_BYTES:
        return detail
    cut = {**detail, "tenant": json.dumps({"id": tenant_id})}
    for name in sorted(_PASSED_ON, key=lambda name: len(cut.get(name, "")), reverse=True):
        if name != "tenant" and _size(cut) > _MAX_DETAIL_BYTES:
            cut.pop(name, None)
    return cut


def _size(detail: Mapping[str, str]) -> int:
    return len(to_json(detail).encode())


def _job_variables(action: Action | Following) -> Mapping[str, Any]:
    return {**action.trusted_variables, **action.variables} if isinstance(action, StartJob) else {}


def _json(value: Any) -> str:
    try:
        return to_json(value)
    except (TypeError, ValueError, RecursionError):
        return ""
