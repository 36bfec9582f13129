"""What children brought about in a run, and in which order, as far as that is certain.

All times are of the monotonic clock. Children work side by side, so that two moments alone prove no order of cause
and effect. What does: a delivery that began after something had taken effect can have learned of it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Something that a child brought about.

    Attributes:
        start: Id of the start event that it is for.
        began: When the delivery began that asked for it.
        at: When it had taken effect.
    """

    start: str
    began: float
    at: float


@dataclass(frozen=True, kw_only=True)
class JobStarted(Effect):
    """A builder took a run that it did not have."""

    event_type: str


@dataclass(frozen=True, kw_only=True)
class Published(Effect):
    """EventBridge took an event."""

    event_type: str


@dataclass(frozen=True, kw_only=True)
class Webhook(Effect):
    """The control plane got a status webhook; `is_accepted` is the first of a start."""

    succeeded: bool
    is_accepted: bool


@dataclass(frozen=True, kw_only=True)
class Handled:
    """A delivery ended well.

    Attributes:
        start: Id of the start event that it was for; `None` for a sweep.
        ended: When it ended.
        outcomes: What the function answered of each action.
    """

    start: str | None
    ended: float
    outcomes: tuple[Mapping[str, Any], ...]

    def has(self, action: str, status: str) -> bool:
        """Whether an action has this status among the outcomes."""
        return any(outcome["action"] == action and outcome["status"] == status for outcome in self.outcomes)

    def is_superseded(self) -> bool:
        """Whether the function answered that a later event has taken its place."""
        return any(outcome["status"].endswith("superseded") for outcome in self.outcomes)


@dataclass
class History:
    """Everything that happened; `delivered` is when the first delivery of each start event began."""

    jobs: list[JobStarted] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    webhooks: list[Webhook] = field(default_factory=list)
    handled: list[Handled] = field(default_factory=list)
    delivered: dict[str, float] = field(default_factory=dict)

    def job_of(self, start: str, event_type: str) -> float:
        """Give the time at which a start's job of this type was there; infinite where it never was."""
        taken = (job.at for job in self.jobs if job.start == start and job.event_type == event_type)
        return min(taken, default=math.inf)
