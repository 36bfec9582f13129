"""Delivers events as EventBridge and Lambda may do at worst: twice, late, out of order and interrupted."""

import json
import math
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.local.codebuild import TOKEN_LIFETIME_SECONDS
from tests.chaos.aws_server import IDEMPOTENCY_TABLE, TENANTS_TABLE, TIERS
from tests.chaos.builds import Builds
from tests.chaos.child import ROOT, Child
from tests.chaos.faults import Faults
from tests.chaos.history import Handled
from tests.chaos.lives import BUILDERS, Start, start_of, starts
from tests.chaos.schedule import SWEEP, Delivery, Schedule
from tests.chaos.verdict import Facts, Judge, Row, Verdict, describe
from tests.chaos.world import World

MAX_ATTEMPTS = 15
# The waiting queue has 13 days to deliver a message.
MOST_TRIES = 300
MUCH_LATER = 3600.0
LAST_SWEEPS = 20
TICK_SECONDS = 0.05
# This share of the deliveries is killed at a random moment within so many seconds, unless it ends before.
DOOMED = 0.1
DOOM_SECONDS = 0.03
# Published events are delivered within a second, this share of them twice.
_TWICE = 0.15
# This share of the deliveries comes as an array of a custom event bus, half of these with the event twice.
_ARRAYS = 0.2
_SWEEP = json.loads((ROOT / "events" / "scheduled-sweep.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Plan:
    """The settings of a run; see the command line's help."""

    events: int = 60
    deliveries: int = 0
    seed: int = 1
    workers: int = 4
    pace: float = 4.0
    lock: float = 3.0
    failing: float = 0.05
    slow: float = 0.06
    killing: float = 0.04
    apart: float = 0.33

    @property
    def scale(self) -> float:
        """Factor for all other durations, which are written for invocations of three seconds."""
        return self.lock / 3


def run(plan: Plan) -> Verdict:
    """Carry out a plan."""
    started = time.monotonic()
    faults = Faults(failing=plan.failing, slow=plan.slow, killing=plan.killing, seed=plan.seed)
    with World(faults) as world:
        driver = Driver(plan, world)
        driver.run()
        facts = Facts(
            starts=driver.starts,
            runs=driver.builds.runs,
            history=world.history,
            records=world.aws.dynamodb.tables[TENANTS_TABLE],
            given_up=driver.given_up,
            followed=driver.followed(),
        )
        return _judged(driver, facts, world, time.monotonic() - started)


def _judged(driver: "Driver", facts: Facts, world: World, seconds: float) -> Verdict:
    judge, findings = Judge(facts), []
    for start in driver.starts:
        row = driver.rows[start.builder]
        row.events += 1
        for column, finding in judge.findings(start):
            setattr(row, column, getattr(row, column) + 1)
            findings.append(f"{column}: {finding}: {describe(start, facts.runs)}")
    for builder, row in driver.rows.items():
        row.faults = world.met[builder]
    sweeps = driver.rows.pop(SWEEP)
    superseded = {one.start for one in facts.history.handled if one.is_superseded()}
    counts = Counter(
        {
            "sweeps": sweeps.deliveries,
            "runs": len(facts.runs),
            "published": len(facts.history.published),
            "webhooks": len(facts.history.webhooks),
            "waiting": facts.history.waiting,
            "superseded": len(superseded),
            "overtaken in flight": judge.in_flight(),
        }
    )
    return Verdict(driver.rows, driver.errors, counts, findings, world.surprises, seconds)


class Driver:
    """Hands scheduled deliveries to a pool of children and schedules failed ones again.

    Attributes:
        starts: The start events.
        builds: Ends their runs.
        rows: The numbers of each builder, and of the sweeps.
        errors: How many deliveries failed, by error.
        given_up: Ids of the start events whose last attempt failed.
    """

    def __init__(self, plan: Plan, world: World) -> None:
        self._plan = plan
        self._world = world
        self._random = random.Random(plan.seed)  # noqa: S311 (chance, no secret)
        self._schedule = Schedule()
        self._lock = threading.Lock()
        self._swept = time.monotonic()
        self.starts = starts(plan.events, list(TIERS), plan.pace, plan.scale, time.time(), self._random)
        self.builds = Builds(world, self._deliver_soon, plan.scale, plan.seed)
        self.rows = {name: Row() for name in (*BUILDERS, SWEEP)}
        self.errors: Counter[str] = Counter()
        self.given_up: set[str] = set()
        self._by_id = {start.id: start for start in self.starts}
        for start in self.starts:
            world.control_plane.expect(start.tenant, start.id)
        world.on_published = self._feed_back
        world.on_waiting = self._deliver_from_queue
        world.on_late = self._deliver_at_end

    def run(self) -> None:
        """Deliver everything; the last sweeps run without faults."""
        with ThreadPoolExecutor(self._plan.workers) as pool:
            workers = [pool.submit(self._work) for _ in range(self._plan.workers)]
            try:
                self._first_deliveries()
                self._settle(workers)
                self._world.advance(MUCH_LATER)
                self._late_deliveries()
                self._settle(workers)
                self._world.faults.calm()
                self._last_sweeps(workers)
            finally:
                self._schedule.close()
        for worker in workers:
            worker.result()

    def _first_deliveries(self) -> None:
        """Schedule every start, and duplicates at about the same moment and later."""
        begin = time.monotonic()
        for start in self.starts:
            self._add(start, begin + start.after)
        # Every start is delivered now and at the end; the remaining deliveries are duplicates of random starts.
        duplicates = max(self._plan.deliveries, 3 * len(self.starts)) - 2 * len(self.starts)
        for start in self._random.choices(self.starts, k=duplicates):
            # At the same moment, a little before or after, about when the lock ends, or at any time.
            delay = self._random.choice(
                (
                    0.0,
                    self._random.uniform(-0.2, 0.2) * self._plan.lock,
                    self._random.uniform(0.6, 1.1) * self._plan.lock,
                    self._random.uniform(0, 2.5) * self._plan.lock,
                )
            )
            self._add(start, begin + start.after + delay)

    def _late_deliveries(self) -> None:
        """Schedule every start once more, half of them as an archive replay."""
        begin = time.monotonic()
        for index, start in enumerate(self.starts):
            replay = {"replay-name": "chaos"} if self._random.random() < 0.5 else {}
            event = {**start.event, **replay}
            self._schedule.add(begin + index / (4 * self._plan.pace), event, start.builder, start.id)

    def _last_sweeps(self, workers: list[Future[None]]) -> None:
        """Sweep when every lock has expired, and again until no run is followed."""
        delay = 1.5 * self._plan.lock
        for _ in range(LAST_SWEEPS):
            self._sweep(delay)
            self._settle(workers)
            if not self.followed():
                return
            delay = 0.5 * self._plan.lock

    def followed(self) -> set[str]:
        """Return the ids of the starts with a run that is followed, so that their tenant is locked."""
        records = [*self._world.aws.dynamodb.tables[IDEMPOTENCY_TABLE].values()]
        return {
            record["job"]["M"]["start"]["M"]["event_id"]["S"]
            for record in records
            if "job" in record and "openJob" in record
        }

    def _add(self, start: Start, due: float) -> None:
        self._schedule.add(due, start.event, start.builder, start.id)

    def _deliver_soon(self, event: Mapping[str, Any], delay: float, builder: str, start: str) -> None:
        self._schedule.add(time.monotonic() + delay, event, builder, start)

    def _feed_back(self, event: Mapping[str, Any]) -> None:
        start = start_of(event["detail"])
        with self._lock:
            delays = [self._random.uniform(0, self._plan.scale) for _ in range(1 + (self._random.random() < _TWICE))]
        for delay in delays:
            self._deliver_soon(event, delay, self._by_id[start].builder, start)

    def _deliver_from_queue(self, record: Mapping[str, Any]) -> None:
        event = json.loads(record["body"])
        start = start_of(event["detail"]) if event["id"] not in self._by_id else event["id"]
        with self._lock:
            delay = self._plan.lock * self._random.uniform(0.6, 1.2)
        self._deliver_soon({"Records": [record]}, delay, self._by_id[start].builder, start)

    def _deliver_at_end(self, start: str, end: float) -> None:
        """Deliver again shortly before the lock ends, when its holder's request may not have taken effect yet."""
        for share in (0.8, self._plan.apart):
            with self._lock:
                early = self._random.uniform(0, share) * self._plan.lock
            self._add(self._by_id[start], end - early)

    def _sweep(self, delay: float = 0.0) -> None:
        """Schedule a sweep; `_swept` says when it was over. Sweeps that overlap would leave no idle moment."""
        happened = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {**_SWEEP, "id": str(uuid.uuid4()), "time": happened}
        self._schedule.add(time.monotonic() + delay, event, SWEEP, None)
        self._swept = math.inf

    def _settle(self, workers: list[Future[None]]) -> None:
        """Advance the builders and sweep now and then, until nothing is left to happen."""
        # Tokens expire with the lock: they last for one invocation, not for its redelivery.
        token_speed = TOKEN_LIFETIME_SECONDS / self._plan.lock
        ticked = time.monotonic()
        # The schedule is checked twice: a delivery may start a run, and the end of a run may schedule deliveries.
        while not (self._schedule.is_idle() and self.builds.is_idle() and self._schedule.is_idle()):
            time.sleep(TICK_SECONDS)
            now = time.monotonic()
            self._world.advance(now - ticked, token_speed=token_speed)
            ticked = now
            if self._random.random() < 0.4:
                self._world.jenkins.run_queue()
            self.builds.tick()
            if now - self._swept > self._plan.lock / 2:
                self._sweep()
            for worker in workers:
                if worker.done():
                    worker.result()

    def _work(self) -> None:
        child: Child | None = None
        while (delivery := self._schedule.take()) is not None:
            try:
                child = child or self._spawn()
                if not self._deliver(child, delivery):
                    child = None
            finally:
                self._schedule.done()
        if child is not None:
            child.close()

    def _spawn(self) -> Child:
        # Two clocks differ by the maximum or not at all.
        with self._lock:
            ahead = self._random.choice((-0.5, 0.5)) * self._plan.apart * self._plan.lock
        return self._world.spawn(self._plan.lock, ahead)

    def _deliver(self, child: Child, delivery: Delivery) -> bool:
        """Make one delivery, schedule it again if it failed, and return whether the child is alive."""
        with self._lock:
            doom = self._random.uniform(0, DOOM_SECONDS) if self._random.random() < DOOMED else math.inf
            pause = self._plan.lock * self._random.uniform(1.05, 1.6)
            if delivery.start == delivery.event.get("id"):
                self._world.history.delivered.setdefault(delivery.event["id"], time.monotonic())
            payload = self._payload(delivery.event)
        child.busy_with = delivery.builder
        result = child.deliver(payload, doom)
        with self._lock:
            row = self.rows[delivery.builder]
            row.deliveries += 1
            row.kills += result is None
        is_ok = bool(result and result["ok"])
        if delivery.builder == SWEEP and (is_ok or delivery.attempt == MAX_ATTEMPTS):
            self._swept = time.monotonic()
        if result is not None and result["ok"]:
            answers = result["answer"].get("events", [result["answer"]])
            consumers = (consumer for answer in answers for consumer in answer["consumers"])
            outcomes = (outcome for consumer in consumers for outcome in consumer["outcomes"])
            handled = Handled(start=delivery.start, ended=time.monotonic(), outcomes=tuple(outcomes))
            self._world.history.handled.append(handled)
            return True
        with self._lock:
            if result is not None:
                self.errors[result["error"]] += 1
            if delivery.attempt < (MOST_TRIES if "Records" in delivery.event else MAX_ATTEMPTS):
                due = time.monotonic() + pause
                self._schedule.add(due, delivery.event, delivery.builder, delivery.start, delivery.attempt + 1)
            elif delivery.start is not None and delivery.start == delivery.event.get("id", delivery.start):
                self.given_up.add(delivery.start)
        return result is not None

    def _payload(self, event: Mapping[str, Any]) -> Any:
        """Return what Lambda hands over: the event or, at random, an array from a custom event bus."""
        if "Records" in event or self._random.random() >= _ARRAYS:
            return event
        system = {"aws:EventId": event["id"], "aws:DeliveryType": "REPLAY" if "replay-name" in event else "LIVE"}
        own = {name: value for name, value in event.items() if name != "replay-name"}
        member = {"Data": own, "Metadata": {}, "SystemMetadata": system}
        return [member] * self._random.choice((1, 2))
