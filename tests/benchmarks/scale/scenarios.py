"""The scenarios that `make scale` simulates."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from tests.benchmarks.scale.assumptions import Burst, Quotas
from tests.benchmarks.scale.distributed_map import MapOutcome, distributed_map
from tests.benchmarks.scale.outcome import Outcome
from tests.benchmarks.scale.queues import Queue, five_tries, ours
from tests.benchmarks.scale.simulation import buffered, direct

RUNNING_BUILDS = (20, 200, 1000)
_LOADS = (0.5, 0.9, 1.1)

ResultT = TypeVar("ResultT", covariant=True)


class Simulates(Protocol[ResultT]):
    """A scenario."""

    def simulate(self) -> ResultT:
        """Run the simulation, with the same draws each time."""
        ...


@dataclass(frozen=True)
class Scenario:
    """One simulation of the package.

    Attributes:
        name: What is special about it.
        mode: `direct` or `buffered`.
        quotas: The quotas.
        burst: The burst.
        concurrency: Batches from the waiting queue at the same time.
        has_five_tries: Whether the queue has only a redrive policy.
    """

    name: str
    mode: Callable[[Quotas, Burst, Queue], Outcome]
    quotas: Quotas
    burst: Burst
    concurrency: int = 10
    has_five_tries: bool = False

    def simulate(self) -> Outcome:
        """Run the simulation, with the same draws each time."""
        random.seed(1)
        queue = five_tries(self.concurrency) if self.has_five_tries else ours(self.concurrency)
        return self.mode(self.quotas, self.burst, queue)


@dataclass(frozen=True)
class MapScenario:
    """One simulation of a distributed map; a `max_concurrency` of 0 sets no limit."""

    quotas: Quotas
    burst: Burst
    max_concurrency: int

    def simulate(self) -> MapOutcome:
        """Run the simulation, with the same draws each time."""
        random.seed(1)
        return distributed_map(self.quotas, self.burst, self.max_concurrency)


def bursts(burst: Burst) -> list[Scenario]:
    """Return the scenarios of a burst."""
    found = []
    for builds in RUNNING_BUILDS:
        quotas = Quotas(running_builds=builds)
        found += [
            Scenario("direct", direct, quotas, burst),
            Scenario("buffered, concurrency 2", buffered, quotas, burst, concurrency=2),
            Scenario("buffered, concurrency 10", buffered, quotas, burst),
        ]
    few, small_account = Quotas(running_builds=20), Quotas(running_builds=20, concurrency=10)
    return [
        *found,
        Scenario("direct, 10 invocations at once", direct, small_account, burst),
        Scenario("buffered, 5 tries and no more", buffered, few, burst, has_five_tries=True),
    ]


def limited(burst: Burst) -> list[Scenario]:
    """Return the scenarios with a tier limited to 5: a tenth of the burst, alone and among the others.

    5,000 builds of five minutes, five at a time, take 3.5 days; within 13 days there is time for 18,000.
    """
    few, part = Quotas(running_builds=20), burst.tenants // 10
    alone = replace(burst, tenants=part, limited=part)
    return [
        Scenario("direct, alone", direct, few, alone),
        Scenario("buffered, alone", buffered, few, alone),
        Scenario("direct, among the others", direct, few, replace(burst, limited=part)),
        Scenario("buffered, among the others", buffered, few, replace(burst, limited=part)),
    ]


def maps(burst: Burst) -> list[MapScenario]:
    """Return the scenarios of a distributed map: as many children as run, as many as CodeBuild takes, and no limit."""
    return [
        MapScenario(Quotas(running_builds=builds), burst, most)
        for builds in (20, 200)
        for most in (builds, 6 * builds, 0)
    ]


def steady_days(burst: Burst) -> list[Scenario]:
    """Return the scenarios of events that are spread over a day."""
    few = Quotas(running_builds=20)
    return [
        Scenario(f"{load:.0%} of {few.running_builds}, {mode.__name__}", mode, few, steady(load, few, burst))
        for load in _LOADS
        for mode in (direct, buffered)
    ]


def steady(load: float, quotas: Quotas, burst: Burst) -> Burst:
    """Spread events over a day; their builds use the share `load` of CodeBuild's quota."""
    per_second = load * quotas.running_builds / burst.build_seconds
    return replace(burst, tenants=round(per_second * 86400), per_second=per_second)
