"""The effects of a run, with their times.

All times are of the monotonic clock. Children work in parallel, so two times alone do not prove which effect came
first. A delivery that began after an effect is certain to see that effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Effect:
    """An effect of a delivery.

    Attributes:
        start: Id of the start event that it belongs to.
        began: When the delivery that caused it began.
        at: When it was complete.
    """

    start: str
    began: float
    at: float


@dataclass(frozen=True, kw_only=True)
class JobStarted(Effect):
    """A builder accepted a new run."""

    event_type: str


@dataclass(frozen=True, kw_only=True)
class Published(Effect):
    """EventBridge accepted an event."""

    event_type: str


@dataclass(frozen=True, kw_only=True)
class Webhook(Effect):
    """The control plane received a status webhook; it accepts the first one for each start."""

    succeeded: bool
    is_accepted: bool


@dataclass(frozen=True, kw_only=True)
class Handled:
    """A delivery succeeded.

    Attributes:
        start: Id of the start event that it belongs to; `None` for a sweep.
        began: When it began, as in its effects.
        ended: When it ended.
        outcomes: The outcome of each action, from the function's answer.
    """

    start: str | None
    began: float
    ended: float
    outcomes: tuple[Mapping[str, Any], ...]

    def has(self, action: str, status: str) -> bool:
        """Whether an action has this status."""
        return any(outcome["action"] == action and outcome["status"] == status for outcome in self.outcomes)

    def is_superseded(self) -> bool:
        """Whether the function answered that a later event superseded this one."""
        return any(outcome["status"].endswith("superseded") for outcome in self.outcomes)


@dataclass
class History:
    """Everything that happened.

    Attributes:
        delivered: When the first delivery of each start event began.
    """

    jobs: list[JobStarted] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    webhooks: list[Webhook] = field(default_factory=list)
    handled: list[Handled] = field(default_factory=list)
    delivered: dict[str, float] = field(default_factory=dict)
