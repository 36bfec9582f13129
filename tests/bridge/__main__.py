"""Kills a bridge at every point of its work, and looks for events that were lost and for jobs that started twice.

    python -m tests.bridge

The jobs are added by the reference connector, which npm fetches into build/bridge (package.json has its version), to a
real Redis. Each life of the bridge is killed before one more request or answer than the life before. A last life is
left alone, and stopped by SIGTERM. Then the function gets what is in the waiting queue. Needs npm and redis-server.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3

from orchestrator import Registry, create_handler
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import environment, sandbox
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.lambda_context import LocalContext
from orchestrator.local.messages import batch
from orchestrator.local.waiting_queue import EmulatedQueue
from orchestrator.run import TENANT_ID_VARIABLE
from tests.bridge.proxy import Points, Proxy
from tests.bridge.world import Producer, States
from tests.support.commands import run
from tests.support.events import sample
from tests.support.lambda_runtime import ROOT
from tests.support.redis_server import IS_INSTALLED, URL_PASSWORD, RedisServer

_HERE = Path(__file__).parent
_INSTALLED = ROOT / "build" / "bridge"
_QUEUE = "tenant-events"
_LOCK_SECONDS = 1
_COMMAND = "import sys; from orchestrator.cli.main import main; sys.exit(main(sys.argv[1:]))"


def main() -> int:
    """Install the reference connector, and run the bridge again and again."""
    if not IS_INSTALLED or not shutil.which("npm") or not shutil.which("node"):
        print("needs npm and redis-server; install Node.js and Debian's package redis-server", file=sys.stderr)
        return 1
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "produce.js"):
        shutil.copy(_HERE / name, _INSTALLED)
    # For safety, packages' install scripts do not run; they are not needed.
    install = ("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")
    run(*install, folder=_INSTALLED, seconds=600)
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as redis, _aws() as (url, codebuild):
        producer = Producer(_INSTALLED, redis, _QUEUE)
        faults = _check(redis, producer, url, codebuild)
        producer.close()
    for fault in faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    return 1 if faults else 0


@contextmanager
def _aws() -> Iterator[tuple[str, CodeBuildServer]]:
    """Emulate AWS for the bridge's process and for the function in this one; return its URL, and its CodeBuild."""
    with (
        environment.running_emulator("127.0.0.1", 0) as url,
        environment.emulator(url),
        CodeBuildServer({sandbox.TIERS["PREMIUM"]["jobName"]}, now=time.time(), region=environment.REGION) as codebuild,
    ):
        os.environ["AWS_ENDPOINT_URL_CODEBUILD"] = codebuild.url
        yield url, codebuild


def _check(redis: RedisServer, producer: Producer, url: str, codebuild: CodeBuildServer) -> list[str]:
    states, points = States(redis, _QUEUE), Points()
    addresses = {
        "REDIS_URL": f"redis://:{URL_PASSWORD}@127.0.0.1:{Proxy(redis.port, points).port}",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{Proxy(urlsplit(url).port or 80, points).port}",
    }
    live = partial(_live, addresses, points)

    numbers = count()
    for _ in range(2):  # the first life also loads the scripts into Redis
        producer.send(_event(next(numbers)))
        live(None, states.are_all_completed)
    points_of_a_job = points.count
    for number in range(1, points_of_a_job + 1):
        producer.send(_event(next(numbers)))
        live(number, lambda: False)
    producer.send(*(_event(next(numbers)) for _ in range(10)))  # in one go, as its sendMultiple adds them
    producer.send({"name": "no event", "data": {"tenantId": "t"}, "options": {"removeOnFail": True}})
    jobs = next(numbers)
    print(f"killed {points_of_a_job} times, each before one more request or answer; jobs left: {states.counts()}")
    last = live(None, states.are_all_finished)
    print(f"after a life that was left alone: {states.counts()}")

    faults = []
    if last[-1]["message"] != "stopped":
        faults.append(f"SIGTERM did not stop the bridge: {last[-1]}")
    if states.counts() != {"completed": jobs, "failed": 1}:
        faults.append(f"the jobs are {states.counts()}")
    return faults + _handled(states.event_ids("completed"), jobs, codebuild)


def _live(
    addresses: dict[str, str], points: Points, number: int | None, is_done: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Run a bridge until it is killed before a point, or until all is done; return its log."""
    queue_url = os.environ["WAITING_QUEUE_URL"]
    options = ("--queue", _QUEUE, "--waiting-queue-url", queue_url, "--lock-seconds", str(_LOCK_SECONDS))
    process: subprocess.Popen[str] | None = None

    def kill() -> None:
        if process is not None:
            process.kill()

    points.start(number, kill)
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, "bridge", "bullmq", *options],
        env={**os.environ, **addresses},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while process.poll() is None and not is_done():
        if time.monotonic() > until:
            process.kill()
            raise RuntimeError(f"the bridge did not get to point {number}; it got to {points.count}")
        time.sleep(0.05)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=40)
    expected = 0 if number is None else -signal.SIGKILL
    if process.returncode != expected:
        raise RuntimeError(f"the bridge ended with {process.returncode}, and not with {expected}: {out}")
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def _event(number: int) -> dict[str, Any]:
    """Return a message of the reference connector, with the event of one tenant."""
    event = sample("tenant-provisioning")
    detail = json.loads(json.dumps(event["detail"]).replace(sandbox.TENANT["tenantId"], f"tenant-{number}"))
    return {"name": "event", "data": {"type": event["detail-type"], **detail}, "options": {}}


def _handled(event_ids: set[str], jobs: int, codebuild: CodeBuildServer) -> list[str]:
    """Let the function handle the waiting queue; return what is wrong."""
    registry = Registry()
    registry.include(lifecycle)
    handler = create_handler(registry)
    queue = EmulatedQueue(os.environ["WAITING_QUEUE_URL"], boto3.client("sqs"))
    messages = queue.receive_all()
    sent = [message["MessageAttributes"]["EventId"]["StringValue"] for message in messages]
    faults = [f"event {one} was lost" for one in event_ids - {*sent}]
    faults += [f"event {one} has no job" for one in {*sent} - event_ids]
    if len(sent) == len({*sent}):
        faults.append("no event was sent twice, so nothing shows that a job is not started twice")
    for message in messages:
        with redirect_stdout(io.StringIO()):  # the function's log
            answer = handler(batch(message, queue.url, queue.region), LocalContext())
        if answer["batchItemFailures"]:
            faults.append(f"event {message['MessageAttributes']['EventId']['StringValue']} was not handled")
    tenants = {
        variable["value"]
        for build in codebuild.builds
        for variable in build["environment"]["environmentVariables"]
        if variable["name"] == TENANT_ID_VARIABLE
    }
    print(f"{jobs} jobs: {len(sent)} messages with {len({*sent})} events, {len(codebuild.builds)} builds")
    if len(codebuild.builds) != jobs or len(tenants) != jobs:
        faults.append(f"there are {len(codebuild.builds)} builds of {len(tenants)} tenants for {jobs} jobs")
    return faults


if __name__ == "__main__":
    sys.exit(main())
