"""Measures a warm provisioning event end to end, against the ten-line handler.

    python -m tests.benchmarks.end_to_end [--rounds 15] [--json FILE]

Both use the SDK, with an AWS in another process, which answers at once, and then as late as AWS does. The time in the
SDK, including the answers, and the handler's own time are measured separately.
"""

import argparse
import contextlib
import copy
import importlib
import json
import os
import platform
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from botocore.client import BaseClient

from orchestrator import create_handler
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local.lambda_context import LocalContext
from tests.benchmarks import instant_aws
from tests.benchmarks.progress import rounds
from tests.benchmarks.warm import batch, provisioning

_EVENTS_A_ROUND = 20
_BATCH, _SIDE_BY_SIDE, _START_SECONDS = 100, 10, 0.1
_LATE_ROUNDS, _LATE_START_SECONDS, _LATE_TABLE_SECONDS = 5, 0.12, 0.008
_SUBJECTS = {"ours": "orchestrator.handler", "ten lines": "tests.benchmarks.ten_lines"}


@dataclass
class Sdk:
    """Measures the calls of the SDK's clients."""

    calls: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        call: Callable[..., Any] = BaseClient._make_api_call  # type: ignore[attr-defined]  # what every operation is made of

        def timed(client: Any, operation: str, parameters: Any) -> Any:
            self.calls.append(operation)
            start = time.perf_counter()
            try:
                return call(client, operation, parameters)
            finally:
                self.seconds += time.perf_counter() - start

        with patch.object(BaseClient, "_make_api_call", timed):
            yield


@dataclass(frozen=True)
class Measurement:
    """The average of one event: milliseconds, and the number of requests."""

    total: float
    sdk: float
    requests: float

    @property
    def own(self) -> float:
        return self.total - self.sdk


def events() -> Iterator[dict[str, Any]]:
    """Yield events with new ids."""
    template = provisioning()
    while True:
        event = copy.deepcopy(template)
        event["id"], event["detail"]["tenant"]["id"] = str(uuid.uuid4()), str(uuid.uuid4())
        event["time"] = datetime.now(UTC).isoformat(timespec="seconds")
        yield event


def measure(handler: Callable[[Any, Any], Any], new: Iterator[dict[str, Any]]) -> Measurement:
    """Handle some events, one after another."""
    fresh, sdk, context = [next(new) for _ in range(_EVENTS_A_ROUND)], Sdk(), LocalContext()
    with sdk.watched():
        start = time.perf_counter()
        for event in fresh:
            handler(event, context)
        elapsed = time.perf_counter() - start
    return Measurement(
        total=elapsed * 1000 / len(fresh), sdk=sdk.seconds * 1000 / len(fresh), requests=len(sdk.calls) / len(fresh)
    )


def batches(new: Iterator[dict[str, Any]], count: int) -> tuple[float, float]:
    """Handle batches of SQS messages with a slow CodeBuild; return the seconds and the CPU seconds of a batch."""
    taken: list[tuple[float, float]] = []
    with instant_aws.running(_START_SECONDS) as address, patch.dict(os.environ, instant_aws.environment(address)):
        handler = create_handler(lifecycle)
        for _ in rounds("provisioning, batches", count + 1):
            messages = batch([next(new) for _ in range(_BATCH)])
            start, processor = time.perf_counter(), time.process_time()
            if handler(messages, LocalContext())["batchItemFailures"]:
                raise RuntimeError("not every message was handled")
            taken.append((time.perf_counter() - start, time.process_time() - processor))
    elapsed, processor = (statistics.median(column) for column in zip(*taken[1:], strict=True))
    return elapsed, processor


def compare(address: str, new: Iterator[dict[str, Any]], count: int) -> dict[str, dict[str, float]]:
    """Let the handlers take turns with the AWS at this address; return the medians of each."""
    taken: dict[str, list[Measurement]] = {name: [] for name in _SUBJECTS}
    with patch.dict(os.environ, instant_aws.environment(address)):
        handlers = {
            name: importlib.reload(importlib.import_module(module)).lambda_handler  # with clients for this address
            for name, module in _SUBJECTS.items()
        }
        for handler in handlers.values():
            measure(handler, new)
        for _ in rounds("provisioning, end to end", count):
            for name, handler in handlers.items():
                taken[name].append(measure(handler, new))
    return {
        name: {key: statistics.median(getattr(one, key) for one in rows) for key in ("total", "sdk", "own", "requests")}
        for name, rows in taken.items()
    }


def show(aws: str, medians: Mapping[str, Mapping[str, float]]) -> None:
    print(f"{aws:<34}{'ms':>8}{'ours / it':>11}{'in the SDK':>12}{'its own':>9}{'requests':>10}")
    for name, row in medians.items():
        ratio = medians["ours"]["total"] / row["total"]
        figures = f"{row['total']:>8.2f}{ratio:>11.2f}{row['sdk']:>12.2f}{row['own']:>9.2f}{row['requests']:>10.1f}"
        print(f"  {name:<32}{figures}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write JSON with `--json`."""
    parser = argparse.ArgumentParser(description="Measure provisioning events end to end.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    new = events()
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        with instant_aws.running() as address:
            at_once = compare(address, new, options.rounds)
        with instant_aws.running(_LATE_START_SECONDS, _LATE_TABLE_SECONDS) as address:
            late = compare(address, new, _LATE_ROUNDS)
        elapsed, processor = batches(new, 5)
    show("an AWS that answers at once", at_once)
    show(f"{_LATE_TABLE_SECONDS * 1000:.0f} ms a table, {_LATE_START_SECONDS * 1000:.0f} ms StartBuild", late)
    answers = _BATCH / _SIDE_BY_SIDE * _START_SECONDS
    print(
        f"a batch of {_BATCH} messages, {_SIDE_BY_SIDE} at a time, builds that take {_START_SECONDS} s to start: "
        f"{elapsed:.2f} s, {processor:.2f} s of them at work; those answers alone: {answers:.2f} s"
    )
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"{options.rounds} rounds in turns, of {_EVENTS_A_ROUND} events; {machine}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"medians": at_once, "late": late, "batch": [elapsed, processor]}, indent=2))


if __name__ == "__main__":
    main()
