"""The identity of an action: the same on every redelivery, different for any other action."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.details import find_tenant_id
from orchestrator.event import Event, Start
from orchestrator.timing import clock
from orchestrator.timing.clock import written

RUN_ID_VARIABLE = "ORCHESTRATOR_RUN_ID"
"""The job variable by which a run is found again."""

EVENT_ID_VARIABLE = "ORCHESTRATOR_EVENT_ID"
"""The job variable that names the event that it was started for."""

EVENT_TYPE_VARIABLE = "ORCHESTRATOR_EVENT_TYPE"
"""The job variable that names the type of the event that it was started for."""

TENANT_ID_VARIABLE = "ORCHESTRATOR_TENANT_ID"
"""The job variable that names the tenant that it is for."""

SUCCESS_SUFFIX, FAILURE_SUFFIX = "_SUCCESS", "_FAILURE"
"""How the types of events end that tell how a run ended, after the type of the event that started it."""

OWN_SOURCE = "orchestrator"
"""Source of the events that this package publishes, unless the reference has another for them."""

REFERENCE_SOURCES = "saas.tenant.provisioning."
"""Beginning of the sources that the reference has for the ends of jobs and what follows from them."""

BEFORE_FIRST_RETRY = timedelta(seconds=30)
"""An event is younger at its first delivery: Lambda tries one that failed again after about a minute.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

_PUBLISHED_BY = "urn:orchestrator:run:"
_STARTED_BY = "urn:orchestrator:start:"
_FAILURE = "urn:orchestrator:failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an action comes from.

    Attributes:
        event: The event, its detail as it came.
        consumer: Name of the consumer that decided on the action.
        position: The action's place among those that the consumer returned, from 0 on.
        is_failure: Whether the action publishes the consumer's failure, and so has no such place.
    """

    event: Event[Mapping[str, Any]]
    consumer: str
    position: int
    is_failure: bool = False

    @property
    def time(self) -> datetime:
        """The event's time, or now where a sender's clock is ahead."""
        return min(self.event.time, clock.now())

    @property
    def start(self) -> Start:
        """The event with which began what this action is a part of."""
        return self.event.start or Start(event_id=self.event.id, at=self.time)

    @property
    def run_id(self) -> str:
        """The action's identity: 32 hexadecimal digits, of event, tenant, consumer and position alone."""
        position = f"failure {self.event.redrive}" if self.is_failure else self.position
        return _digest(_identity(self.event), find_tenant_id(self.event.detail), self.consumer, position)

    @property
    def may_be_retry(self) -> bool:
        """Whether there may have been an earlier delivery that was done with when this one came."""
        age = clock.now() - self.event.time
        return self.event.redrive is not None or not timedelta() <= age < BEFORE_FIRST_RETRY

    def once_per(self, subject: str) -> str:
        """Make the identity of an action that is performed once for a subject, such as a run, by any event."""
        return _digest("once", find_tenant_id(self.event.detail), subject)


def marks(run_id: str, start: Start, *, is_failure: bool = False) -> list[str]:
    """Make what a published event carries among its resources.

    Args:
        run_id: Identity of the action that publishes it: published twice, it counts once.
        start: What it follows from.
        is_failure: Whether it publishes that a consumer failed.

    Returns:
        A mark of each.
    """
    found = [_PUBLISHED_BY + run_id, f"{_STARTED_BY}{written(start.at)}/{start.event_id}"]
    return [*found, _FAILURE] if is_failure else found


def published_mark(source: str, resources: Sequence[str]) -> str | None:
    """Find the mark of the action that published an event.

    Args:
        source: The event's source: what anybody else sends has no mark that counts.
        resources: The event's resources.

    Returns:
        The mark, or `None`.
    """
    return next(_marked(source, resources, _PUBLISHED_BY), None)


def published_start(source: str, resources: Sequence[str]) -> Start | None:
    """Find what an event follows from that this package published; see `published_mark`."""
    for mark in _marked(source, resources, _STARTED_BY):
        time, _, event_id = mark.removeprefix(_STARTED_BY).partition("/")
        with suppress(ValueError):
            return Start(event_id=event_id, at=datetime.fromisoformat(time).astimezone(UTC))
    return None


def publishes_failure(source: str, resources: Sequence[str]) -> bool:
    """Say whether this package published an event because a consumer failed; see `published_mark`."""
    return any(_marked(source, resources, _FAILURE))


def ending_run(event: Event[Any]) -> str | None:
    """Say which run's end an event tells.

    Args:
        event: Any event, its detail as it came.

    Returns:
        The run id where the event's type ends in `_SUCCESS` or `_FAILURE` and its detail is the job's environment
        (it has the variable `ORCHESTRATOR_RUN_ID`); else `None`.
    """
    return named_run(event) if event.type.endswith((SUCCESS_SUFFIX, FAILURE_SUFFIX)) else None


def named_run(event: Event[Any]) -> str | None:
    """Read the run id of an event whose detail, as it came, is the environment of a job; `None` where it names none."""
    run_id = event.detail.get(RUN_ID_VARIABLE)
    return run_id if isinstance(run_id, str) and run_id else None


def ending_id(run_id: str) -> str:
    """Make the identity of the end of a run, whoever tells it, whatever it was, and however often.

    Args:
        run_id: The run id.

    Returns:
        32 hexadecimal digits.
    """
    return _digest("ending", run_id)


def _identity(event: Event[Any]) -> str:
    run_id = ending_run(event)
    if run_id is not None:
        # The build itself, its state change and the sweep may each tell of one end.
        return ending_id(run_id)
    # An event that is published a second time gets another id from EventBridge, but has the same mark.
    return published_mark(event.source, event.resources) or event.id


def _marked(source: str, resources: Sequence[str], prefix: str) -> Any:
    is_own = source == OWN_SOURCE or source.startswith(REFERENCE_SOURCES)
    return (resource for resource in resources if is_own and resource.startswith(prefix))


def _digest(*parts: str | int | None) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
