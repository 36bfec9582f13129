"""Hands mutated events to the handlers, and prints what came of them.

    python -m tests.mutations [--events 100000] [--seed 1] [--processes N] [--save FOLDER] [--index N]

Every event that was not handled as it should be is named with its seed and index; `--save` writes it to a file.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.mutations.fuzz import Figures, run
from tests.mutations.world import world

_MOST_PRINTED = 40


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Hand mutated events to the handlers.")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--save", type=Path, help="a folder for the events that were not handled as they should be")
    parser.add_argument("--index", type=int, help="only the event with this index")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    if options.index is not None:
        figures = _part(options.seed, range(options.index, options.index + 1))
    else:
        figures = _all(options.seed, options.events, options.processes)
    _print(figures, time.monotonic() - began)
    if options.save is not None:
        _save(figures, options.save)
    return 1 if figures.findings else 0


def _all(seed: int, events: int, processes: int) -> Figures:
    parts = [range(first, events, processes) for first in range(processes)]
    figures = Figures()
    with ProcessPoolExecutor(processes) as pool:
        for part in pool.map(_part, [seed] * processes, parts):
            figures.add(part)
    return figures


def _part(seed: int, indexes: range) -> Figures:
    with world() as made:
        gc.freeze()  # the samples and the SDK's models stay, so looking through them again and again is wasted
        return run(made, seed, indexes)


def _print(figures: Figures, seconds: float) -> None:
    for outcome, number in figures.outcomes.most_common():
        print(f"{number:>9,}  {outcome}")
    total = sum(figures.outcomes.values())
    requests = ", ".join(f"{number:,} {name}" for name, number in figures.requests.most_common())
    slowest, index = figures.slowest
    print(f"{total:>9,}  events in {seconds:.0f} s; the slowest took {slowest:.1f} s (index {index})")
    print(f"           {sum(figures.requests.values()):,} requests of AWS: {requests}")
    print(f"{len(figures.findings):>9,}  not handled as they should be")
    for finding in sorted(figures.findings, key=lambda one: len(one.mutation.payload))[:_MOST_PRINTED]:
        place = f"--seed {finding.seed} --index {finding.index}"
        print(f"  {place}: {finding.mutation.sample}: {'; '.join(finding.faults)[:300]}")


def _save(figures: Figures, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for finding in figures.findings:
        name = f"{finding.seed}-{finding.index}"
        (folder / f"{name}.json").write_text(finding.mutation.payload, encoding="utf-8")
        about = [finding.mutation.sample, finding.mutation.handler, *finding.faults, finding.error]
        (folder / f"{name}.txt").write_text("\n".join(about), encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
