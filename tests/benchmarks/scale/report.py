"""Formats the outcomes of simulations."""

from typing import Any

from tests.benchmarks.scale.distributed_map import MapOutcome
from tests.benchmarks.scale.outcome import Outcome
from tests.benchmarks.scale.scenarios import MapScenario, Scenario

HEADING = (
    f"{'builds':>6}  {'scenario':<32}{'events':>8}{'started':>9}{'failed':>8}{'all tried':>11}{'last start':>11}"
    f"{'median':>10}{'longest':>10}{'tries':>7}{'looks':>7}{'wakes':>7}{'throttled':>11}{'$/1,000':>9}"
)
MAP_HEADING = f"{'builds':>6}  {'MaxConcurrency':<32}{'builds':>8}{'last end':>11}{'tries':>8}{'$/1,000':>9}"


def line(scenario: Scenario, outcome: Outcome) -> str:
    """Format the outcome of a simulation; tries, looks and wake-ups are per event; the waits are median and longest."""
    events, waits = scenario.burst.tenants, sorted(outcome.waits)
    tries, looks, wakes = (count / events for count in (outcome.tries, outcome.looks, outcome.wakes))
    return (
        f"{scenario.quotas.running_builds:>6,}  {scenario.name:<32}{events:>8,}{len(outcome.started):>9,}"
        f"{len(outcome.failed):>8,}{duration(max(outcome.first_tries)):>11}{duration(max(outcome.started)):>11}"
        f"{duration(waits[len(waits) // 2]):>10}{duration(waits[-1]):>10}{tries:>7.1f}{looks:>7.1f}{wakes:>7.1f}"
        f"{outcome.throttled:>11,}{outcome.dollars / events * 1000:>9.3f}"
    )


def map_line(scenario: MapScenario, outcome: MapOutcome) -> str:
    """Format the outcome of a distributed map."""
    builds, limit = len(outcome.started), f"{scenario.max_concurrency:,}" if scenario.max_concurrency else "none"
    return (
        f"{scenario.quotas.running_builds:>6,}  {limit:<32}{builds:>8,}"
        f"{duration(outcome.ended):>11}{outcome.tries / builds:>8.1f}{outcome.dollars / builds * 1000:>9.3f}"
    )


def row(scenario: Scenario, outcome: Outcome) -> dict[str, Any]:
    """Return the outcome of a simulation for JSON."""
    return {
        "runningBuilds": scenario.quotas.running_builds,
        "scenario": scenario.name,
        "events": scenario.burst.tenants,
        "started": len(outcome.started),
        "failed": len(outcome.failed),
        "firstTriesSeconds": max(outcome.first_tries),
        "lastStartSeconds": max(outcome.started),
        "lastEndSeconds": outcome.ended,
        "longestWaitSeconds": max(outcome.waits),
        "tries": outcome.tries,
        "requestsToCodeBuild": outcome.requests,
        "looks": outcome.looks,
        "wakes": outcome.wakes,
        "sent": outcome.sent,
        "throttled": outcome.throttled,
        "mostInSlot": outcome.most_in_slot,
        "queueRequests": outcome.queue_requests,
        "readUnits": outcome.reads,
        "writeUnits": outcome.writes,
        "dollars": outcome.dollars,
    }


def map_row(scenario: MapScenario, outcome: MapOutcome) -> dict[str, Any]:
    """Return the outcome of a distributed map for JSON."""
    return {
        "runningBuilds": scenario.quotas.running_builds,
        "maxConcurrency": scenario.max_concurrency,
        "started": len(outcome.started),
        "lastEndSeconds": outcome.ended,
        "tries": outcome.tries,
        "dollars": outcome.dollars,
    }


def duration(seconds: float) -> str:
    """Format a duration with a suitable unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
