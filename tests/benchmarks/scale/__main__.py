"""Simulates all scenarios and prints what comes of them.

python -m tests.benchmarks.scale [--tenants 50000] [--build-seconds 300] [--json FILE] [--plot FILE]
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

from orchestrator.intake.redelivery import MAX_AGE_SECONDS
from orchestrator.local.terminal import ProgressBar
from tests.benchmarks.scale import report, scenarios
from tests.benchmarks.scale.assumptions import Burst, Quotas
from tests.benchmarks.scale.distributed_map import MapOutcome
from tests.benchmarks.scale.outcome import Outcome
from tests.benchmarks.scale.report import duration
from tests.benchmarks.scale.scenarios import MapScenario, ResultT, Scenario, Simulates


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, print tables, and write JSON with `--json` and a plot with `--plot`."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description="Simulate bursts of events.")
    parser.add_argument("--tenants", type=int, default=Burst.tenants)
    parser.add_argument("--build-seconds", type=float, default=Burst.build_seconds)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="needs matplotlib")
    options = parser.parse_args(arguments)
    burst = Burst(tenants=options.tenants, build_seconds=options.build_seconds)
    with ProcessPoolExecutor() as pool:
        print(f"{burst.tenants:,} events at once, builds of {duration(burst.build_seconds)}", flush=True)
        bursts = _simulate(scenarios.bursts(burst), pool)
        print(f"\na tier limited to {burst.slots} at once", flush=True)
        limited = _simulate(scenarios.limited(burst), pool)
        print("\nthe same burst by a distributed map of Step Functions", flush=True)
        maps = _simulate_maps(scenarios.maps(burst), pool)
        print("\nevents spread over a day", flush=True)
        days = _simulate(scenarios.steady_days(burst), pool)
    _print_capacities(burst)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        rows = {
            "bursts": [report.row(*pair) for pair in bursts],
            "limitedTier": [report.row(*pair) for pair in limited],
            "steadyDays": [report.row(*pair) for pair in days],
            "distributedMaps": [report.map_row(*pair) for pair in maps],
        }
        options.json.write_text(json.dumps(rows, indent=2))
    if options.plot:
        from tests.benchmarks.scale.plot import plot

        plot({(one.quotas.running_builds, one.name): outcome for one, outcome in bursts}, burst, options.plot)


def _simulate(several: Sequence[Scenario], pool: Executor) -> list[tuple[Scenario, Outcome]]:
    print(report.HEADING)
    done = []
    for one, outcome in zip(several, _in_turn(several, pool), strict=True):
        print(report.line(one, outcome), flush=True)
        done.append((one, outcome))
    return done


def _simulate_maps(several: Sequence[MapScenario], pool: Executor) -> list[tuple[MapScenario, MapOutcome]]:
    print(report.MAP_HEADING)
    done = []
    for one, outcome in zip(several, _in_turn(several, pool), strict=True):
        print(report.map_line(one, outcome), flush=True)
        done.append((one, outcome))
    return done


def _in_turn(several: Sequence[Simulates[ResultT]], pool: Executor) -> Iterator[ResultT]:
    """Simulate scenarios side by side, and return each outcome in turn, as soon as it is there."""
    bar = ProgressBar("simulations", len(several))
    results = [pool.submit(one.simulate) for one in several]
    for result in results:
        with bar.step():
            outcome = result.result()
        yield outcome


def _print_capacities(burst: Burst) -> None:
    print(f"\n{'builds':>6}{'events an hour, for ever':>26}{'at once, none waits':>21}{'in 13 days':>13}")
    for builds in scenarios.RUNNING_BUILDS:
        per_second, at_once = builds / burst.build_seconds, builds * (1 + Quotas.queued_builds)
        print(f"{builds:>6,}{per_second * 3600:>26,.0f}{at_once:>21,}{per_second * MAX_AGE_SECONDS:>13,.0f}")


if __name__ == "__main__":
    main()
