"""Creates events for tests. For each lifecycle event type, there is a short detail that is valid for the type."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from orchestrator.details import DETAIL_MODELS
from orchestrator.event import Event, EventType

TENANT: Mapping[str, Any] = MappingProxyType({"id": "tenant-1", "name": "Acme Robotics", "key": "acme", "status": 1})
"""The tenant in the details that `make_detail` returns."""

_PLAN = MappingProxyType({"tier": "PREMIUM"})
_SIGNING = MappingProxyType({"secret": "a-secret", "context": "a-context"})
_SENT = (EventType.TENANT_PROVISIONING, EventType.TENANT_DEPROVISIONING)


def make_detail(event_type: str, **changes: Any) -> dict[str, Any]:
    """Create an event's detail, as the event's sender writes it.

    Args:
        event_type: The event's type. If it is not one of `EventType`, the detail contains only `changes`.
        changes: Members to add to the detail or to replace in it. A member whose value is `...` is removed.

    Returns:
        The detail. For TENANT_PROVISIONING and TENANT_DEPROVISIONING, it contains the tenant, the tenant's plan, and
        the `secret` and `context` with which the tenant's webhooks are signed. All other types of `EventType` belong to
        events that are published after a job. For these types, the detail is the environment of the job's build: a flat
        mapping of names to text.
    """
    detail: dict[str, Any] = {}
    if event_type in _SENT:
        detail = {"tenant": dict(TENANT), "planConfig": dict(_PLAN), **_SIGNING}
    elif event_type in DETAIL_MODELS:
        succeeded = not event_type.endswith("_FAILURE")
        detail = {
            "tenant": json.dumps(dict(TENANT)),
            "tier": _PLAN["tier"],
            **_SIGNING,
            "API_ENDPOINT": "https://control-plane.example.com/webhook",
            "CODEBUILD_BUILD_ID": "a-project:a-build",
            "CODEBUILD_BUILD_SUCCEEDING": "1" if succeeded else "0",
        }
    detail |= changes
    return {name: value for name, value in detail.items() if value is not ...}


def make_event(event_type: str, detail: Any = None, **fields: Any) -> Event[Any]:
    """Create an event, as a consumer receives it.

    Args:
        event_type: The event's type.
        detail: The detail; by default, `make_detail` creates it. If the event's type is one of `EventType`, a mapping
            is converted to the type's model. In the deployed function, a consumer gets a model only if the consumer's
            annotation names one.
        fields: Further attributes of the event, such as `id` or `time`.

    Returns:
        The event.

    Raises:
        pydantic.ValidationError: The detail does not fit the type's model.
    """
    if detail is None:
        detail = make_detail(event_type)
    if event_type in DETAIL_MODELS and isinstance(detail, Mapping):
        detail = DETAIL_MODELS[EventType(event_type)].model_validate(detail)
    return Event(type=event_type, detail=detail, **fields)
