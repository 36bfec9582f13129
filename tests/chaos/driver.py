"""Delivers events as EventBridge, SQS and Lambda may do at worst: twice, late, out of order and interrupted."""

import json
import math
import random
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from orchestrator.ledger.waiting_line import AWAITED
from orchestrator.local.codebuild import TOKEN_LIFETIME_SECONDS
from tests.chaos.aws_server import IDEMPOTENCY_TABLE, TIERS
from tests.chaos.builds import Builds
from tests.chaos.child import ROOT, Child
from tests.chaos.history import Handled
from tests.chaos.lives import BUILDERS, Start, start_of, starts
from tests.chaos.plan import Plan
from tests.chaos.schedule import SWEEP, Delivery, Schedule
from tests.chaos.sqs import Message
from tests.chaos.verdict import Row
from tests.chaos.world import World

MAX_ATTEMPTS = 15
MUCH_LATER = 3600.0
LAST_SWEEPS = 20
TICK_SECONDS = 0.05
REPORT_SECONDS = 60
# This share of the deliveries is killed at a random moment within this share of an invocation's time limit, unless it
# ends before.
DOOMED = 0.05
DOOM = 0.03
# This share is paused at a random moment within the same time, for up to this share of an invocation's time limit.
PAUSED = 0.05
LONGEST_PAUSE = 0.8
# Published events are delivered within a second, this share of them twice; and this share of the queue's messages.
_TWICE, _RECEIVED_TWICE = 0.15, 0.04
# This share of the deliveries comes as an array of a custom event bus, half of these with the event twice.
_ARRAYS = 0.2
_SWEEP = json.loads((ROOT / "events" / "scheduled-sweep.json").read_text(encoding="utf-8"))


class Driver:
    """Hands scheduled deliveries to a pool of children and schedules failed ones again.

    Attributes:
        starts: The start events.
        builds: Ends their runs.
        rows: The numbers of each builder, and of the sweeps.
        errors: How many deliveries failed, by error.
        pauses: How many deliveries were stopped for a while.
    """

    def __init__(self, plan: Plan, world: World) -> None:
        self._plan = plan
        self._world = world
        self._random = random.Random(plan.seed)  # noqa: S311 (chance, no secret)
        self._schedule = Schedule()
        self._lock = threading.Lock()
        self._began = self._swept = self._reported = time.monotonic()
        self.starts = starts(plan.events, list(TIERS), plan.pace, plan.scale, time.time(), self._random)
        self.builds = Builds(world, self._deliver_soon, plan.scale, plan.seed)
        self.rows = {name: Row() for name in (*BUILDERS, SWEEP)}
        self.errors: Counter[str] = Counter()
        self.pauses = 0
        self._given_up: set[str] = set()
        self._asleep: set[str] = set()
        self._by_id = {start.id: start for start in self.starts}
        for start in self.starts:
            world.control_plane.expect(start.tenant, start.id)
        world.on_published = self._feed_back
        world.aws.waiting.on_visible = self._deliver_message
        world.on_late = self._deliver_at_end

    def run(self) -> None:
        """Deliver everything; what comes after the last delivery runs without faults."""
        with ThreadPoolExecutor(self._plan.workers) as pool:
            workers = [pool.submit(self._work) for _ in range(self._plan.workers)]
            try:
                self._say("all events, and duplicates")
                self._first_deliveries()
                self._settle(workers)
                self._say("sweeps")
                self._sweep_until_quiet(workers)
                self._asleep = self.asleep()
                self._world.advance(MUCH_LATER)
                self._say("all events once more, much later")
                self._late_deliveries()
                self._settle(workers)
                self._world.faults.calm()
                self._say("sweeps, without faults")
                self._sweep_until_quiet(workers)
                self._asleep = self.asleep()
                self._say("what is left in the queue")
                self._empty_queue(workers)
                self._say("the verdict")
            finally:
                self._schedule.close()
        for worker in workers:
            worker.result()

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.0f} s: {text}", file=sys.stderr)

    def _report(self) -> None:
        deliveries = sum(row.deliveries for row in self.rows.values())
        waiting = len(self._world.aws.waiting.messages())
        self._say(f"  {deliveries:,} deliveries, {self._schedule.awaited:,} ahead, {waiting:,} messages in the queue")

    def _first_deliveries(self) -> None:
        """Schedule every start, and duplicates at about the same moment and later."""
        begin = time.monotonic()
        for start in self.starts:
            self._add(start, begin + start.after)
        # Every start is delivered now and at the end; the remaining deliveries are duplicates of random starts.
        duplicates = max(0, (self._plan.deliveries or 3 * len(self.starts)) - 2 * len(self.starts))
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
            self._schedule.add(begin + index / (8 * self._plan.pace), event, start.builder, start.id)

    def _sweep_until_quiet(self, workers: list[Future[None]]) -> None:
        """Sweep when every lock has expired, and again until no run is followed and no event waits."""
        delay = 1.5 * self._plan.lock
        for _ in range(LAST_SWEEPS):
            self._sweep(delay, is_regular=False)
            self._settle(workers)
            if not self.followed() and not self.asleep():
                return
            delay = 0.5 * self._plan.lock

    def _empty_queue(self, workers: list[Future[None]]) -> None:
        """Let each message come back by itself, until all are handled."""
        for _ in range(LAST_SWEEPS):
            if not self._world.aws.waiting.messages():
                return
            self._world.aws.waiting.show_all()
            self._settle(workers)
            self._sweep_until_quiet(workers)

    def given_up(self) -> set[str]:
        """Return the ids of the starts with an event whose last attempt failed, or that is in the failure queue."""
        failed = (json.loads(body) for body in self._world.aws.failed)
        return self._given_up | {self._start_of(event) for event in failed}

    def asleep(self) -> set[str]:
        """Return the ids of the starts with an event that somebody should have woken, but nobody has.

        Its message is registered for being woken, and its gate is marked, so that the sweep finds it. (A sender that is
        killed before it has done both leaves a message that comes back only by itself.) Those that were asleep before
        everything was delivered once more count, too; a copy of an event that was handled does not.
        """
        done = {(run.start, run.event_type) for run in self.builds.runs}
        superseded = {one.start for one in self._world.history.handled if one.is_superseded()}
        items = self._world.aws.dynamodb.tables[IDEMPOTENCY_TABLE]
        registered = {
            item["receipt"]["S"]
            for item in [*items.values()]
            if "receipt" in item and items.get(item["waitingFor"]["S"], {}).get("openJob") == {"S": AWAITED}
        }
        waiting = [one for one in self._world.aws.waiting.messages() if one.handle in registered]
        events = [json.loads(message.body) for message in waiting]
        missing = {
            self._start_of(event) for event in events if (self._start_of(event), event["detail-type"]) not in done
        }
        return self._asleep | (missing - superseded)

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
        start = self._start_of(event)
        with self._lock:
            delays = [self._random.uniform(0, self._plan.scale) for _ in range(1 + (self._random.random() < _TWICE))]
        for delay in delays:
            self._deliver_soon(event, delay, self._by_id[start].builder, start)

    def _start_of(self, event: Mapping[str, Any]) -> str:
        return str(event["id"]) if event["id"] in self._by_id else start_of(event["detail"])

    def _deliver_message(self, message: Message, due: float) -> None:
        event = json.loads(message.body)
        start = self._start_of(event)
        planned = (event, self._by_id[start].builder, start)
        with self._lock:
            is_doubled = message.receives > 0 and self._random.random() < _RECEIVED_TWICE
            due = message.visible_at  # two threads may change it, and come here in the opposite order
            self._schedule.forget(message.id)
            self._schedule.add(due, *planned, message=message.id, sleeps=due > time.monotonic())
        if is_doubled:
            self._schedule.add(time.monotonic(), *planned, message=message.id, hidden=True)

    def _deliver_at_end(self, start: str, end: float) -> None:
        """Deliver again shortly before the lock ends, when its holder's request may not have taken effect yet."""
        for share in (0.8, self._plan.apart):
            with self._lock:
                early = self._random.uniform(0, share) * self._plan.lock
            self._add(self._by_id[start], end - early)

    def _sweep(self, delay: float = 0.0, *, is_regular: bool = True) -> None:
        happened = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {**_SWEEP, "id": str(uuid.uuid4()), "time": happened}
        self._swept = time.monotonic()
        self._schedule.add(self._swept + delay, event, SWEEP, None, is_regular=is_regular)

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
            if now - self._reported > REPORT_SECONDS:
                self._reported = now
                self._report()
            for worker in workers:
                if worker.done():
                    worker.result()

    def _work(self) -> None:
        child: Child | None = None
        while (delivery := self._schedule.take()) is not None:
            try:
                payload = self._payload(delivery)
                if payload is not None:
                    child = child or self._spawn()
                    if not self._deliver(child, delivery, payload):
                        child = None
            finally:
                self._schedule.done(delivery)
        if child is not None:
            child.close()

    def _spawn(self) -> Child:
        # Two clocks differ by the maximum or not at all.
        with self._lock:
            ahead = self._random.choice((-0.5, 0.5)) * self._plan.apart * self._plan.lock
        return self._world.spawn(self._plan.lock, ahead)

    def _deliver(self, child: Child, delivery: Delivery, payload: Any) -> bool:
        """Make one delivery, see to it that it is repeated if it failed, and return whether the child is alive."""
        with self._lock:
            doom = self._random.uniform(0, self._plan.lock * DOOM) if self._random.random() < DOOMED else math.inf
            pause = self._random.uniform(0, self._plan.lock * DOOM) if self._random.random() < PAUSED else math.inf
            paused_for = self._plan.lock * self._random.uniform(0, LONGEST_PAUSE)
            if delivery.start == delivery.event.get("id"):
                self._world.history.delivered.setdefault(delivery.event["id"], time.monotonic())
        child.busy_with = delivery.builder
        result = child.deliver(payload, doom=doom, pause=(pause, paused_for))
        with self._lock:
            row = self.rows[delivery.builder]
            row.deliveries += 1
            row.kills += result is None
            self.pauses += pause < doom and pause < math.inf
            if result is not None and not result["ok"]:
                self.errors[result["error"]] += 1
        if result is not None and result["ok"]:
            self._note_handled(delivery, child.began, result["answer"])
            message = delivery.message
            if message is not None and self._world.aws.waiting.delete(payload["Records"][0]["receiptHandle"]):
                self._schedule.forget(message)
        elif delivery.message is None and not delivery.is_regular:
            self._repeat(delivery)
        return result is not None

    def _note_handled(self, delivery: Delivery, began: float, answer: Mapping[str, Any]) -> None:
        consumers = (consumer for one in answer.get("events", [answer]) for consumer in one["consumers"])
        outcomes = tuple(outcome for consumer in consumers for outcome in consumer["outcomes"])
        self._world.history.handled.append(
            Handled(start=delivery.start, began=began, ended=time.monotonic(), outcomes=outcomes)
        )

    def _repeat(self, delivery: Delivery) -> None:
        """Deliver a failed event again, as Lambda does; a message comes back by itself."""
        with self._lock:
            due = time.monotonic() + self._plan.lock * self._random.uniform(1.05, 1.6)
            if delivery.attempt < MAX_ATTEMPTS:
                following = delivery.attempt + 1
                self._schedule.add(due, delivery.event, delivery.builder, delivery.start, attempt=following)
            elif delivery.start is not None:
                self._given_up.add(delivery.start)

    def _payload(self, delivery: Delivery) -> Any:
        """Return what Lambda hands over: the event, at random in an array from a custom event bus, or a message.

        `None` if the message cannot be received.
        """
        event = delivery.event
        if delivery.message is not None:
            record = self._world.aws.waiting.receive(delivery.message, hidden=delivery.hidden)
            return None if record is None else {"Records": [record]}
        with self._lock:
            is_array, copies = self._random.random() < _ARRAYS, self._random.choice((1, 2))
        if not is_array:
            return event
        system = {"aws:EventId": event["id"], "aws:DeliveryType": "REPLAY" if "replay-name" in event else "LIVE"}
        own = {name: value for name, value in event.items() if name != "replay-name"}
        return [{"Data": own, "Metadata": {}, "SystemMetadata": system}] * copies
