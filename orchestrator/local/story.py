"""Prints what happens to tenants, one line for each step, in the order in which it happens."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TextIO

from orchestrator.action import OutcomeStatus
from orchestrator.local.http_server import Request
from orchestrator.local.runs import EmulatedEnding, EmulatedRun
from orchestrator.local.summary import cut

# Outcomes that leave no trace outside the function, so only the handler's answer shows them.
_WITHOUT_TRACE = (OutcomeStatus.SUPERSEDED, OutcomeStatus.IGNORED, OutcomeStatus.SKIPPED)


class Story:
    """Prints the story. An event begins a paragraph, and what it leads to is indented below it.

    Values of events are not printed, except for names, ids and the status of a webhook.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def event(self, event_type: str, origin: str) -> None:
        """Print that an event is handled.

        Args:
            event_type: The event's type.
            origin: Where the event comes from, such as a file's name.
        """
        self._print(f"event {cut(event_type)}, from {cut(origin)}")

    def answer(self, answer: Any) -> None:
        """Print what the handler's answer says about consumers and actions that did nothing."""
        consumers = answer.get("consumers") if isinstance(answer, Mapping) else None
        if consumers is None:
            return
        if not consumers:
            self._print("  no consumer takes it, or it is ignored")
        for outcome in (outcome for consumer in consumers for outcome in consumer["outcomes"]):
            reason = cut(outcome.get("reason", "no reason"))
            if outcome["status"] == OutcomeStatus.WAITING:
                self._print(f"  waits: {reason}")
            elif outcome["status"] in _WITHOUT_TRACE:
                self._print(f"  {cut(outcome['action'])} {outcome['status']}: {reason}")

    def started(self, run: EmulatedRun) -> None:
        """Print that a job was started."""
        self._print(f"  job started: {_named(run)}, {cut(run.id)}")
        if run.link is not None:
            self._print(f"    {run.link}")

    def published(self, entry: Mapping[str, Any]) -> None:
        """Print that an event was published."""
        self._print(f"  published: {cut(entry['DetailType'])}")

    def callback(self, request: Request, *, is_accepted: bool) -> None:
        """Print that the control plane received a callback; for a status webhook, with the status in its body."""
        body = json.loads(request.body)
        host = cut(request.headers["Host"])
        answer = "" if is_accepted else ", answered 401: it is not signed with the secret and context of the samples"
        if "initiatorId" in body:
            self._print(f"  webhook to {host}: status {body['data']['status']}{answer}")
        else:
            self._print(f"  callback to {host}{answer}")

    def waits_on(self) -> None:
        """Print that an event from the waiting queue came back to that queue."""
        self._print("  waits on")

    def ended(self, ending: EmulatedEnding) -> None:
        """Print that a job ended."""
        self._print(f"job ended: {_named(ending.run)}, {ending.result}")

    def passed(self, time: timedelta) -> None:
        """Print that the clock was moved forward."""
        self._print(f"{time.total_seconds() / 60:.0f} minutes pass, until a sweep checks the run")

    def tenant(self, tenant_id: str, record: Mapping[str, Any] | None) -> None:
        """Print the status in a tenant's record.

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
        print(line, file=self._stream, flush=True)


def _named(run: EmulatedRun) -> str:
    return f"{run.builder} {cut(run.job)}"
