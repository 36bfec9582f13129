"""Measures cold starts, from a process's start to its first started job, against a ten-line boto3 handler.

    python -m tests.benchmarks.cold_start [--rounds 15] [--python PYTHON] [--json FILE]

Each measurement is a new process with only its artifact and the standard library. It handles one provisioning event,
with an AWS on loopback that answers at once. The handlers take turns, so that other load on the machine affects all.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import bytecode, instant_aws
from tests.benchmarks.instant_aws import InstantAws
from tests.benchmarks.progress import rounds, show
from tests.support.lambda_runtime import ROOT, make_artifact, zipped

_EVENT = ROOT / "events" / "tenant-provisioning.json"
_DRIVER = """
import importlib, json, sys
folder, module = sys.argv[1:]
sys.path.insert(0, folder)
handler = importlib.import_module(module).lambda_handler
class Context:
    aws_request_id, function_name, memory_limit_in_mb = "1", "orchestrator", 512
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:orchestrator"
    def get_remaining_time_in_millis(self): return 60_000
handler(json.load(sys.stdin), Context())
with open("/proc/self/status") as status:
    sys.stderr.write(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


@dataclass(frozen=True)
class Subject:
    """A handler to measure."""

    name: str
    folder: Path
    module: str


def measure(subject: Subject, python: str, aws: InstantAws) -> tuple[float, float]:
    """Start one process; return the milliseconds to its first started job, and its peak memory in MB."""
    aws.started = 0.0
    environment = {
        **instant_aws.environment(aws.address),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's disk is read-only
    }
    # An event that happens now: of an old one, the function reads first whether an earlier delivery was handled.
    event = json.dumps({**json.loads(_EVENT.read_text()), "time": datetime.now(UTC).isoformat(timespec="seconds")})
    before = time.perf_counter()
    done = subprocess.run(
        [python, "-S", "-c", _DRIVER, str(subject.folder), subject.module],
        env=environment,
        input=event,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0 or not aws.started:
        raise RuntimeError(f"{subject.name} started no job: {done.stderr[-2000:]}")
    return (aws.started - before) * 1000, int(done.stderr.rpartition("\n")[2]) / 1024


def version_of(python: str) -> str:
    """Return a Python's version, such as 3.13.0."""
    command = [python, "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def minor(version: str) -> str:
    """Return the minor version of a version: 3.13 for 3.13.0."""
    return version.rpartition(".")[0]


def build_ours(work: Path, python: str) -> Path:
    """Build our artifact in a folder, with bytecode for a Python, and return the artifact's path."""
    os.environ["PATH"] = os.pathsep.join([str(Path(python).parent), os.environ["PATH"]])
    make_artifact(work / "ours", minor(version_of(python)))
    return work / "ours"


def subjects(work: Path, python: str) -> list[Subject]:
    """Build our artifact, and the ten lines with and without bytecode."""
    ours, compiled, plain = build_ours(work, python), work / "compiled", work / "plain"
    version = minor(version_of(python))
    bytecode.require(ours)
    # The same version of boto3, untrimmed, as plain `sam build` installs it.
    pinned = [line.partition(" ")[0] for line in (ROOT / "orchestrator/requirements.txt").read_text().splitlines()]
    boto3 = next(line for line in pinned if line.startswith("boto3=="))
    install = ["uv", "pip", "install", "--quiet", "--target", str(plain), "--python-version", version, boto3]
    subprocess.run([*install, "--no-compile-bytecode"], check=True)
    shutil.copy(Path(__file__).parent / "ten_lines.py", plain)
    shutil.copytree(plain, compiled)
    compile_all = [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(compiled)]
    subprocess.run(compile_all, check=True, stdout=subprocess.DEVNULL, env=bytecode.environment())
    return [
        Subject("ours", ours, "orchestrator.handler"),
        Subject("ten lines, bytecode", compiled, "ten_lines"),
        Subject("ten lines, plain", plain, "ten_lines"),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write JSON with `--json`."""
    parser = argparse.ArgumentParser(description="Measure cold starts.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--python", default=sys.executable, help="the Python to start (default: this one)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as work, contextlib.ExitStack() as stack:
        aws = InstantAws()
        aws.start()
        stack.callback(aws.stop)
        show("cold start: building the artifacts")
        compared = subjects(Path(work), options.python)
        taken: dict[str, list[tuple[float, float]]] = {subject.name: [] for subject in compared}
        for _ in rounds("cold start", options.rounds):
            for subject in compared:
                taken[subject.name].append(measure(subject, options.python, aws))
        sizes = {subject.name: len(zipped(subject.folder)) for subject in compared}
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in taken.items()}
    base = medians["ours"][0]
    version = version_of(options.python)
    print(f"{'cold start to the first job':<28}{'ms':>8}{'ours / it':>11}{'peak MB':>9}{'zipped MB':>11}")
    for name, (milliseconds, memory) in medians.items():
        ratio = base / milliseconds
        print(f"{name:<28}{milliseconds:>8.0f}{ratio:>11.2f}{memory:>9.1f}{sizes[name] / 1e6:>11.1f}")
    print(f"{options.rounds} rounds in turns; {platform.machine()}, {os.cpu_count()} CPUs, Python {version}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"rounds": taken, "medians": medians, "zipped": sizes}, indent=2))


if __name__ == "__main__":
    main()
