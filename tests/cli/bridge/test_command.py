"""The command `orchestrator bridge bullmq`: its settings, its end, and its health."""

import asyncio
import builtins
import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from orchestrator import telemetry
from orchestrator.cli.bridge.health import serving
from orchestrator.cli.bridge.service import Service
from orchestrator.errors import ConfigurationError
from orchestrator.local.messages import batch
from orchestrator.local.waiting_queue import EmulatedQueue
from tests.cli.bridge.conftest import QUEUE, jobs_of
from tests.cli.conftest import Command, Deployment, Result
from tests.support.aws import ACCOUNT_ID, REGION, Requests
from tests.support.events import json_lines, sample
from tests.support.redis_server import PASSWORD, URL_PASSWORD, RedisServer
from tests.template.stack import STACK

BULLMQ = ("bridge", "bullmq", "--queue", QUEUE)
LONGEST_SECONDS = 20


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """Restore the level that --quiet sets."""
    level = telemetry.logger.log_level
    yield
    telemetry.logger.setLevel(level)


@pytest.fixture
def run(command: Command) -> Callable[..., Result]:
    """Run the command until a condition holds, and then end it as container platforms do."""

    def run_until(is_done: Callable[[], Any], *arguments: str) -> Result:
        def end() -> None:
            until = time.monotonic() + LONGEST_SECONDS
            while time.monotonic() < until and not is_done():
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=end)
        thread.start()
        result = command(*BULLMQ, *arguments)
        thread.join()
        return result

    return run_until


def add(redis: RedisServer, data: dict[str, Any]) -> None:
    async def one() -> None:
        async with jobs_of(redis) as queue:
            await queue.add(data)

    asyncio.run(one())


def number_of(state: str, redis: RedisServer) -> int:
    async def count() -> int:
        async with jobs_of(redis) as queue:
            return (await queue.counts()).get(state, 0)

    return asyncio.run(count())


def waiting_queue() -> str:
    return boto3.client("sqs").create_queue(QueueName="waiting")["QueueUrl"]


def test_a_job_starts_the_tenants_build_in_a_deployed_stack(
    stack: Deployment,
    run: Callable[..., Result],
    redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", redis.url)
    event = sample("tenant-provisioning")
    add(redis, {"type": event["detail-type"], **event["detail"]})

    # moto would deliver the message without its attributes.
    for mapping in boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]:
        boto3.client("lambda").update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)

    result = run(lambda: number_of("completed", redis), "--stack", STACK)
    waiting = EmulatedQueue(stack.account.names["WaitingQueue"], boto3.client("sqs"))
    (message,) = waiting.receive_all()
    stack.send(batch(message, waiting.url, waiting.region))

    assert result.code == 0
    assert len(stack.runs()) == 1
    lines = json_lines(result.out)
    assert lines[0]["message"].startswith(f"sending the events of BullMQ queue '{QUEUE}' to {STACK}-WaitingQueue")
    (sent,) = [line for line in lines if line["message"] == "BullMQ job '1' is completed: SQS has its event"]
    assert sent["event_type"] == "TENANT_PROVISIONING"
    assert lines[-1]["message"] == "stopped"
    for secret in (PASSWORD, URL_PASSWORD):
        assert secret not in result.out + result.err


def test_quiet_prints_only_errors(
    run: Callable[..., Result], redis: RedisServer, aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAITING_QUEUE_URL", waiting_queue())
    add(redis, {"type": "A"})

    result = run(lambda: number_of("completed", redis), "--redis-url", redis.url, "--quiet")

    assert (result.code, result.out, result.err) == (0, "", "")
    assert len(aws.of("SendMessage")) == 1


def test_a_redis_that_may_drop_jobs_is_warned_of(
    run: Callable[..., Result], aws: Requests, tmp_path: Path, redis: RedisServer
) -> None:
    with RedisServer(tmp_path, "--maxmemory-policy", "allkeys-lru") as forgetful:
        add(forgetful, {"type": "A"})
        result = run(
            lambda: number_of("completed", forgetful),
            "--redis-url",
            forgetful.url,
            "--waiting-queue-url",
            waiting_queue(),
        )

    assert "Redis has the maxmemory-policy 'allkeys-lru', so it may drop jobs" in result.out


def test_a_wrong_password_is_an_error_without_the_password(command: Command, redis: RedisServer, aws: Requests) -> None:
    url = f"redis://:wr%2Fong@127.0.0.1:{redis.port}"

    result = command(*BULLMQ, "--redis-url", url, "--waiting-queue-url", waiting_queue())

    assert result.code == 1
    error = "ConfigurationError: Redis refuses the user or the password; correct REDIS_URL"
    assert (result.out, result.err) == ("", f"orchestrator: {error}\n")


@pytest.mark.parametrize("url", ["redis://:pa/ss@host:6379", "http://:pa@host", "redis://host?socket_timeout=pa"])
def test_a_url_that_is_not_redis_is_an_error_without_the_url(command: Command, url: str) -> None:
    result = command(*BULLMQ, "--redis-url", url)

    assert (result.code, result.out) == (1, "")
    assert result.last_error.startswith("orchestrator: ConfigurationError: the URL of Redis is not one; write it as")
    assert "pa" not in result.err.replace("PASSWORD", "").replace("password", "")


def test_the_settings_that_are_missing_are_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "REDIS_URL is not set; set it, or name the Redis server" in command(*BULLMQ).last_error

    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1")
    assert "WAITING_QUEUE_URL is not set in this shell's settings" in command(*BULLMQ).last_error

    queue = ("--waiting-queue-url", f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT_ID}/waiting.fifo")
    assert "WAITING_QUEUE_URL is a FIFO queue" in command(*BULLMQ, *queue).last_error


def test_a_queue_that_does_not_exist_is_named_at_the_start(command: Command, aws: Requests) -> None:
    url = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT_ID}/absent"

    result = command(*BULLMQ, "--redis-url", "redis://127.0.0.1", "--waiting-queue-url", url)

    assert result.code == 1
    assert "ConfigurationError: the queue that WAITING_QUEUE_URL names could not be read" in result.last_error


def test_a_bridge_starts_while_sqs_is_down(
    run: Callable[..., Result], redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    add(redis, {"type": "A"})

    result = run(
        lambda: number_of("active", redis), "--redis-url", redis.url, "--waiting-queue-url", f"{url}/1/waiting"
    )

    assert result.code == 0
    assert "SQS failed, and is tried again: its event was not sent: AWS was not reached" in result.out
    assert "BullMQ job '1' was given back" in result.out


def test_a_missing_extra_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "orchestrator.cli.bridge.jobs":
            raise ModuleNotFoundError("No module named 'bullmq'", name="bullmq")
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)

    result = command(*BULLMQ)

    assert result.last_error.endswith(
        "needs bullmq; install this package with its extra: pip install 'tenant-orchestrator[bullmq]'"
    )


def asked(port: int, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_health_is_about_the_process_and_about_what_it_depends_on() -> None:
    redis, sqs = Service("Redis"), Service("SQS")

    async def scenario() -> list[tuple[int, Any]]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        async with serving(port, (redis, sqs)):
            answers = [await asyncio.to_thread(asked, port, "/live")]
            answers.append(await asyncio.to_thread(asked, port, "/ready"))
            redis.worked()
            sqs.worked()
            answers.append(await asyncio.to_thread(asked, port, "/ready"))
            redis.failed(OSError("no route"))
            answers.append(await asyncio.to_thread(asked, port, "/ready"))
            answers.append(await asyncio.to_thread(asked, port, "/"))
        return answers

    assert asyncio.run(scenario()) == [
        (200, {"bridge": "works"}),
        (503, {"Redis": "has not answered yet", "SQS": "has not answered yet"}),
        (200, {"Redis": "answers", "SQS": "answers"}),
        (503, {"Redis": "OSError: no route", "SQS": "answers"}),
        (404, {"paths": "/live, /ready"}),
    ]


def test_a_health_port_that_is_taken_is_an_error() -> None:
    async def scenario(port: int) -> None:
        async with serving(port, ()):
            pass

    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"^--health-port {port} cannot be listened on"):
            asyncio.run(scenario(port))
