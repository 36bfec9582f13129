"""Computes the identity of each action. An action has the same identity whenever its event is delivered again."""

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
"""Name of the job variable that holds the run's id."""

EVENT_ID_VARIABLE = "ORCHESTRATOR_EVENT_ID"
"""Name of the job variable that holds the id of the event that the job was started for."""

EVENT_TYPE_VARIABLE = "ORCHESTRATOR_EVENT_TYPE"
"""Name of the job variable that holds the type of the event that the job was started for."""

TENANT_ID_VARIABLE = "ORCHESTRATOR_TENANT_ID"
"""Name of the job variable that holds the id of the tenant that the job is for."""

SUCCESS_SUFFIX, FAILURE_SUFFIX = "_SUCCESS", "_FAILURE"
"""An event about a run's ending has the type of the event that started the run, and one of these suffixes."""

OWN_SOURCE = "orchestrator"
"""Source of the events that this package publishes, except for events whose source begins with `REFERENCE_SOURCES`."""

REFERENCE_SOURCES = "saas.tenant.provisioning."
"""Events about runs' endings have a source with this prefix, as in https://github.com/sourcefuse/arc-saas-sandbox."""

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
        event: The event, with its detail as received.
        consumer: Name of the consumer that returned the action. If `is_failure` is true, it is the name of the consumer
            that failed.
        position: The action's position among the consumer's actions, from 0.
        is_failure: Whether the action publishes the event about the consumer's failure. The consumer does not return
            such an action, so `position` is not used.
    """

    event: Event[Mapping[str, Any]]
    consumer: str
    position: int
    is_failure: bool = False

    @property
    def time(self) -> datetime:
        """The event's time, or the current time if the event's time is in the future (the sender's clock is ahead)."""
        return min(self.event.time, clock.now())

    @property
    def start(self) -> Start:
        """Id and time of the event that began the action's operation, such as the tenant's provisioning.

        If that event is not known, the id and time are taken from `event` (see `time`).
        """
        return self.event.start or Start(event_id=self.event.id, at=self.time)

    @property
    def run_id(self) -> str:
        """The action's identity: 32 hexadecimal digits, derived from event, tenant, consumer and position.

        If the action starts a job, this is also the id of the job's run.
        """
        position = f"failure {self.event.redrive}" if self.is_failure else self.position
        return _digest(_identity(self.event), find_tenant_id(self.event.detail), self.consumer, position)

    @property
    def may_be_retry(self) -> bool:
        """Whether this delivery of the event may be a repeat.

        This is true in three cases. First, the event was replayed or redriven, so `event.redrive` is set. Second, the
        event is at least 30 seconds old, so Lambda may have retried the event. Third, the event's time is in the
        future, so the event's age is unknown.
        """
        age = clock.now() - self.event.time
        return self.event.redrive is not None or not timedelta() <= age < BEFORE_FIRST_RETRY

    def once_per(self, subject: str) -> str:
        """Compute an action's identity from the event's tenant and a subject, without the event's id.

        If several events lead to the same action for a tenant, the actions have the same identity. Therefore, only one
        of these actions is performed.

        Args:
            subject: The action's `once_per`.
        """
        return _digest("once", find_tenant_id(self.event.detail), subject)


def marks(run_id: str, start: Start, *, is_failure: bool = False) -> list[str]:
    """Build the `resources` of an event that this package publishes: a list of URNs.

    If this package receives the event, it reads these URNs.

    The first URN contains the identity of the action that publishes the event (`run_id`). The second URN contains the
    id and time of the event that began the operation (`start`). A third URN is added if `is_failure` is true: it marks
    the published event as one about a consumer's failure.
    """
    found = [_PUBLISHED_BY + run_id, f"{_STARTED_BY}{written(start.at)}/{start.event_id}"]
    return [*found, _FAILURE] if is_failure else found


def published_mark(source: str, resources: Sequence[str]) -> str | None:
    """Find the URN that identifies the action that published an event.

    Returns:
        The URN. `None` if `resources` does not contain such a URN, or if `source` shows that this package did not
        publish the event.
    """
    return next(_marked(source, resources, _PUBLISHED_BY), None)


def published_start(source: str, resources: Sequence[str]) -> Start | None:
    """Read the start of an operation, such as a tenant's provisioning, from an event that this package published.

    Args:
        source: The published event's source.
        resources: The published event's resources.

    Returns:
        The id and time of the event that began the operation. `None` if `resources` does not contain them, or if
        `source` shows that this package did not publish the event.
    """
    for mark in _marked(source, resources, _STARTED_BY):
        time, _, event_id = mark.removeprefix(_STARTED_BY).partition("/")
        with suppress(ValueError):
            return Start(event_id=event_id, at=datetime.fromisoformat(time).astimezone(UTC))
    return None


def publishes_failure(source: str, resources: Sequence[str]) -> bool:
    """Whether an event with this source and these resources was published by this package after a consumer failed."""
    return any(_marked(source, resources, _FAILURE))


def ending_run(event: Event[Any]) -> str | None:
    """Read the run id from an event about the ending of a run.

    Args:
        event: Any event, with its detail as received.

    Returns:
        The run id. `None` if the event's type does not end in `_SUCCESS` or `_FAILURE`, or if the event's detail does
        not have the member `ORCHESTRATOR_RUN_ID`.
    """
    return named_run(event) if event.type.endswith((SUCCESS_SUFFIX, FAILURE_SUFFIX)) else None


def named_run(event: Event[Any]) -> str | None:
    """Read `ORCHESTRATOR_RUN_ID` from an event's detail; return `None` if the detail does not have it."""
    run_id = event.detail.get(RUN_ID_VARIABLE)
    return run_id if isinstance(run_id, str) and run_id else None


def ending_id(run_id: str) -> str:
    """Compute the identity of a run's ending.

    It is the same for every event about this ending, whether the event reports success or failure.
    """
    return _digest("ending", run_id)


def is_confirmed_ending(event: Event[Any], run_id: str) -> bool:
    """Whether this package itself published an event that reports a run's ending.

    The package publishes such an event only if the build system says that the run has ended or is gone. An event that
    the run sent itself does not prove that.
    """
    return published_mark(event.source, event.resources) == _PUBLISHED_BY + ending_id(run_id)


def _identity(event: Event[Any]) -> str:
    run_id = ending_run(event)
    if run_id is not None:
        # The build itself, its state change and the sweep may each lead to an event about the same ending.
        return ending_id(run_id)
    # An event that is published twice has two ids from EventBridge, but the same mark.
    return published_mark(event.source, event.resources) or event.id


def _marked(source: str, resources: Sequence[str], prefix: str) -> Any:
    is_own = source == OWN_SOURCE or source.startswith(REFERENCE_SOURCES)
    return (resource for resource in resources if is_own and resource.startswith(prefix))


def _digest(*parts: str | int | None) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
