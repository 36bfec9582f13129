"""Measures what the first event after a restore from a SnapStart snapshot costs, against the events after it.

    python -m tests.benchmarks.snapstart [--rounds 15] [--python PYTHON] [--json FILE]

Lambda's restore cannot be measured here, but what the function's own process does after it can: each round starts the
built artifact in a new process, runs the hooks as Lambda does, and then handles five events. Counted is the time of the
processor, also that of threads. Beside it are the same events without SnapStart.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import instant_aws
from tests.benchmarks.cold_start import build_ours, version_of
from tests.support.lambda_runtime import ROOT

_EVENT = ROOT / "events" / "tenant-provisioning.json"
_DRIVER = """
import json, sys, time, types
sys.path.insert(0, sys.argv[1])
before, after = [], []
sys.modules["snapshot_restore_py"] = types.SimpleNamespace(
    register_before_snapshot=before.append, register_after_restore=after.append
)
from orchestrator.handler import lambda_handler
for hook in reversed(before):
    hook()
class Context:
    aws_request_id, function_name, memory_limit_in_mb = "1", "orchestrator", 512
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:orchestrator"
    def get_remaining_time_in_millis(self): return 60_000
event = json.load(sys.stdin)
used = [time.process_time()]
for number in range(5):
    for hook in after if number == 0 else ():
        hook()
    lambda_handler({**event, "id": str(number)}, Context())
    used.append(time.process_time())
print([(later - earlier) * 1000 for earlier, later in zip(used, used[1:])], file=sys.stderr)
"""


def measure(artifact: Path, python: str, environment: dict[str, str]) -> list[float]:
    """Start one process, and return the processor's milliseconds for each of its first five events."""
    event = json.dumps({**json.loads(_EVENT.read_text()), "time": datetime.now(UTC).isoformat(timespec="seconds")})
    done = subprocess.run(
        [python, "-S", "-c", _DRIVER, str(artifact)],
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},  # Lambda's disk is read-only
        input=event,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    used: list[float] = json.loads(done.stderr.splitlines()[-1])
    return used


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write JSON with `--json`."""
    parser = argparse.ArgumentParser(description="Measure the first events after a restore.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--python", default=sys.executable, help="the Python to start (default: this one)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as work, instant_aws.running() as address:
        artifact = build_ours(Path(work), options.python)
        on_demand = {**instant_aws.environment(address), "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"}
        restored = {
            **{name: value for name, value in on_demand.items() if not name.startswith("AWS_ACCESS_KEY")},
            "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{address}/credentials",
        }
        taken: dict[str, list[list[float]]] = {"after a restore": [], "without SnapStart": []}
        for _ in range(options.rounds):
            taken["after a restore"].append(measure(artifact, options.python, restored))
            taken["without SnapStart"].append(measure(artifact, options.python, on_demand))
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in taken.items()}
    print(f"{'processor, ms':<20}{'1st event':>11}{'2nd':>8}{'3rd':>8}{'4th':>8}{'5th':>8}")
    for name, events in medians.items():
        print(f"{name:<20}{events[0]:>11.1f}" + "".join(f"{milliseconds:>8.1f}" for milliseconds in events[1:]))
    version = version_of(options.python)
    print(f"{options.rounds} rounds in turns; {platform.machine()}, {os.cpu_count()} CPUs, Python {version}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"rounds": taken, "medians": medians}, indent=2))


if __name__ == "__main__":
    main()
