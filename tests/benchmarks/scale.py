"""Simulates a burst of provisioning events in direct and buffered mode, with the quotas of Lambda and CodeBuild.

    python -m tests.benchmarks.scale [--tenants 50000] [--json FILE] [--plot FILE]

It sends no events and does not wait. `Quotas` holds AWS's documented limits, `Assumptions` measured and assumed values.
The package itself computes when a failed message comes back, and when it goes to the failure queue.
"""

import argparse
import heapq
import json
import random
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.intake.redelivery import MAX_AGE_SECONDS, wait_seconds
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
        retries: Pauses in seconds before the retries of a failed asynchronous invocation.
        longest_throttle: Longest pause after a throttled invocation, in seconds; the first is 1 s, and each next one
            twice as long (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html).
        event_age: Seconds for which Lambda keeps an event, from template.yaml.
        first_pollers: Concurrent batches from a queue at first
            (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html).
        more_pollers: Additional concurrent batches per second (300 a minute).
        batch: Messages per batch, from template.yaml.
    """

    running_builds: int = 20
    queued_builds: int = 5
    concurrency: int = 1000
    retries: tuple[float, ...] = (60.0, 120.0)
    longest_throttle: float = 300.0
    event_age: float = 6 * 3600.0
    first_pollers: int = 5
    more_pollers: float = 5.0
    batch: int = 10


@dataclass(frozen=True)
class Assumptions:
    """Properties of the burst.

    Attributes:
        tenants: Number of events.
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
# Write units: the tenant record (3 KB), the lock when it is taken and settled, and the open-jobs index twice.
_WRITES_A_TRY = 7
_LOG_GB_A_TRY = 3e-6


@dataclass
class Outcome:
    """The result of the burst; all times are in seconds from its beginning.

    Attributes:
        started: When each job was started.
        waits: Seconds from each event to its job's start.
        first_tries: When the last event was tried for the first time.
        failed: When each event reached the failure queue.
        ended: When the last build ended.
        tries: Number of tries of all events.
        throttled: Number of throttled invocations.
        invocations: Number of invocations that ran.
        busy: Their total duration.
        queue_requests: Number of requests to SQS.
    """

    started: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    first_tries: float = 0.0
    failed: list[float] = field(default_factory=list)
    ended: float = 0.0
    tries: int = 0
    throttled: int = 0
    invocations: int = 0
    busy: float = 0.0
    queue_requests: int = 0

    @property
    def dollars(self) -> float:
        """The cost of Lambda, SQS, DynamoDB and logs, without the builds, which cost by far the most."""
        function = self.invocations * _REQUEST + self.busy * _MEMORY_GB * _GB_SECOND
        tables = self.tries * (_WRITES_A_TRY * _WRITE + _LOG_GB_A_TRY * _LOG_GB)
        return function + self.queue_requests * _SQS_REQUEST + tables


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


def direct(quotas: Quotas, burst: Assumptions) -> Outcome:
    """Simulate direct mode: the rule invokes the function for each event."""
    outcome, codebuild = Outcome(), CodeBuild(quotas, burst.build_seconds)
    # Time of the next try, event number, time of the event, failures, and consecutive throttles.
    due = [(number / burst.per_second, number, number / burst.per_second, 0, 0) for number in range(burst.tenants)]
    at_work: deque[float] = deque()
    while due:
        now, number, came, failures, throttles = heapq.heappop(due)
        while at_work and at_work[0] <= now:
            at_work.popleft()
        if now - came > quotas.event_age:
            outcome.failed.append(now)
        elif len(at_work) >= quotas.concurrency:
            outcome.throttled += 1
            pause = min(2.0**throttles, quotas.longest_throttle) * random.uniform(0.75, 1)
            heapq.heappush(due, (now + pause, number, came, failures, throttles + 1))
        else:
            end = now + burst.invocation_seconds
            at_work.append(end)
            outcome.invocations += 1
            outcome.tries += 1
            outcome.busy += burst.invocation_seconds
            outcome.first_tries = outcome.first_tries if failures else end
            if codebuild.start(end):
                outcome.started.append(end)
                outcome.waits.append(end - came)
            elif failures < len(quotas.retries):
                heapq.heappush(due, (end + quotas.retries[failures], number, came, failures + 1, 0))
            else:
                outcome.failed.append(end)
                outcome.queue_requests += 1
    outcome.ended = codebuild.finish()
    return outcome


@dataclass(frozen=True)
class Queue:
    """The configuration of a buffer.

    Attributes:
        maximum_concurrency: Batches handled at the same time.
        tries: Number of tries after which a message goes to the failure queue.
        wait: Seconds that a message stays hidden, by the number of its tries.
        longest: Age in seconds at which a message goes to the failure queue.
    """

    maximum_concurrency: int
    tries: int
    wait: Callable[[int], float]
    longest: float


def buffered(quotas: Quotas, burst: Assumptions, queue: Queue) -> Outcome:
    """Simulate buffered mode: events go through a queue, from which the function takes batches."""
    outcome, codebuild = Outcome(), CodeBuild(quotas, burst.build_seconds)
    # Time at which the message is visible, message number, time of the event, and tries.
    visible = [(number / burst.per_second, number, number / burst.per_second, 0) for number in range(burst.tenants)]
    outcome.queue_requests = burst.tenants
    pollers = [
        max(0.0, (number - quotas.first_pollers) / quotas.more_pollers) for number in range(queue.maximum_concurrency)
    ]
    heapq.heapify(pollers)
    ready: list[Any] = []
    while visible or ready:
        begin = heapq.heappop(pollers)
        begin = begin if ready else max(begin, visible[0][0])
        while visible and visible[0][0] <= begin:
            ready.append(heapq.heappop(visible))
        batch = _drawn(ready, quotas.batch)
        # A partial batch takes a share of the time, but at least as long as one event.
        seconds = max(burst.invocation_seconds, burst.batch_seconds * len(batch) / quotas.batch)
        end = begin + seconds
        heapq.heappush(pollers, end)
        outcome.invocations += 1
        outcome.tries += len(batch)
        outcome.busy += seconds
        taken = 0
        for _, number, came, tries in batch:
            outcome.first_tries = outcome.first_tries if tries else end
            if codebuild.start(end):
                outcome.started.append(end)
                outcome.waits.append(end - came)
                taken += 1
            elif tries + 1 >= queue.tries or end - came > queue.longest:
                outcome.failed.append(end)
            else:
                heapq.heappush(visible, (end + queue.wait(tries + 1), number, came, tries + 1))
        # One request receives, one deletes the handled messages, and one delays the failed ones.
        outcome.queue_requests += 1 + (taken > 0) + (taken < len(batch))
    outcome.ended = codebuild.finish()
    return outcome


def _drawn(ready: list[Any], most: int) -> list[Any]:
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


def largest_direct_burst(quotas: Quotas, burst: Assumptions) -> int:
    """Find the largest burst in direct mode of which no event reaches the failure queue."""
    least, most = 0, burst.tenants
    while most - least > 1:
        middle = (least + most) // 2
        random.seed(1)
        fits = not direct(quotas, replace(burst, tenants=middle)).failed
        least, most = (middle, most) if fits else (least, middle)
    return least


def template_tries() -> int:
    """Read the maxReceiveCount of the buffer in template.yaml."""
    found = re.search(r"maxReceiveCount: (\d+)", (ROOT / "template.yaml").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1])


def ours(maximum_concurrency: int) -> Queue:
    """Return the buffer of template.yaml, with the function's own redelivery."""
    return Queue(
        maximum_concurrency=maximum_concurrency,
        tries=template_tries(),
        wait=wait_seconds,
        longest=MAX_AGE_SECONDS,
    )


def five_tries(maximum_concurrency: int) -> Queue:
    """Return a buffer with only a redrive policy, for comparison: five tries, six minutes apart."""
    return Queue(maximum_concurrency=maximum_concurrency, tries=5, wait=lambda tries: 360.0, longest=14 * 86400.0)


_RUNNING_BUILDS = (20, 200, 1000)
_LOADS = (0.5, 0.9, 1.1)


def _buffered_by_10(quotas: Quotas, burst: Assumptions) -> Outcome:
    return buffered(quotas, burst, ours(10))


def scenarios() -> dict[tuple[int, str], Callable[[Quotas, Assumptions], Outcome]]:
    """Return the simulations by the quota of running builds and the mode."""
    modes: dict[str, Callable[[Quotas, Assumptions], Outcome]] = {
        "direct": direct,
        "direct, 10 invocations at once": lambda quotas, burst: direct(replace(quotas, concurrency=10), burst),
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
    for (builds, mode), simulate in scenarios().items():
        random.seed(1)
        outcome = outcomes[builds, mode] = simulate(Quotas(running_builds=builds), burst)
        print(
            f"{builds:<16,}{mode:<32}{len(outcome.started):>9,}{len(outcome.failed):>9,}"
            f"{duration(outcome.first_tries):>13}{duration(outcome.started[-1]):>12}"
            f"{outcome.tries / burst.tenants:>13.1f}{outcome.throttled:>11,}"
            f"{outcome.dollars / burst.tenants * 1000:>9.3f}"
        )
    bursts = {builds: largest_direct_burst(Quotas(running_builds=builds), burst) for builds in _RUNNING_BUILDS}
    print(f"\n{'builds at once':<16}{'events an hour, for ever':>26}{'at once in direct mode, none failed':>37}")
    for builds, largest in bursts.items():
        print(f"{builds:<16,}{builds * 3600 / burst.build_seconds:>26,.0f}{largest:>37,}")
    print(f"\n{'a steady day':<16}{'mode':<32}{'events':>9}{'failed':>9}{'median wait':>13}{'longest wait':>14}")
    for load in _LOADS:
        for mode, simulate in (("direct", direct), ("buffered, concurrency 10", _buffered_by_10)):
            random.seed(1)
            day = steady(load, _RUNNING_BUILDS[0], burst)
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
                "firstTriesSeconds": outcome.first_tries,
                "lastStartSeconds": outcome.started[-1],
                "lastEndSeconds": outcome.ended,
                "tries": outcome.tries,
                "throttled": outcome.throttled,
                "dollars": outcome.dollars,
            }
            for (builds, mode), outcome in outcomes.items()
        ]
        options.json.write_text(json.dumps({"bursts": rows, "largestDirectBurst": bursts}, indent=2))
    if options.plot:
        from tests.benchmarks.scale_plot import plot

        plot(outcomes, burst.tenants, burst.build_seconds, options.plot)


if __name__ == "__main__":
    main()
