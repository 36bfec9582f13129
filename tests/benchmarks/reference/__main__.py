"""Compares this package with the reference service on Node, both with an empty consumer.

    python -m tests.benchmarks.reference [--rounds 7] [--json FILE]

Each round starts both, one after the other. It measures the time from the process's start to its first handled event,
the peak memory until then, and the time of a warm event. Without npm or the service, it prints a message and stops.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from types import TracebackType
from typing import IO, Self

from tests.benchmarks import bytecode
from tests.benchmarks.progress import rounds, show
from tests.support.lambda_runtime import ROOT

_HERE = Path(__file__).parent
_INSTALLED = ROOT / "build" / "reference"
_EVENT = ROOT / "events" / "tenant-provisioning.json"
# Node compiles code that runs often, so it needs a long warm-up.
_WARM_UP, _EVENTS = 1500, 500


@dataclass(frozen=True)
class Figures:
    """The figures of one process: milliseconds to its first event, peak MB by then, microseconds of a warm event."""

    first: float
    memory: float
    event: float


class Subject:
    """A process that handles a given number of events on request."""

    def __init__(self, command: Sequence[str]) -> None:
        begin = time.perf_counter()
        environment = {**bytecode.environment(), "AWS_REGION": "eu-west-1"}
        self._process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True, cwd=ROOT, env=environment)
        self._in, self._out = _given(self._process.stdin), _given(self._process.stdout)
        if self._out.readline() != "ready\n":
            raise RuntimeError(f"{command[0]} handled no event: run {' '.join(command)} to see why")
        self.first = (time.perf_counter() - begin) * 1000
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        self.memory = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024

    def handle(self, count: int) -> float:
        """Let it handle events, and return the microseconds of one."""
        self._in.write(f"{count}\n")
        self._in.flush()
        return float(self._out.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in.close()
        self._process.wait(10)
        self._out.close()


def _given(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def install(npm: str) -> None:
    """Install the reference service if it is missing."""
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "theirs.js"):
        shutil.copy(_HERE / name, _INSTALLED)
    # For safety, packages' install scripts do not run; they are not needed.
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
    done = subprocess.run(command, cwd=_INSTALLED, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"npm install failed: {done.stderr.strip()[-300:]}")


def measured(commands: Mapping[str, Sequence[str]], count: int) -> dict[str, list[Figures]]:
    """Start each of them `count` times, in turns."""
    taken: dict[str, list[Figures]] = {name: [] for name in commands}
    for _ in rounds("the reference service", count):
        for name, command in commands.items():
            with Subject(command) as subject:
                subject.handle(_WARM_UP)
                taken[name].append(Figures(subject.first, subject.memory, subject.handle(_EVENTS)))
    return taken


def median(rows: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return Figures(*map(statistics.median, zip(*map(astuple, rows), strict=True)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write JSON with `--json`."""
    parser = argparse.ArgumentParser(description="Measure ours against the reference service.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        print("the reference service is left out: npm is not on the path")
        return
    show("the reference service: installing it")
    try:
        install(npm)
    except RuntimeError as error:
        print(f"the reference service is left out: {error}")
        return
    taken = measured(
        {
            "ours": [sys.executable, "-m", "tests.benchmarks.reference.ours", str(_EVENT)],
            "the reference service": [node, str(_INSTALLED / "theirs.js"), str(_EVENT)],
        },
        options.rounds,
    )
    medians = {name: median(rows) for name, rows in taken.items()}
    ours = medians["ours"]
    columns = f"{'first, ms':>11}{'ratio':>7}{'event, µs':>11}{'ratio':>7}{'MB':>6}{'ratio':>7}"
    print(f"{'a consumer that does nothing':<30}{columns}")
    for name, row in medians.items():
        first = f"{row.first:>11.0f}{ours.first / row.first:>7.2f}"
        event = f"{row.event:>11.0f}{ours.event / row.event:>7.2f}"
        print(f"{name:<30}{first}{event}{row.memory:>6.0f}{ours.memory / row.memory:>7.2f}")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, Node {version}"
    print(f"{options.rounds} rounds in turns; {machine}")
    if options.json:
        rows = {name: [asdict(row) for row in rows] for name, rows in taken.items()}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
