"""Explores how events share a tenant's lock or a slot, and how those that wait are woken.

The real `Ledger` and `DynamoDBRecords` send their requests to an emulated table. Each request is one step, and the
steps of all actors are interleaved in every way. As in `attempts`, an actor runs again from the beginning with the
answers so far, up to its next request.
"""

import json
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias
from unittest.mock import patch

from botocore.exceptions import ClientError

from orchestrator import telemetry
from orchestrator.action import Outcome, OutcomeStatus
from orchestrator.errors import OrchestratorError, Unavailable, Wait
from orchestrator.event import Start
from orchestrator.job import Slot, StartedJob
from orchestrator.ledger.changes import Table as LedgerTable
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.ledger.ledger import Claim, Ledger, Prepared
from orchestrator.ledger.record import EndingStatus, State, from_item
from orchestrator.ledger.waiting_line import WaitingLine
from orchestrator.local.sandbox import LEDGER_INDEXES
from orchestrator.timing import clock, deadline
from tests.chaos.dynamodb import ConditionFailed, DynamoDB, Index, Table, TransactionCanceled

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
TICK = timedelta(minutes=1)
"""After one tick, the lock of a claim is over, and its owner sends nothing any more."""
LEDGER = "ledger"
Items: TypeAlias = tuple[tuple[str, str], ...]


class Job(NamedTuple):
    """A job; it may follow another one of its operation, and may have a slot of a size."""

    run_id: str
    operation: str
    minute: int
    event_type: str = "X"
    follows: str | None = None
    tenant: str | None = "acme"
    slot: int | None = None

    @property
    def started(self) -> StartedJob:
        start = Start(event_id=self.operation, at=NOW - timedelta(hours=1) + timedelta(minutes=self.minute))
        return StartedJob(
            builder="X",
            name="job",
            run_id=self.run_id,
            since=start.at,
            event_id=self.operation,
            event_type=self.event_type,
            tenant_id=self.tenant,
            start=start,
            slot=None if self.slot is None else Slot(name="ring", size=self.slot),
        )


FIRST, BESIDE, FOLLOWING, SECOND, THIRD = (
    Job("run-1", "first", 1),
    Job("run-1a", "first", 1, event_type="Y"),
    Job("run-1b", "first", 1, event_type="Y", follows="run-1"),
    Job("run-2", "second", 2),
    Job("run-3", "third", 3),
)
# Jobs of three tenants, and what a slot has room for.
RING = tuple(Job(f"run-{name}", name, minute, tenant=name, slot=1) for minute, name in enumerate("abc"))
PAIR = tuple(job._replace(run_id=f"pair-{job.operation}", slot=2) for job in RING)
PROBE = Job("run-probe", "probe", 9, tenant=None, slot=1)
JOBS = {job.run_id: job for job in (FIRST, BESIDE, FOLLOWING, SECOND, THIRD, *RING, *PAIR, PROBE)}


class Actor(NamedTuple):
    """A delivery that starts a job, a handler of a run's ending, or a sweep that gives a run up.

    `began` is the tick at which it began; `history` has the answers so far. `attempts` is the number left.
    """

    role: str
    run_id: str
    attempts: int
    began: int | None = None
    history: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.role} {self.run_id}"


class World(NamedTuple):
    """A state: the table's items as JSON, the runs that were started, those of them that have ended, and what sleeps.

    `hidden` has the receipt handles of the messages that are hidden: the run's id, and who received the message.
    """

    actors: tuple[Actor, ...]
    items: Items = ()
    started: tuple[str, ...] = ()
    ended: frozenset[str] = frozenset()
    overtaken: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    ticks: int = 0
    kills: int = 0


class Request(NamedTuple):
    """A request to the table or to the build system."""

    operation: str
    body: Mapping[str, Any]


class Pending(BaseException):
    """An actor made a request without an answer in its history."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request


class Found(NamedTuple):
    """The result of an exploration; the trace has the steps to the first violation."""

    states: int
    violation: str | None
    trace: list[str]


class Exploration:
    """Explores all worlds of some jobs."""

    def __init__(
        self,
        *jobs: Job,
        kills: int = 0,
        ticks: int = 0,
        attempts: int = 1,
        gives_up: bool = False,
        wakes: bool = False,
    ) -> None:
        """Choose the jobs and the bounds.

        Args:
            jobs: The jobs.
            kills: How often an actor may be killed.
            ticks: How many minutes may pass.
            attempts: How often each event is delivered.
            gives_up: Whether sweeps give runs up that were not found.
            wakes: Whether events that wait sleep until they are woken.
        """
        self._max_ticks = ticks
        starts = [Actor("start", job.run_id, attempts) for job in jobs]
        ends = [Actor("end", job.run_id, 2) for job in jobs]
        sweeps = [Actor("sweep", job.run_id, 1) for job in jobs if gives_up]
        self._first = World((*starts, *ends, *sweeps), kills=kills)
        indexes = {name: Index(*keys) for name, keys in LEDGER_INDEXES.items()}
        self._database = DynamoDB({LEDGER: Table("id", indexes)})
        self._answers: deque[str] = deque()
        self._owner, self._tick = "", 0
        client: Any = SimpleNamespace(
            update_item=self._asking("UpdateItem"),
            delete_item=self._asking("DeleteItem"),
            get_item=self._asking("GetItem"),
            transact_write_items=self._asking("TransactWriteItems"),
            query=self._asking("Query"),
        )
        sqs: Any = SimpleNamespace(change_message_visibility=self._asking("ChangeMessageVisibility"))
        memory = timedelta(days=30)
        self._line = WaitingLine(LedgerTable(LEDGER, lambda: client), memory, lambda: sqs) if wakes else None
        self._records = DynamoDBRecords(LEDGER, lambda: client, memory, line=self._line)
        self._ledger = Ledger(self._records)
        self._probed: dict[World, str | None] = {}
        self._stepped: dict[Actor, object] = {}
        self._answered: dict[tuple[Items, Actor], tuple[Items, str]] = {}

    def explore(self) -> Found:
        """Explore all worlds, breadth first, up to the first violation."""
        origins: dict[World, tuple[World, str] | None] = {self._first: None}
        frontier = deque([self._first])
        with self._in_place():
            while frontier:
                world = frontier.popleft()
                violation = self._violation(world)
                if violation is not None:
                    return Found(len(origins), violation, _trace(origins, world))
                for label, following in self._steps(world):
                    if following not in origins:
                        origins[following] = world, label
                        frontier.append(following)
        return Found(len(origins), None, [])

    # What is wrong

    def _violation(self, world: World) -> str | None:
        running = [JOBS[run_id] for run_id in world.started if run_id not in world.ended]
        for tenant in {job.tenant for job in running} - {None}:
            if len({job.operation for job in running if job.tenant == tenant}) > 1:
                return "jobs of two operations run at the same time"
        if any(len(running) > job.slot for job in running if job.slot is not None):
            return "more jobs run than the slot has room for"
        if len(set(world.started)) < len(world.started):
            return "a job was started twice"
        minutes = [JOBS[run_id].minute for run_id in world.started if JOBS[run_id][3:6] == ("X", None, "acme")]
        if minutes != sorted(minutes):
            return "a job was started after one of a later event"
        return self._sleeping(world) if self._line is not None else self._probe(world)

    def _sleeping(self, world: World) -> str | None:
        """If nothing is left to happen, no event may be asleep."""
        is_over = next(self._steps(world), None) is None
        asleep = set(map(_run_of, world.hidden)) - set(world.started) - world.overtaken
        return "an event is never woken" if is_over and asleep else None

    def _probe(self, world: World) -> str | None:
        """Let everything come to its end without faults; then each event must be done, and the tenant free."""
        key = world._replace(actors=(), kills=0)
        if key not in self._probed:
            self._probed[key] = self._probe_anew(key._replace(ticks=world.ticks + 2))
        return self._probed[key]

    def _probe_anew(self, world: World) -> str | None:
        due = [actor for actor in self._first.actors if actor.role == "start"]
        for _ in range(2):  # what waits for the other one at first is tried again
            for actor in due:
                world = self._ended(world)
                if self._may_begin(world, actor):
                    world = self._completed(world, actor._replace(attempts=1))
        world = self._ended(world)
        for actor in due:
            job = JOBS[actor.run_id]
            is_due = job.follows is None or (job.follows in world.started)
            if is_due and actor.run_id not in world.started and actor.run_id not in world.overtaken:
                return f"{actor.run_id} is never started"
        slots = {JOBS[actor.run_id].slot for actor in due} - {None}
        last = PROBE if slots else THIRD
        world = self._completed(world, Actor("start", last.run_id, 1))
        return None if last.run_id in world.started else "the tenant or slot is never free again"

    def _ended(self, world: World) -> World:
        """End all runs, and let the sweep do what it does."""
        for run_id in JOBS:
            world = world._replace(ended=frozenset(world.started))
            for role in ("end", "sweep"):
                actor = Actor(role, run_id, 1)
                if self._may_begin(world, actor):
                    world = self._completed(world, actor)
        return world

    def _completed(self, world: World, actor: Actor) -> World:
        actor = actor._replace(began=world.ticks)
        while isinstance(step := self._step(actor), Request):
            world, answer = self._applied(world, actor, step)
            actor = actor._replace(history=(*actor.history, answer))
        return self._with_result(world, actor, step)

    # What may happen

    def _steps(self, world: World) -> Iterator[tuple[str, World]]:
        for actor in world.actors:
            if actor.began is not None:
                yield self._move(world, actor)
                if world.kills:
                    killed = actor._replace(began=None, history=(), attempts=actor.attempts - 1)
                    yield f"{actor.name} is killed", _changed(world, killed)._replace(kills=world.kills - 1)
            elif actor.attempts and actor.run_id not in map(_run_of, world.hidden) and self._may_begin(world, actor):
                yield self._move(world, actor._replace(began=world.ticks))
        for run_id in set(world.started) - world.ended:
            yield f"{run_id} ends", world._replace(ended=world.ended | {run_id})
        if world.ticks < self._max_ticks:
            yield "a minute passes", world._replace(ticks=world.ticks + 1)

    def _may_begin(self, world: World, actor: Actor) -> bool:
        item = dict(world.items).get(actor.run_id)
        record = from_item(json.loads(item)) if item else None
        match actor.role:
            case "start":
                follows = JOBS[actor.run_id].follows
                if follows is None:
                    return True
                before = dict(world.items).get(follows)
                return before is not None and "ending" in json.loads(before)
            case "end":
                return actor.run_id in world.ended and record is not None and record.check_at is not None
            case _:
                is_over = record is not None and record.locked_until < (NOW + world.ticks * TICK).timestamp() * 1000
                has_no_run = actor.run_id not in world.started
                return is_over and has_no_run and record is not None and record.check_at is not None

    def _move(self, world: World, actor: Actor) -> tuple[str, World]:
        """Let an actor do its next request."""
        request = self._step(actor)
        assert isinstance(request, Request)
        world, answer = self._applied(world, actor, request)
        actor = actor._replace(history=(*actor.history, answer))
        label = f"{actor.name}: {request.operation}"
        step = self._step(actor)
        if isinstance(step, Request):
            return label, _changed(world, actor)
        over = actor._replace(began=None, history=(), attempts=actor.attempts - 1)
        return f"{label}; over", _changed(self._with_result(world, actor, step), over)

    def _with_result(self, world: World, actor: Actor, result: object) -> World:
        if isinstance(result, dict) and result.get("status") is OutcomeStatus.SUPERSEDED:
            return world._replace(overtaken=world.overtaken | {actor.run_id})
        return world

    # The actors

    def _step(self, actor: Actor) -> object:
        """Run an actor from the beginning to its next request, or to its end; then return its result."""
        if actor not in self._stepped:
            self._stepped[actor] = self._run(actor)
        return self._stepped[actor]

    def _run(self, actor: Actor) -> object:
        self._answers = deque(actor.history)
        self._owner, self._tick = f"{actor.name} {actor.attempts}", actor.began or 0
        act: Callable[[str], Any] = getattr(self, f"_{actor.role}")
        try:
            return act(actor.run_id)
        except Pending as pending:
            return pending.request
        except OrchestratorError:
            return None

    def _start(self, run_id: str) -> Outcome:
        def perform(claim: Claim) -> Outcome:
            if not (claim.is_retry and self._ask("find", run_id)) and not self._ask("start", run_id):
                raise Unavailable("it is too late", ambiguous=False)
            return Outcome(action="StartJob", status=OutcomeStatus.STARTED)

        prepared = Prepared(perform=perform, action_id=run_id, job=JOBS[run_id].started, follow=True)
        if self._line is None:
            return self._ledger.perform(prepared)
        try:
            return self._ledger.perform(prepared, has_waited=True)
        except Unavailable as error:
            if error.wait is not None:
                self._sleep(error.wait)
            raise

    def _sleep(self, wait: Wait) -> None:
        """Do with the event's message what `Redelivery` does."""
        assert self._line is not None
        receipt = f"{wait.run_id}|{self._owner}"
        self._ask("hide", receipt)
        if not self._line.join(wait, "queue", receipt, NOW + timedelta(hours=11)):
            self._ask("show", receipt)

    def _end(self, run_id: str) -> None:
        self._records.close(run_id, EndingStatus.SUCCESS)
        self._records.unfollow(run_id)

    def _sweep(self, run_id: str) -> None:
        record = self._records.read(run_id)
        if record is not None and record.state is State.CLAIMED and not self._ask("find", run_id):
            self._records.give_up(record)

    def _ask(self, operation: str, run_id: str) -> Any:
        return self._asking(operation)(run_id=run_id)

    def _asking(self, operation: str) -> Callable[..., Any]:
        def ask(**body: Any) -> Any:
            if not self._answers:
                raise Pending(Request(operation, body))
            answer = json.loads(self._answers.popleft())
            if isinstance(answer, dict) and "Error" in answer:
                raise ClientError(answer, operation)  # type: ignore[arg-type]  # the members that the ledger reads
            return answer

        return ask

    def _applied(self, world: World, actor: Actor, request: Request) -> tuple[World, str]:
        """Apply a request; return the world after it and the answer, as JSON."""
        match request:
            case Request("find", {"run_id": run_id}):
                return world, json.dumps(run_id in world.started)
            case Request("start", {"run_id": run_id}):
                if actor.began != world.ticks:
                    return world, json.dumps(False)
                return world._replace(started=(*world.started, run_id)), json.dumps(True)
            case Request("hide", {"run_id": receipt}):
                others = {one for one in world.hidden if _run_of(one) != _run_of(receipt)}
                return world._replace(hidden=frozenset({*others, receipt})), json.dumps(None)
            case Request("show", {"run_id": receipt}) | Request("ChangeMessageVisibility", {"ReceiptHandle": receipt}):
                return world._replace(hidden=world.hidden - {receipt}), json.dumps(None)
        key = world.items, actor
        if key not in self._answered:
            self._answered[key] = self._performed(world.items, request)
        items, answer = self._answered[key]
        return world._replace(items=items), answer

    def _performed(self, items: Items, request: Request) -> tuple[Items, str]:
        """Perform a request on a table with these items; return the items after it and the answer."""
        table = self._database.tables[LEDGER]
        table.clear()
        table.update((key, json.loads(item)) for key, item in items)
        try:
            answer: Any = self._database.perform(request.operation, request.body)
        except ConditionFailed as failed:
            answer = {"Error": {"Code": "ConditionalCheckFailedException"}, "Item": failed.item}
        except TransactionCanceled as canceled:
            answer = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": canceled.reasons}
        changed = tuple(sorted((key, json.dumps(item, sort_keys=True)) for key, item in table.items()))
        return changed, json.dumps(answer)

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """Use the actor's time and owner; the monotonic clock stands still."""
        with (
            patch.object(clock, "now", lambda: NOW + self._tick * TICK),
            patch.object(deadline, "time", SimpleNamespace(monotonic=lambda: 0.0)),
            patch.object(secrets, "token_hex", lambda size: self._owner),
            patch.object(telemetry.logger, "info"),
        ):
            yield


def _run_of(receipt: str) -> str:
    return receipt.partition("|")[0]


def _changed(world: World, actor: Actor) -> World:
    return world._replace(actors=tuple(actor if other.name == actor.name else other for other in world.actors))


def _trace(origins: Mapping[World, tuple[World, str] | None], world: World) -> list[str]:
    labels = []
    while (origin := origins[world]) is not None:
        world, label = origin
        labels.append(label)
    return labels[::-1]
