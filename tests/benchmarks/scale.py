"""Simulates a burst of provisioning events in direct and buffered mode, with the quotas of Lambda and CodeBuild.

    python -m tests.benchmarks.scale [--tenants 50000] [--json FILE] [--plot FILE]

It sends no events and does not wait. `Quotas` holds AWS's documented limits, `Assumptions` measured and assumed values.
The package itself computes when an event that waits comes back, and when it goes to the failure queue.
"""

import argparse
import heapq
import itertools
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from orchestrator.intake.redelivery import MAX_AGE_SECONDS, wait_seconds
from orchestrator.local.terminal import ProgressBar
from tests.support.lambda_runtime import ROOT


@dataclass(frozen=True)
class Quotas:
    """Limits that AWS documents, and values of template.yaml.

    Attributes:
        running_builds: Concurrent CodeBuild builds; the default is 20 for some environments, 1 in some new accounts
            (https://docs.aws.amazon.com/codebuild/latest/userguide/limits.html).
        queued_builds: Queued builds, as a multiple of the running ones; beyond that, StartBuild is refused
            (https://docs.aws.amazon.com/codebuild/latest/userguide/builds-working.html).
        concurrency: Concurrent invocations by default; new accounts may have 10
            (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
        longest_throttle: Longest pause after a throttled invocation, in seconds; the first is 1 s, and each next one
            twice as long (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html). For
            batches from a queue, Lambda's documentation has no numbers; the simulation uses the same ones.
        event_age: Seconds for which Lambda keeps an event that is throttled, from template.yaml.
        first_pollers: Concurrent batches from a queue at first
            (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html).
        more_pollers: Additional concurrent batches per second (300 a minute).
        batch: Messages per batch, from template.yaml.
        visibility: Seconds for which Lambda keeps a batch that is throttled, which are the queue's visibility timeout,
            from template.yaml (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html).
    """

    running_builds: int = 20
    queued_builds: int = 5
    concurrency: int = 1000
    longest_throttle: float = 300.0
    event_age: float = 6 * 3600.0
    first_pollers: int = 5
    more_pollers: float = 5.0
    batch: int = 10
    visibility: float = 360.0


@dataclass(frozen=True)
class Assumptions:
    """Properties of the burst.

    Attributes:
        tenants: Number of events, at most 120,000: SQS has no more messages in flight per queue
            (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html).
        per_second: Events that the control plane publishes per second. About 500 jobs per second is the limit: all
            entries of the index `open-jobs` share one partition, which takes 1,000 writes per second, and a start
            needs two
            (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html).
        build_seconds: Duration of a build, plus or minus a fifth.
        invocation_seconds: Duration of one event at 512 MB: four AWS calls, and 10 ms of CPU at 0.29 vCPU.
        batch_seconds: Duration of ten events in parallel at 512 MB.
    """

    tenants: int = 50_000
    per_second: float = 500.0
    build_seconds: float = 300.0
    invocation_seconds: float = 0.4
    batch_seconds: float = 0.8


# US East (N. Virginia), dollars: list prices per million, per GB-second (arm64) and per GB.
_REQUEST, _GB_SECOND, _SQS_REQUEST, _WRITE, _LOG_GB = 0.20e-6, 13.3334e-6, 0.40e-6, 0.625e-6, 0.50
_MEMORY_GB = 0.5
# Write units: the tenant record (3 KB), a transaction of two small items, the settlement, and two indexes twice each.
_WRITES_A_TRY = 12
# Write units: the attribute `waitingFor` of the tenant record.
_WRITES_A_NOTE = 3
_LOG_GB_A_TRY = 3e-6


@dataclass
class Outcome:
    """The result of the burst; all times are in seconds from its beginning.

    Attributes:
        started: When each job was started.
        waits: Seconds from each event to its job's start.
        first_tries: When each event was tried for the first time.
        failed: When each event reached the failure queue.
        ended: When the last build ended.
        tries: Number of tries of all events.
        notes: Number of updates of tenant records because their events wait, or no longer wait.
        sent: Number of events that the function sent to the waiting queue.
        throttled: Number of throttled invocations.
        invocations: Number of invocations that ran.
        busy: Their total duration.
        queue_requests: Number of requests to SQS.
    """

    started: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    first_tries: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    ended: float = 0.0
    tries: int = 0
    notes: int = 0
    sent: int = 0
    throttled: int = 0
    invocations: int = 0
    busy: float = 0.0
    queue_requests: int = 0

    @property
    def dollars(self) -> float:
        """The cost of Lambda, SQS, DynamoDB and logs, without the builds, which cost by far the most."""
        function = self.invocations * _REQUEST + self.busy * _MEMORY_GB * _GB_SECOND
        tables = (self.tries * _WRITES_A_TRY + self.notes * _WRITES_A_NOTE) * _WRITE
        logs = self.tries * _LOG_GB_A_TRY * _LOG_GB
        return function + self.queue_requests * _SQS_REQUEST + tables + logs


class CodeBuild:
    """Runs builds up to the quota, queues some, and refuses the rest."""

    def __init__(self, quotas: Quotas, seconds: float) -> None:
        self._quotas = quotas
        self._seconds = seconds
        self._ends: list[float] = []
        self._waiting = 0
        self.last_end = 0.0

    def start(self, now: float) -> bool:
        """Start or queue a build; return whether it was accepted."""
        while self._ends and self._ends[0] <= now:
            self._end_one()
        if len(self._ends) < self._quotas.running_builds:
            self._run(now)
        elif self._waiting < self._quotas.queued_builds * self._quotas.running_builds:
            self._waiting += 1
        else:
            return False
        return True

    def finish(self) -> float:
        """Let all builds end, and return the time of the last end."""
        while self._ends:
            self._end_one()
        return self.last_end

    def _run(self, now: float) -> None:
        heapq.heappush(self._ends, now + self._seconds * random.uniform(0.8, 1.2))

    def _end_one(self) -> None:
        self.last_end = heapq.heappop(self._ends)
        if self._waiting:
            self._waiting -= 1
            self._run(self.last_end)


class Lambda:
    """Runs invocations up to the account's concurrency, and throttles the rest."""

    def __init__(self, quotas: Quotas, outcome: Outcome) -> None:
        self._quotas = quotas
        self._outcome = outcome
        self._ends: list[float] = []

    def invoke(self, now: float, seconds: float) -> bool:
        """Run an invocation; return whether there was concurrency left for it."""
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        if len(self._ends) >= self._quotas.concurrency:
            self._outcome.throttled += 1
            return False
        heapq.heappush(self._ends, now + seconds)
        self._outcome.invocations += 1
        self._outcome.busy += seconds
        return True

    def pause(self, throttles: int) -> float:
        """Return the seconds until a throttled invocation is tried again."""
        return min(2.0**throttles, self._quotas.longest_throttle) * random.uniform(0.75, 1)


@dataclass(frozen=True)
class Queue:
    """The configuration of the waiting queue.

    Attributes:
        maximum_concurrency: Batches handled at the same time.
        tries: Number of times that a message is received, after which it goes to the failure queue.
        wait: Seconds that a message stays hidden, by the number of times it was received.
        longest: Age in seconds at which a message goes to the failure queue.
    """

    maximum_concurrency: int
    tries: int
    wait: Callable[[int], float]
    longest: float


class Message(NamedTuple):
    """A message of the waiting queue.

    Attributes:
        number: Number of the event.
        came: When the control plane published the event.
        sent: When the message was sent.
        received: How often it was received.
    """

    number: int
    came: float
    sent: float
    received: int = 0


class WaitingQueue:
    """Holds messages, and hands them out in batches to pollers, as many at a time as the configuration allows."""

    def __init__(self, quotas: Quotas, configuration: Queue) -> None:
        self._batch = quotas.batch
        # When each message becomes visible again, and the message's number.
        self._hidden: list[tuple[float, int, Message]] = []
        self._ready: list[Message] = []
        self._free_pollers = [
            max(0.0, (number - quotas.first_pollers) / quotas.more_pollers)
            for number in range(configuration.maximum_concurrency)
        ]
        heapq.heapify(self._free_pollers)
        self._now = 0.0

    def hide(self, message: Message, until: float) -> None:
        """Keep a message, and hand it out after a point in time."""
        heapq.heappush(self._hidden, (until, message.number, message))

    def next_batch(self) -> float:
        """Return when a poller receives the next batch."""
        if not self._free_pollers or not (self._ready or self._hidden):
            return math.inf
        visible = self._now if self._ready else self._hidden[0][0]
        return max(self._free_pollers[0], visible)

    def receive(self) -> list[Message]:
        """Let a poller receive the next batch. It is busy until `release` is called."""
        self._now = self.next_batch()
        heapq.heappop(self._free_pollers)
        while self._hidden and self._hidden[0][0] <= self._now:
            self._ready.append(heapq.heappop(self._hidden)[2])
        return [message._replace(received=message.received + 1) for message in _drawn(self._ready, self._batch)]

    def release(self, at: float) -> None:
        """Let a poller receive batches again."""
        heapq.heappush(self._free_pollers, at)


class Simulation:
    """Simulates a burst of events, which are tried by direct invocations and by batches from the waiting queue."""

    def __init__(self, quotas: Quotas, burst: Assumptions, configuration: Queue) -> None:
        self.outcome = Outcome()
        self._quotas = quotas
        self._burst = burst
        self._configuration = configuration
        self._lambda = Lambda(quotas, self.outcome)
        self._codebuild = CodeBuild(quotas, burst.build_seconds)
        self._queue = WaitingQueue(quotas, configuration)
        # When Lambda invokes the function, the event's number, when it was published, and how often it was throttled.
        self._direct: list[tuple[float, int, float, int]] = []
        # When Lambda invokes the function, the first message's number, the batch, when it was received, and throttles.
        self._throttled: list[tuple[float, int, list[Message], float, int]] = []
        self._tried = bytearray(burst.tenants)

    def publish_directly(self) -> None:
        """Publish all events to a rule that invokes the function."""
        self._direct = [(came, number, came, 0) for number, came in self._published()]

    def publish_to_queue(self) -> None:
        """Publish all events to a rule that sends them to the waiting queue."""
        for number, came in self._published():
            self.outcome.queue_requests += 1
            self._queue.hide(Message(number, came, sent=came), until=came)

    def run(self) -> Outcome:
        """Let all events start a build or fail, and all builds end."""
        while True:
            direct = self._direct[0][0] if self._direct else math.inf
            throttled = self._throttled[0][0] if self._throttled else math.inf
            fresh = self._queue.next_batch()
            now = min(direct, throttled, fresh)
            if now == math.inf:
                break
            if now == direct:
                self._invoke_directly(*heapq.heappop(self._direct))
            elif now == throttled:
                _, _, batch, received, throttles = heapq.heappop(self._throttled)
                self._invoke_with_batch(now, batch, received, throttles)
            else:
                self.outcome.queue_requests += 1
                self._invoke_with_batch(now, self._queue.receive(), now, 0)
        self.outcome.ended = self._codebuild.finish()
        return self.outcome

    def _published(self) -> Iterator[tuple[int, float]]:
        return ((number, number / self._burst.per_second) for number in range(self._burst.tenants))

    def _invoke_directly(self, now: float, number: int, came: float, throttles: int) -> None:
        end = now + self._burst.invocation_seconds
        if now - came > self._quotas.event_age:
            self._fail(now)
        elif not self._lambda.invoke(now, self._burst.invocation_seconds):
            heapq.heappush(self._direct, (now + self._lambda.pause(throttles), number, came, throttles + 1))
        elif not self._starts(number, came, end, has_waited=False):
            # The function sends the event to the waiting queue, and the invocation succeeds.
            self.outcome.sent += 1
            self.outcome.queue_requests += 1
            self._queue.hide(Message(number, came, sent=end), until=end + self._configuration.wait(1))

    def _invoke_with_batch(self, now: float, batch: list[Message], received: float, throttles: int) -> None:
        # A partial batch takes a share of the time, but at least as long as one event.
        share = self._burst.batch_seconds * len(batch) / self._quotas.batch
        seconds = max(self._burst.invocation_seconds, share)
        if self._lambda.invoke(now, seconds):
            self._queue.release(now + seconds)
            self._try_batch(batch, now + seconds)
        elif (again := now + self._lambda.pause(throttles)) < received + self._quotas.visibility:
            heapq.heappush(self._throttled, (again, batch[0].number, batch, received, throttles + 1))
        else:
            self._queue.release(again)
            for message in batch:
                self._queue.hide(message, until=received + self._quotas.visibility)

    def _try_batch(self, batch: list[Message], end: float) -> None:
        waiting = 0
        for message in batch:
            has_waited = message.received > 1 or message.sent > message.came
            if self._starts(message.number, message.came, end, has_waited=has_waited):
                continue
            if message.received >= self._configuration.tries or end - message.sent > self._configuration.longest:
                self._fail(end)
            else:
                waiting += 1
                self._queue.hide(message, until=end + self._configuration.wait(message.received))
        # One request deletes the messages that need no further try, and one delays the others.
        self.outcome.queue_requests += (waiting < len(batch)) + (waiting > 0)

    def _starts(self, number: int, came: float, now: float, *, has_waited: bool) -> bool:
        self.outcome.tries += 1
        is_started = self._codebuild.start(now)
        if has_waited or not is_started:
            self.outcome.notes += 1
        if not self._tried[number]:
            self._tried[number] = True
            self.outcome.first_tries.append(now)
        if is_started:
            self.outcome.started.append(now)
            self.outcome.waits.append(now - came)
        return is_started

    def _fail(self, now: float) -> None:
        self.outcome.failed.append(now)
        self.outcome.queue_requests += 1


def direct(quotas: Quotas, burst: Assumptions, configuration: Queue) -> Outcome:
    """Simulate direct mode: the rule invokes the function, which sends the events that CodeBuild refuses to a queue."""
    simulation = Simulation(quotas, burst, configuration)
    simulation.publish_directly()
    return simulation.run()


def buffered(quotas: Quotas, burst: Assumptions, configuration: Queue) -> Outcome:
    """Simulate buffered mode: the rule sends all events to the queue, from which the function takes batches."""
    simulation = Simulation(quotas, burst, configuration)
    simulation.publish_to_queue()
    return simulation.run()


def _drawn(ready: list[Message], most: int) -> list[Message]:
    """Take random messages, because a standard queue does not keep their order."""
    drawn = []
    for _ in range(min(most, len(ready))):
        place = random.randrange(len(ready))
        ready[place], ready[-1] = ready[-1], ready[place]
        drawn.append(ready.pop())
    return drawn


def steady(load: float, builds: int, burst: Assumptions) -> Assumptions:
    """Spread events over a day; their builds use the share `load` of CodeBuild's quota."""
    per_second = load * builds / burst.build_seconds
    return replace(burst, tenants=round(per_second * 86400), per_second=per_second)


def largest_burst_without_waiting(quotas: Quotas, burst: Assumptions) -> int:
    """Count the events at once of which CodeBuild accepts every one at its first try in direct mode."""
    codebuild = CodeBuild(quotas, burst.build_seconds)
    tries = (number / burst.per_second + burst.invocation_seconds for number in range(burst.tenants))
    return sum(1 for _ in itertools.takewhile(codebuild.start, tries))


def template_tries() -> int:
    """Read the maxReceiveCount of the waiting queue in template.yaml."""
    found = re.search(r"maxReceiveCount: (\d+)", (ROOT / "template.yaml").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1])


def ours(maximum_concurrency: int) -> Queue:
    """Return the waiting queue of template.yaml, with the function's own redelivery."""
    return Queue(
        maximum_concurrency=maximum_concurrency,
        tries=template_tries(),
        wait=wait_seconds,
        longest=MAX_AGE_SECONDS,
    )


def five_tries(maximum_concurrency: int) -> Queue:
    """Return a queue with only a redrive policy, for comparison: five tries, six minutes apart."""
    return Queue(maximum_concurrency=maximum_concurrency, tries=5, wait=lambda tries: 360.0, longest=14 * 86400.0)


_RUNNING_BUILDS = (20, 200, 1000)
_LOADS = (0.5, 0.9, 1.1)


def _direct_by_10(quotas: Quotas, burst: Assumptions) -> Outcome:
    return direct(quotas, burst, ours(10))


def _buffered_by_10(quotas: Quotas, burst: Assumptions) -> Outcome:
    return buffered(quotas, burst, ours(10))


def scenarios() -> dict[tuple[int, str], Callable[[Quotas, Assumptions], Outcome]]:
    """Return the simulations by the quota of running builds and the mode."""
    modes: dict[str, Callable[[Quotas, Assumptions], Outcome]] = {
        "direct": _direct_by_10,
        "direct, 10 invocations at once": lambda quotas, burst: _direct_by_10(replace(quotas, concurrency=10), burst),
        "buffered, 5 tries and no more": lambda quotas, burst: buffered(quotas, burst, five_tries(10)),
        "buffered, concurrency 2": lambda quotas, burst: buffered(quotas, burst, ours(2)),
        "buffered, concurrency 10": _buffered_by_10,
    }
    return {(builds, mode): simulate for builds in _RUNNING_BUILDS for mode, simulate in modes.items()}


def duration(seconds: float) -> str:
    """Format a duration with a suitable unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, print tables, and write JSON with `--json` and a plot with `--plot`."""
    parser = argparse.ArgumentParser(description="Simulate a burst of events.")
    parser.add_argument("--tenants", type=int, default=Assumptions.tenants)
    parser.add_argument("--build-seconds", type=float, default=Assumptions.build_seconds)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="needs matplotlib")
    options = parser.parse_args(arguments)
    burst = Assumptions(tenants=options.tenants, build_seconds=options.build_seconds)
    print(f"{burst.tenants:,} events at once, builds of {duration(burst.build_seconds)}")
    print(
        f"{'builds at once':<16}{'mode':<32}{'started':>9}{'failed':>9}{'all tried':>13}{'last start':>12}"
        f"{'tries/event':>13}{'throttled':>11}{'$/1,000':>9}"
    )
    outcomes: dict[tuple[int, str], Outcome] = {}
    bursts_ahead = scenarios()
    bar = ProgressBar("bursts", len(bursts_ahead))
    for (builds, mode), simulate in bursts_ahead.items():
        random.seed(1)
        with bar.step():
            outcome = outcomes[builds, mode] = simulate(Quotas(running_builds=builds), burst)
        print(
            f"{builds:<16,}{mode:<32}{len(outcome.started):>9,}{len(outcome.failed):>9,}"
            f"{duration(max(outcome.first_tries)):>13}{duration(max(outcome.started)):>12}"
            f"{outcome.tries / burst.tenants:>13.1f}{outcome.throttled:>11,}"
            f"{outcome.dollars / burst.tenants * 1000:>9.3f}"
        )
    bursts = {builds: largest_burst_without_waiting(Quotas(running_builds=builds), burst) for builds in _RUNNING_BUILDS}
    print(f"\n{'builds at once':<16}{'events an hour, for ever':>26}{'at once, none waits':>21}{'in 13 days':>13}")
    for builds, largest in bursts.items():
        per_second = builds / burst.build_seconds
        print(f"{builds:<16,}{per_second * 3600:>26,.0f}{largest:>21,}{per_second * MAX_AGE_SECONDS:>13,.0f}")
    print(f"\n{'a steady day':<16}{'mode':<32}{'events':>9}{'failed':>9}{'median wait':>13}{'longest wait':>14}")
    modes = (("direct", _direct_by_10), ("buffered, concurrency 10", _buffered_by_10))
    bar = ProgressBar("days", len(_LOADS) * len(modes))
    for load in _LOADS:
        for mode, simulate in modes:
            random.seed(1)
            day = steady(load, _RUNNING_BUILDS[0], burst)
            with bar.step():
                outcome = simulate(Quotas(running_builds=_RUNNING_BUILDS[0]), day)
            waits = sorted(outcome.waits)
            print(
                f"{f'{load:.0%} of {_RUNNING_BUILDS[0]}':<16}{mode:<32}{day.tenants:>9,}{len(outcome.failed):>9,}"
                f"{duration(waits[len(waits) // 2]):>13}{duration(waits[-1]):>14}"
            )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                "runningBuilds": builds,
                "mode": mode,
                "started": len(outcome.started),
                "failed": len(outcome.failed),
                "sent": outcome.sent,
                "firstTriesSeconds": max(outcome.first_tries),
                "lastStartSeconds": max(outcome.started),
                "lastEndSeconds": outcome.ended,
                "tries": outcome.tries,
                "throttled": outcome.throttled,
                "dollars": outcome.dollars,
            }
            for (builds, mode), outcome in outcomes.items()
        ]
        options.json.write_text(json.dumps({"bursts": rows, "largestBurstWithoutWaiting": bursts}, indent=2))
    if options.plot:
        from tests.benchmarks.scale_plot import plot

        plot(outcomes, burst.tenants, burst.build_seconds, options.plot)


if __name__ == "__main__":
    main()
