"""Prints the events that `orchestrator invoke --follow` handles, their effects, and what happens between events."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TextIO

from orchestrator.action import OutcomeStatus
from orchestrator.local.http_server import Request
from orchestrator.local.results import Failed, Handled, NotTaken, Result
from orchestrator.local.runs import EmulatedEnding, EmulatedRun
from orchestrator.local.summary import cut, handled_lines, job_lines
from orchestrator.local.terminal import Lines

# What comes of these is printed where it arrives: at a build system, on the bus, or at the control plane. A change of a
# tenant record is printed with the record's new status.
_SEEN_ELSEWHERE = (
    OutcomeStatus.STARTED,
    OutcomeStatus.PUBLISHED,
    OutcomeStatus.SENT,
    OutcomeStatus.REFUSED,
    OutcomeStatus.SAVED,
    OutcomeStatus.UPDATED,
)


class Story:
    """Prints a line for each event and, indented below that line, the event's effects.

    What happens between events, such as the end of a run, is printed without indentation.

    Of the values in events and tenant records, only names, ids, hosts, statuses and the reasons for statuses are
    printed.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Store the stream to print to; `None` prints nothing."""
        self._lines = Lines(stream)

    def event(self, event_type: str, origin: str) -> None:
        """Print that an event is about to be handled.

        Args:
            event_type: The event's type.
            origin: Where the event comes from, such as a file's name.
        """
        self._print(f"event {cut(event_type)}, from {cut(origin)}")

    def results(self, results: Sequence[Result]) -> None:
        """Print what the function logged about events.

        Errors are not printed. Outcomes that another method of this class prints, such as a started job, are not
        printed either.
        """
        for result in results:
            match result:
                case NotTaken():
                    self._print(f"  {result.text}")
                case Handled():
                    for line in handled_lines(result, left_out=_SEEN_ELSEWHERE):
                        self._print(line)
                case Failed():
                    pass  # an error is printed apart from the story

    def changed(self, tenant_id: str, record: Mapping[str, Any] | None, *, is_alone: bool) -> None:
        """Print that a tenant record was changed, and its status.

        Args:
            tenant_id: The tenant's id.
            record: The tenant record. If it is `None` or has no status, `changed` is printed as the status.
            is_alone: Whether the event has changed no other record, so that the tenant need not be named.
        """
        status = cut(str((record or {}).get("status", "changed")))
        self._print(f"  tenant record: {status}" if is_alone else f"  tenant record of {cut(tenant_id)}: {status}")

    def started(self, run: EmulatedRun) -> None:
        """Print that a job was started."""
        job = {"builder": run.builder, "name": run.job, "runId": run.run_id, "id": run.id, "link": run.link}
        for line in job_lines("started", {name: value for name, value in job.items() if value is not None}):
            self._print(line)

    def published(self, entry: Mapping[str, Any]) -> None:
        """Print that an event was published."""
        self._print(f"  published: {cut(entry['DetailType'])}")

    def callback(self, request: Request, *, is_accepted: bool) -> None:
        """Print that the control plane received a callback and, if it is a status webhook, the status in it.

        Args:
            request: The callback.
            is_accepted: Whether the control plane accepted the callback. If not, the answer 401 is printed.
        """
        body = json.loads(request.body)
        host = cut(request.headers["Host"])
        answer = "" if is_accepted else ", answered 401: it is not signed with the secret and context of the samples"
        if "initiatorId" in body:
            self._print(f"  webhook to {host}: status {body['data']['status']}{answer}")
        else:
            self._print(f"  callback to {host}{answer}")

    def waits_on(self) -> None:
        """Print that an event from the waiting queue could not be handled yet, and goes back to the queue."""
        self._print("  waits on")

    def ended(self, ending: EmulatedEnding) -> None:
        """Print that a run of a job ended, and its result."""
        self._print(f"job ended: {_named(ending.run)}, {ending.result}")

    def passed(self, time: timedelta) -> None:
        """Print that the clock was moved forward, to the time at which an unfinished run is due for a check.

        Args:
            time: How far the clock was moved.
        """
        self._print(f"{time.total_seconds() / 60:.0f} minutes pass, until a sweep checks the run")

    def tenant(self, tenant_id: str, record: Mapping[str, Any] | None) -> None:
        """Print the status in a tenant's record, and the reason for the status, if the record has one.

        Args:
            tenant_id: The tenant's id.
            record: The tenant record; `None` if there is none.
        """
        if record is None:
            self._print(f"tenant {cut(tenant_id)}: no record")
            return
        reason = record.get("statusReason")
        because = f" ({cut(reason)})" if isinstance(reason, str) else ""
        self._print(f"tenant {cut(tenant_id)}: {cut(str(record.get('status', 'no status')))}{because}")

    def _print(self, line: str) -> None:
        self._lines.print(line)


def _named(run: EmulatedRun) -> str:
    return f"{run.builder} {cut(run.job)}"
