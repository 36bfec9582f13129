"""Computes the identity of each action, and marks the events that this package publishes.

If an event is delivered again, its actions have the same identities again.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from orchestrator.action import StartJob
from orchestrator.details import find_tenant_id
from orchestrator.event import Event, Start
from orchestrator.job import DeclaredEnding
from orchestrator.timing import clock
from orchestrator.timing.clock import written

RUN_ID_VARIABLE = "ORCHESTRATOR_RUN_ID"
"""Name of the job variable that holds the run's id."""

EVENT_ID_VARIABLE = "ORCHESTRATOR_EVENT_ID"
"""Name of the job variable that holds the id of the event that the job was started for."""

EVENT_TYPE_VARIABLE = "ORCHESTRATOR_EVENT_TYPE"
"""Name of the job variable that holds the type of the event that the job was started for."""

TENANT_ID_VARIABLE = "ORCHESTRATOR_TENANT_ID"
"""Name of the job variable that holds the id of the tenant that the job is for."""

SUCCESS_SUFFIX, FAILURE_SUFFIX = "_SUCCESS", "_FAILURE"
"""By default, the type of an event about a job's ending is the type of the job's event with one of these suffixes."""

OWN_SOURCE = "orchestrator"
"""Source of this package's events, except events about runs' endings and events to which a consumer gives a source."""

REFERENCE_SOURCES = "saas.tenant.provisioning."
"""By default, the sources of events about runs' endings begin with this prefix.

As in https://github.com/sourcefuse/arc-saas-sandbox.
"""

BEFORE_FIRST_RETRY = timedelta(seconds=30)
"""An event younger than this is no retry. Lambda waits one minute before it retries a failed event for the first time.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

_PUBLISHED_BY = "urn:orchestrator:run:"
_STARTED_BY = "urn:orchestrator:start:"
_FAILURE = "urn:orchestrator:failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The event and consumer that an action comes from.

    Attributes:
        event: The event. Its detail is a mapping, not the consumer's model.
        consumer: Name of the consumer that returned the action, or that failed (see `is_failure`).
        position: The action's position among the consumer's actions (see `positions`). Not used if `is_failure` is
            true.
        is_failure: Whether the action publishes the event about the consumer's failure.
        declared: The data that the ledger stores with the action's job about the `EndingEvent` that the consumer
            declares. `None` if the consumer declares none, or one that equals the default.
    """

    event: Event[Mapping[str, Any]]
    consumer: str
    position: int | str
    is_failure: bool = False
    declared: DeclaredEnding | None = None

    @property
    def time(self) -> datetime:
        """The event's time, or the current time if the event's time is in the future (the sender's clock is ahead)."""
        return min(self.event.time, clock.now())

    @property
    def start(self) -> Start:
        """Id and time of the event that began the action's operation, such as the tenant's provisioning.

        If that event is not known, the id of `event` and the property `time` are used.
        """
        return self.event.start or Start(event_id=self.event.id, at=self.time)

    @property
    def run_id(self) -> str:
        """The action's identity: 32 hexadecimal digits, derived from event, tenant, consumer and position.

        If `is_failure` is true, `event.redrive` is used instead of the position. If the action starts a job, its
        identity is also the id of the job's run.
        """
        position = f"failure {self.event.redrive}" if self.is_failure else self.position
        return _digest(_identity(self.event), find_tenant_id(self.event.detail), self.consumer, position)

    @property
    def may_be_retry(self) -> bool:
        """Whether this delivery of the event may be a repeat.

        The result is true in each of these cases:

        - `event.redrive` is set: somebody requested the redelivery.
        - The event is at least 30 seconds old, so this may be one of Lambda's retries.
        - The event's time is in the future, so its age is unknown.
        """
        age = clock.now() - self.event.time
        return self.event.redrive is not None or not timedelta() <= age < BEFORE_FIRST_RETRY

    def once_per(self, subject: str) -> str:
        """Compute an action's identity from the event's tenant and a subject, without the event's id.

        All actions with this tenant and subject have the same identity, so only the first of them is performed.

        Args:
            subject: The action's `once_per`.
        """
        return _digest("once", find_tenant_id(self.event.detail), subject)


def positions(actions: Iterable[object]) -> list[int | str]:
    """Return the position of each of a consumer's actions, for `Origin`.

    Jobs are counted separately: the first `StartJob` has the position `job 0`, whatever the other actions are. So a
    job's identity stays the same if the consumer returns other actions besides it when the event is delivered again,
    and the first job's identity is known even if the consumer fails before it returns any action. Any other action has
    its index in the list.
    """
    jobs = count()
    return [job_position(next(jobs)) if isinstance(one, StartJob) else index for index, one in enumerate(actions)]


def job_position(number: int) -> str:
    """Return the position of one of a consumer's `StartJob` actions, which are numbered from 0; see `positions`."""
    return f"job {number}"


def marks(run_id: str, start: Start, *, is_failure: bool = False) -> list[str]:
    """Build the `resources` of an event that this package publishes: URNs, which `recognised` reads.

    Args:
        run_id: The identity of the action that publishes the event; it is in the first URN.
        start: The event that began the operation, such as the tenant's provisioning. Its id and time are in the second
            URN.
        is_failure: Whether the event is about a consumer's failure. If so, there is a third URN.
    """
    found = [_PUBLISHED_BY + run_id, f"{_STARTED_BY}{written(start.at)}/{start.event_id}"]
    return [*found, _FAILURE] if is_failure else found


def is_own_source(source: str) -> bool:
    """Whether a source is `OWN_SOURCE` or begins with `REFERENCE_SOURCES`, as those of this package do by default."""
    return source == OWN_SOURCE or source.startswith(REFERENCE_SOURCES)


def recognised(event: Event[Any]) -> Event[Any]:
    """Return a copy of an event, with values from the URNs in its `resources` (see `marks`).

    These values are `start`, `published_by` and `is_own_failure`. If a URN is missing, its value is `None` or `False`.

    Call this only if this package publishes events with the event's source, because another sender may have copied the
    URNs.
    """
    published_by = next(_marked(event, _PUBLISHED_BY), None)
    return replace(
        event,
        start=_start(event),
        published_by=published_by and published_by.removeprefix(_PUBLISHED_BY),
        is_own_failure=any(_marked(event, _FAILURE)),
    )


def named_run(event: Event[Any]) -> str | None:
    """Read `ORCHESTRATOR_RUN_ID` from an event's detail; return `None` if it is missing, empty or not a string."""
    run_id = event.detail.get(RUN_ID_VARIABLE)
    return run_id if isinstance(run_id, str) and run_id else None


def ending_id(run_id: str) -> str:
    """Compute the identity of a run's ending. It is the same whether the run succeeded or failed."""
    return _digest("ending", run_id)


def _identity(event: Event[Any]) -> str:
    if event.run_ending is not None:
        # The build itself, its state change and the sweep may each lead to an event about the same ending.
        return ending_id(event.run_ending.run_id)
    # An event that is published twice has two ids from EventBridge, but the same mark.
    return event.published_by or event.id


def _start(event: Event[Any]) -> Start | None:
    for mark in _marked(event, _STARTED_BY):
        time, _, event_id = mark.removeprefix(_STARTED_BY).partition("/")
        with suppress(ValueError):
            return Start(event_id=event_id, at=datetime.fromisoformat(time).astimezone(UTC))
    return None


def _marked(event: Event[Any], prefix: str) -> Iterator[str]:
    return (resource for resource in event.resources if resource.startswith(prefix))


def _digest(*parts: str | int | None) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
