"""The identity of an action: the same on every redelivery, different for any other action."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.event import Event

_PUBLISHED_BY = "urn:orchestrator:run:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an action comes from.

    Attributes:
        event: The event, its detail as it came.
        consumer: Name of the consumer that decided on the action.
        position: The action's place among those that the consumer returned, from 0 on.
    """

    event: Event[Mapping[str, Any]]
    consumer: str
    position: int

    @property
    def run_id(self) -> str:
        """The action's identity: 32 hexadecimal digits, of event, consumer and position alone."""
        identity = json.dumps([_identity(self.event), self.consumer, self.position])
        return hashlib.sha256(identity.encode()).hexdigest()[:32]


def mark(run_id: str) -> str:
    """Make what a published event carries among its resources, so that publishing it twice counts once.

    Args:
        run_id: Identity of the action that publishes it.

    Returns:
        The mark.
    """
    return _PUBLISHED_BY + run_id


def _identity(event: Event[Any]) -> str:
    # An event that is published a second time gets another id from EventBridge, but has the same mark.
    marks = (resource for resource in event.resources if resource.startswith(_PUBLISHED_BY))
    return next(marks, event.id)
