"""The identity of an action: the same on every redelivery, different for any other action."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.event import Event


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
        """The action's identity: 32 hexadecimal digits, of event id, consumer and position alone."""
        identity = json.dumps([self.event.id, self.consumer, self.position])
        return hashlib.sha256(identity.encode()).hexdigest()[:32]
