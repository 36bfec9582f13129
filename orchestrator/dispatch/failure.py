"""Builds the event about a consumer's failure, so that the control plane does not wait for a job that never starts."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from orchestrator.action import Action, Following, PublishEvent, StartJob
from orchestrator.consumer import Consumer
from orchestrator.details import Tenant, find_tenant_id, find_tier, given_variables
from orchestrator.ending_event import DEFAULT, Ended
from orchestrator.errors import OrchestratorError, UnknownTenant, shown
from orchestrator.event import Event
from orchestrator.run import EVENT_ID_VARIABLE, EVENT_TYPE_VARIABLE, TENANT_ID_VARIABLE
from orchestrator.values.limits import MAX_ENTRY_BYTES
from orchestrator.values.text import to_json

# Leaves room for the event's source, type and resources.
_MAX_DETAIL_BYTES = MAX_ENTRY_BYTES - 4096
# The control plane needs these; they are taken from the event or the job's variables.
_PASSED_ON = ("tenant", "secret", "context", "tier", "API_ENDPOINT")


def failure_event(
    consumer: Consumer, event: Event[Mapping[str, Any]], actions: Iterable[Action | Following], error: OrchestratorError
) -> PublishEvent | None:
    """Build the event about a consumer's failure, in the form that the consumer's `ending` declares.

    Args:
        consumer: The consumer.
        event: The event that the consumer could not handle.
        actions: The actions that the consumer returned; empty if the consumer failed before it returned any.
        error: The failure. Its text becomes `reason` in the new event's detail, and its class name becomes `error`.

    Returns:
        The action that publishes the new event. The new event's detail identifies the tenant. In the default form, it
        also contains `secret`, `context`, `tier` and `API_ENDPOINT`, as far as they are known and fit into an event.
        `None` in these cases:

        - `event` has no tenant id.
        - The error is an `UnknownTenant`, because then nobody waits for the tenant's job.
        - The consumer returned actions, but none of them starts a job.

    Raises:
        OrchestratorError: The function `EndingEvent.detail` of the consumer's `ending` failed.
    """
    ending = consumer.ending or DEFAULT
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
    variables = {name: value if isinstance(value, str) else _json(value) for name, value in known.items() if value}
    only_id = json.dumps({"id": tenant_id})
    if not _is_tenant(variables.get("tenant", "")):
        variables["tenant"] = only_id
    failure = {
        "reason": str(error),
        "error": type(error).__name__,
        EVENT_ID_VARIABLE: event.id,
        EVENT_TYPE_VARIABLE: event.type,
        TENANT_ID_VARIABLE: tenant_id,
    }
    ended = Ended(
        succeeded=False,
        event_type=event.type,
        tenant_id=tenant_id,
        reason=str(error),
        variables=_cut(variables, only_id, _MAX_DETAIL_BYTES - _size(failure)),
        kept=ending.kept(event.detail),
    )
    detail = {"tenant": only_id, **ending.detail_of(ended, f"consumer {shown(consumer.name)}"), **failure}
    return PublishEvent(type=ending.type_of(ended), detail=detail, source=ending.source_of(None), failure=error)


def _is_tenant(text: str) -> bool:
    try:
        Tenant.model_validate_json(text)
    except ValidationError:
        return False
    return True


def _cut(variables: dict[str, str], only_id: str, limit: int) -> dict[str, str]:
    """Shorten variables that are too large for an event. Variables that are not too large are returned unchanged.

    First, `only_id` replaces the value of `tenant`. If that is not enough, the other variables are removed, the longest
    first, until the rest fits.

    Args:
        only_id: A JSON object that has only the tenant's id.
        limit: The largest size that the variables may have as JSON, in bytes.
    """
    if _size(variables) <= limit:
        return variables
    cut = {**variables, "tenant": only_id}
    for name in sorted(variables, key=lambda name: len(variables[name]), reverse=True):
        if name != "tenant" and _size(cut) > limit:
            del cut[name]
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
