"""Runs attempts to start a job up to their next request.

`Ledger` and `JobStarter` are the real ones. An attempt's next request stops it with `Pending`. The answer is added to
the attempt's history, and the attempt runs again from the beginning, with the answers so far, to its next request.
"""

import secrets
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias
from unittest.mock import patch

from orchestrator import Event, StartJob, telemetry
from orchestrator.action import Outcome
from orchestrator.aws import clients
from orchestrator.builders.systems import BuildSystems
from orchestrator.errors import OrchestratorError, Unavailable
from orchestrator.job import Job, Run, StartedJob
from orchestrator.ledger.ledger import Ledger, Prepared
from orchestrator.ledger.memory import MemoryRecords
from orchestrator.ledger.record import Record
from orchestrator.performers.start_job import JobStarter
from orchestrator.run import Origin
from orchestrator.timing import clock, deadline

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
"""The time, which never changes: records and locks age instead."""
MEMORY = timedelta(days=30)
MONTH = timedelta(days=31)


class Failure(StrEnum):
    """An error as an answer: the request had no effect, or its effect is unknown."""

    CERTAIN = "certain"
    IN_DOUBT = "in doubt"


class Request(NamedTuple):
    """An operation of the ledger, or the build system's `search`, `check` or `send`."""

    operation: str
    arguments: tuple[Any, ...] = ()


class Actor(NamedTuple):
    """One delivery of the event, and its retries.

    `attempts` is the number left, including the current one. `began` is when the current one began, in seconds from
    now; `None` between attempts.
    """

    name: str
    attempts: int
    began: int | None = None
    history: tuple[Any, ...] = ()
    has_succeeded: bool = False

    @property
    def owner(self) -> str:
        """The attempt's name as the owner of a record."""
        return f"{self.name}{self.attempts}"

    def answered(self, answer: Any) -> "Actor":
        """Add an answer to the history."""
        return self._replace(history=(*self.history, answer))


Step: TypeAlias = Request | Outcome | OrchestratorError
"""How a run of an attempt stops: at its next request, or at its end."""


class HashableOutcome(dict[str, Any]):
    """An outcome that is hashable, as every part of a world must be."""

    def __hash__(self) -> int:  # type: ignore[override]  # a plain dict has no hash
        return hash(tuple(sorted(self.items())))


class Pending(BaseException):
    """An attempt made a request without an answer in its history; code that catches `Exception` does not catch this."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request


class Attempt:
    """Answers an attempt's requests from its history."""

    def __init__(self) -> None:
        self.now = NOW
        self.owner = ""
        self._answers: deque[Any] = deque()

    def begin(self, actor: Actor) -> None:
        self.now = NOW + timedelta(seconds=actor.began or 0)
        self.owner = actor.owner
        self._answers = deque(actor.history)

    def ask(self, operation: str, *arguments: Any) -> Any:
        if not self._answers:
            raise Pending(Request(operation, arguments))
        answer = self._answers.popleft()
        if isinstance(answer, Failure):
            raise Unavailable(f"{operation} failed", ambiguous=answer is Failure.IN_DOUBT)
        return answer

    def check(self, *, is_repeated: bool) -> None:
        """Check the time; the answer is the number of seconds that have passed."""
        self.now += timedelta(seconds=self.ask("check"))
        deadline.require("nothing was sent", ambiguous=is_repeated)


class ScriptedRecords(MemoryRecords):
    """Records that turn each operation into a request."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(MEMORY)
        self._attempt = attempt

    def claim(
        self, action_id: str, owner: str, locked_until: int, job: StartedJob | None = None, *, follow: bool = False
    ) -> tuple[bool, Record | None]:
        claimed: tuple[bool, Record | None] = self._attempt.ask("claim", action_id, owner, locked_until, job)
        return claimed

    def settle(self, action_id: str, owner: str, outcome: Outcome) -> bool:
        is_mine: bool = self._attempt.ask("settle", action_id, owner, HashableOutcome(outcome))
        return is_mine

    def release(self, action_id: str, owner: str) -> None:
        self._attempt.ask("release", action_id, owner)


class ScriptedBuilder:
    """A builder that turns each call into a request.

    With a token, it behaves as CodeBuild, where the SDK repeats a request without an answer. Without one, it behaves as
    Jenkins, which is searched for the run instead.
    """

    def __init__(self, attempt: Attempt, *, has_token: bool) -> None:
        self._attempt = attempt
        self._has_token = has_token

    def start(self, job: Job) -> Run:
        run: Run | None
        for number in range(clients.MAX_ATTEMPTS if self._has_token else 1):
            self._attempt.check(is_repeated=number > 0)
            try:
                run = self._attempt.ask("send")
            except Unavailable as error:
                raise Unavailable(str(error), ambiguous=number > 0) from None
            if run is not None:
                return run
        if not self._has_token:
            with suppress(Unavailable):
                run = self.find(job)
                if run is not None:
                    return run
        raise Unavailable("there was no answer")

    def find(self, job: Job) -> Run | None:
        run: Run | None = self._attempt.ask("search")
        return run


class Attempts:
    """Runs attempts to start one job on one build system."""

    def __init__(self, *, has_token: bool) -> None:
        self._attempt = Attempt()
        self._ledger = Ledger(ScriptedRecords(self._attempt))
        builder = ScriptedBuilder(self._attempt, has_token=has_token)
        jobs = JobStarter(BuildSystems({}, {"X": builder}, "X"), MEMORY)
        self._jobs = {False: _prepared(jobs, NOW), True: _prepared(jobs, NOW - MONTH)}
        self._steps: dict[tuple[Actor, bool], Step] = {}

    @property
    def run_id(self) -> str:
        """The job's run id."""
        run_id = self._jobs[False].action_id
        assert run_id is not None
        return run_id

    def step(self, actor: Actor, *, is_month_later: bool) -> Step:
        """Run an actor's attempt from the beginning to its next request, or to its end."""
        key = actor, is_month_later
        if key not in self._steps:
            self._steps[key] = self._run(actor, self._jobs[is_month_later])
            self._attempt.now = NOW
        return self._steps[key]

    def _run(self, actor: Actor, job: Prepared) -> Step:
        self._attempt.begin(actor)
        try:
            return self._ledger.perform(job)
        except Pending as pending:
            return pending.request
        except OrchestratorError as error:
            return error

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Use the attempt's time and owner; the monotonic clock stands still, as in a frozen environment."""
        with (
            patch.object(clock, "now", lambda: self._attempt.now),
            patch.object(deadline, "time", SimpleNamespace(monotonic=lambda: 0.0)),
            patch.object(secrets, "token_hex", lambda size: self._attempt.owner),
            patch.object(telemetry.logger, "info"),
        ):
            yield


def _prepared(jobs: JobStarter, at: datetime) -> Prepared:
    event: Event[Any] = Event(type="X", detail={}, id="event", time=at)
    with patch.object(clock, "now", lambda: NOW):
        return jobs.prepare(StartJob(name="job"), Origin(event=event, consumer="start", position=0))
