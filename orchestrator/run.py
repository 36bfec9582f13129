"""The identity of an action: the same on every redelivery, different for any other action."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.event import Event

RUN_ID_VARIABLE = "ORCHESTRATOR_RUN_ID"
"""The job variable by which a run is found again."""

EVENT_ID_VARIABLE = "ORCHESTRATOR_EVENT_ID"
"""The job variable that names the event that it was started for."""

EVENT_TYPE_VARIABLE = "ORCHESTRATOR_EVENT_TYPE"
"""The job variable that names the type of the event that it was started for."""

TENANT_ID_VARIABLE = "ORCHESTRATOR_TENANT_ID"
"""The job variable that names the tenant that it is for."""

REPORTS_VARIABLE = "ORCHESTRATOR_REPORTS"
"""The job variable that is `false` where a job's end is not the end of what its event asked for."""

OUTCOME_SUFFIXES = ("_SUCCESS", "_FAILURE")
"""How the types of events end that tell how a job ended, after the type of the event that started it."""

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
    def time(self) -> datetime:
        """The event's time, or now where a sender's clock is ahead."""
        return min(self.event.time, datetime.now(UTC))

    @property
    def run_id(self) -> str:
        """The action's identity: 32 hexadecimal digits, of event, consumer and position alone."""
        return _digest(_identity(self.event), self.consumer, self.position)


def mark(run_id: str) -> str:
    """Make what a published event carries among its resources, so that publishing it twice counts once.

    Args:
        run_id: Identity of the action that publishes it.

    Returns:
        The mark.
    """
    return _PUBLISHED_BY + run_id


def reported_run(event: Event[Any]) -> str | None:
    """Say which job's end an event tells.

    Args:
        event: Any event, its detail as it came.

    Returns:
        The job's run id where the event's type ends in `_SUCCESS` or `_FAILURE` and its detail is the job's
        (it has the variable `ORCHESTRATOR_RUN_ID`); else `None`.
    """
    run_id = event.detail.get(RUN_ID_VARIABLE) if event.type.endswith(OUTCOME_SUFFIXES) else None
    return run_id if isinstance(run_id, str) and run_id else None


def report_id(event_type: str, run_id: str) -> str:
    """Make the identity of the report that a job has ended, whoever sends it and however often.

    Args:
        event_type: The report's type, which says how it ended.
        run_id: The job's run id.

    Returns:
        32 hexadecimal digits.
    """
    return _digest("report", event_type, run_id)


def _identity(event: Event[Any]) -> str:
    run_id = reported_run(event)
    if run_id is not None:
        # The build itself, its state change and the sweep may each tell of one end.
        return report_id(event.type, run_id)
    # An event that is published a second time gets another id from EventBridge, but has the same mark.
    marks = (resource for resource in event.resources if resource.startswith(_PUBLISHED_BY))
    return next(marks, event.id)


def _digest(*parts: str | int) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
