"""Delivers events as EventBridge and Lambda do at their worst, and counts what came of them."""

import copy
import heapq
import json
import math
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.chaos.aws_server import TIERS
from tests.chaos.child import ROOT, Child
from tests.chaos.faults import Faults
from tests.chaos.world import BUILDERS, World
from tests.codebuild_server import TOKEN_LIFETIME_SECONDS

EVENTS_PER_SECOND = 8
MAX_ATTEMPTS = 15
MUCH_LATER = 3600.0
TICK_SECONDS = 0.05
# A delivery is doomed by this chance, and then killed within so many seconds, unless it is done by then.
DOOMED = 0.1
DOOM_SECONDS = 0.03
_SAMPLE = json.loads((ROOT / "events" / "tenant-provisioning.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Plan:
    """What a run is to be like; the names are those of the command line."""

    events: int = 60
    deliveries: int = 0
    seed: int = 1
    workers: int = 4
    lock: float = 3.0
    failing: float = 0.05
    slow: float = 0.06
    killing: float = 0.04


@dataclass
class Row:
    """What happened to the events of one builder."""

    events: int = 0
    deliveries: int = 0
    kills: int = 0
    faults: int = 0
    lost: int = 0
    duplicated: int = 0


@dataclass
class Verdict:
    """What a run came to.

    Attributes:
        rows: What happened, by builder.
        errors: How often a delivery ended with which error.
        published: How many entries EventBridge took.
        surprises: What the emulations could not answer.
        seconds: How long it took.
    """

    rows: Mapping[str, Row]
    errors: Counter[str]
    published: int
    surprises: Sequence[str]
    seconds: float

    @property
    def is_good(self) -> bool:
        return not self.surprises and all(row.lost == row.duplicated == 0 for row in self.rows.values())

    def table(self) -> str:
        columns = list(Row.__dataclass_fields__)
        lines = ["builder    " + "".join(f"{name:>12}" for name in columns)]
        lines += [
            f"{builder:<11}" + "".join(f"{getattr(row, name):>12}" for name in columns)
            for builder, row in self.rows.items()
        ]
        errors = ", ".join(f"{count} {name}" for name, count in self.errors.most_common()) or "none"
        lines.append(f"{self.seconds:.0f} s; failed deliveries: {errors}; published entries: {self.published}")
        lines += [f"not emulated: {surprise}" for surprise in self.surprises[:10]]
        return "\n".join(lines)


@dataclass(order=True)
class Delivery:
    """An event that is to be handed over at a moment of the monotonic clock."""

    due: float
    serial: int
    event: Mapping[str, Any] = field(compare=False)
    attempt: int = field(compare=False, default=1)

    @property
    def builder(self) -> str:
        return str(self.event["detail"]["builderConfig"]["type"])


class Schedule:
    """The deliveries to come, and how many are under way."""

    def __init__(self) -> None:
        self._heap: list[Delivery] = []
        self._under_way = 0
        self._serial = 0
        self._changed = threading.Condition()

    def add(self, due: float, event: Mapping[str, Any], attempt: int = 1) -> None:
        with self._changed:
            self._serial += 1
            heapq.heappush(self._heap, Delivery(due, self._serial, event, attempt))
            self._changed.notify_all()

    def take(self) -> Delivery | None:
        """Wait for the next delivery; `None` when there will be none. Each one taken must be reported `done`."""
        with self._changed:
            while self._heap or self._under_way:
                pause = self._heap[0].due - time.monotonic() if self._heap else None
                if pause is not None and pause <= 0:
                    self._under_way += 1
                    return heapq.heappop(self._heap)
                self._changed.wait(pause)
            return None

    def done(self) -> None:
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()


def provisioning(builder: str, tier: str, at: float | None = None) -> dict[str, Any]:
    """Make an event of a new tenant.

    Args:
        builder: The build system that it asks for.
        tier: The plan's tier.
        at: Its time in seconds since 1970; now, if left out.
    """
    event: dict[str, Any] = copy.deepcopy(_SAMPLE)
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    event.update(id=str(uuid.uuid4()), time=moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
    detail = event["detail"]
    detail["tenant"].update(id=str(uuid.uuid4()), key=f"tenant-{event['id'][:8]}")
    detail["planConfig"]["tier"] = tier
    detail["builderConfig"]["type"] = builder
    return event


def run(plan: Plan) -> Verdict:
    """Carry out a plan."""
    started = time.monotonic()
    with World(Faults(failing=plan.failing, slow=plan.slow, killing=plan.killing, seed=plan.seed)) as world:
        driver = _Driver(plan, world)
        driver.first_deliveries()
        driver.work_off()
        world.advance(MUCH_LATER)
        driver.late_deliveries()
        driver.work_off()
        rows = driver.rows
        for builder, row in rows.items():
            row.faults = world.met[builder]
            sent = [event["id"] for event in driver.events if event["detail"]["builderConfig"]["type"] == builder]
            _count_runs(row, sent, world.runs(builder), driver.lost)
        return Verdict(rows, driver.errors, len(world.aws.published), world.surprises, time.monotonic() - started)


def _count_runs(row: Row, sent: Sequence[str], runs: Iterable[Mapping[str, object]], lost: set[str]) -> None:
    pairs = [(str(run["ORCHESTRATOR_EVENT_ID"]), str(run["ORCHESTRATOR_RUN_ID"])) for run in runs]
    by_event = Counter(event for event, _ in pairs)
    by_run = Counter(run for _, run in pairs)
    duplicated = {event for event, run in pairs if by_event[event] > 1 or by_run[run] > 1}
    row.events = len(sent)
    row.lost = sum(by_event[event] == 0 or event in lost for event in sent)
    row.duplicated = len(duplicated)


class _Driver:
    """Hands the schedule's deliveries to a pool of children, and puts those that fail back."""

    def __init__(self, plan: Plan, world: World) -> None:
        self._plan = plan
        self._world = world
        self._random = random.Random(plan.seed)  # noqa: S311 (chance, no secret)
        self._schedule = Schedule()
        self._lock = threading.Lock()
        self.events: list[dict[str, Any]] = []
        self.rows = {builder: Row() for builder in BUILDERS}
        self.errors: Counter[str] = Counter()
        self.lost: set[str] = set()

    def first_deliveries(self) -> None:
        """Schedule every event, roughly in order, and duplicates of them at the same moment and later."""
        start, wall = time.monotonic(), time.time()
        tiers, moments = list(TIERS), []
        for index in range(self._plan.events):
            after = index / EVENTS_PER_SECOND
            event = provisioning(BUILDERS[index % 2], tiers[index % len(tiers)], wall + after)
            self.events.append(event)
            moments.append(start + after + self._random.uniform(1, 2))
            self._schedule.add(moments[-1], event)
        # Every event is delivered now and at the end; the other planned deliveries fall on any of them.
        duplicates = max(self._plan.deliveries, 3 * len(self.events)) - 2 * len(self.events)
        for index in self._random.choices(range(len(self.events)), k=duplicates):
            # At the same moment, a little before or after, or about when the lock ends.
            delay = self._random.choice(
                (0.0, self._random.uniform(-1, 1), self._random.uniform(0, 2.5 * self._plan.lock))
            )
            self._schedule.add(moments[index] + delay, self.events[index])

    def late_deliveries(self) -> None:
        """Schedule every event once more, half of them as an archive replay."""
        for index, event in enumerate(self.events):
            again = {**event, "replay-name": "chaos"} if self._random.random() < 0.5 else event
            self._schedule.add(time.monotonic() + index / (4 * EVENTS_PER_SECOND), again)

    def work_off(self) -> None:
        """Deliver until the schedule is empty, while the builders' time goes on."""
        # Tokens live as long as a lock: they hold within an invocation, and no longer for its redelivery.
        token_speed = TOKEN_LIFETIME_SECONDS / self._plan.lock
        with ThreadPoolExecutor(self._plan.workers) as pool:
            workers = [pool.submit(self._work) for _ in range(self._plan.workers)]
            pending: set[Any] = set(workers)
            ticked = time.monotonic()
            while pending:
                _, pending = wait(pending, timeout=TICK_SECONDS)
                now = time.monotonic()
                self._world.advance(now - ticked, token_speed=token_speed)
                ticked = now
                if self._random.random() < 0.2:
                    self._world.jenkins.run_queue()
        for worker in workers:
            worker.result()

    def _work(self) -> None:
        child: Child | None = None
        while (delivery := self._schedule.take()) is not None:
            try:
                child = child or self._world.spawn(self._plan.lock)
                if not self._deliver(child, delivery):
                    child = None
            finally:
                self._schedule.done()
        if child is not None:
            child.close()

    def _deliver(self, child: Child, delivery: Delivery) -> bool:
        """Hand one delivery over, and put it back if it failed; says whether the child lives."""
        with self._lock:
            doom = self._random.uniform(0, DOOM_SECONDS) if self._random.random() < DOOMED else math.inf
            pause = self._plan.lock * self._random.uniform(1.05, 1.6)
        child.busy_with = delivery.builder
        result = child.deliver(delivery.event, doom)
        with self._lock:
            row = self.rows[delivery.builder]
            row.deliveries += 1
            row.kills += result is None
            if result is not None and not result["ok"]:
                self.errors[result["error"]] += 1
            if result is not None and result["ok"]:
                # Lambda would not deliver it again: what is not done by now is never done.
                if not self._is_started(delivery):
                    self.lost.add(delivery.event["id"])
            elif delivery.attempt == MAX_ATTEMPTS:
                self.lost.add(delivery.event["id"])
            else:
                self._schedule.add(time.monotonic() + pause, delivery.event, delivery.attempt + 1)
        return result is not None

    def _is_started(self, delivery: Delivery) -> bool:
        runs = self._world.runs(delivery.builder)
        return any(run["ORCHESTRATOR_EVENT_ID"] == delivery.event["id"] for run in runs)
