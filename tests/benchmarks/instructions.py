"""Counts the instructions of a warm event, which vary less than its time: ours, and the floor of `warm.py`.

    python -m tests.benchmarks.instructions

They are counted by the processor, through perf, or else by valgrind. A process also starts up, so the count of an event
is the difference between two processes, one of which handles more events.
"""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.local.lambda_context import LocalContext
from tests.benchmarks import warm
from tests.support.lambda_runtime import ROOT

_FEW, _MANY = 300, 900
_HANDLERS = {"floor": warm.floor, "ours": warm.ours}
_COUNTERS = {
    "perf": (["perf", "stat", "-x,", "-e", "instructions:u"], re.compile(r"^(\d+),.*instructions", re.MULTILINE)),
    "valgrind": (
        ["valgrind", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={os.devnull}"],
        re.compile(r"I *refs: *([\d,]+)"),
    ),
}


def counted() -> tuple[str, dict[str, float]] | None:
    """Count the instructions of one event.

    Returns:
        The program that counted, and the count of each handler; `None` if no program here can count.
    """
    for program in _COUNTERS:
        if _count(program, ["-c", ""]) is not None:
            return program, {name: _of_event(program, name) for name in _HANDLERS}
    return None


def _of_event(program: str, name: str) -> float:
    module = ["-m", "tests.benchmarks.instructions"]
    few, many = (_count(program, [*module, name, str(events)]) for events in (_FEW, _MANY))
    if few is None or many is None:
        raise RuntimeError(f"{program} did not count {name}")
    return (many - few) / (_MANY - _FEW)


def _count(program: str, arguments: Sequence[str]) -> int | None:
    command, pattern = _COUNTERS[program]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(
            [*command, sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    found = pattern.search(done.stderr)
    return None if found is None else int(found[1].replace(",", ""))


def show() -> None:
    """Print the instructions of an event, or that nothing here can count them."""
    found = counted()
    if found is None:
        print("instructions were not counted: this machine has neither perf with the processor's counters nor valgrind")
        return
    program, counts = found
    for name, count in counts.items():
        print(f"{name:<8}{count:>12,.0f} instructions{count / counts['floor']:>9.2f}")
    print(f"counted by {program}; Python {sys.version.split()[0]}")


def _handle(name: str, events: int) -> None:
    os.environ.setdefault("AWS_REGION", "eu-west-1")
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        handler, event, context = _HANDLERS[name](), warm.provisioning(), LocalContext()
        for _ in range(events):
            handler(event, context)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _handle(sys.argv[1], int(sys.argv[2]))
    else:
        show()
