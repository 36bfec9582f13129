"""A real Redis, jobs in it, and bridges in this process."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.bridge import bridge, service
from orchestrator.cli.bridge.event_message import EventMessage
from orchestrator.cli.bridge.jobs import Jobs
from tests.support.redis_server import IS_INSTALLED, RedisServer

QUEUE = "events"


@pytest.fixture(scope="session")
def redis_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if not IS_INSTALLED:
        pytest.skip("takes redis-server")
    with RedisServer(Path(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.fixture
def redis(redis_of_session: RedisServer) -> RedisServer:
    redis_of_session.flush()
    return redis_of_session


@dataclass
class Sqs:
    """Keeps what is sent, and fails as long as `error` is set.

    Attributes:
        tries: The ids of the events of all calls, also of those that failed.
    """

    error: Exception | None = None
    sent: list[EventMessage] = field(default_factory=list)
    tries: list[str] = field(default_factory=list)

    def send(self, message: EventMessage) -> None:
        self.tries.append(message.event_id)
        if self.error is not None:
            raise self.error
        self.sent.append(message)

    @property
    def types(self) -> list[str]:
        return sorted(message.event_type for message in self.sent)


@pytest.fixture
def sqs() -> Sqs:
    return Sqs()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a bridge wait only shortly after a failure."""
    monkeypatch.setattr(service, "_FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(service, "_LONGEST_WAIT_SECONDS", 0.1)


@asynccontextmanager
async def bridging(
    redis: RedisServer, send: Callable[[EventMessage], None], *, concurrency: int = 10, lock_seconds: int = 30
) -> AsyncIterator[bridge.Bridge]:
    """Run a bridge during the block, and stop it at the end."""
    running = bridge.Bridge(Jobs(redis.url, QUEUE, lock_seconds), send, concurrency)
    task = asyncio.create_task(running.run())
    try:
        yield running
    finally:
        await running.stop()
        await asyncio.wait_for(task, 30)


async def until(is_true: Callable[[], Any | Coroutine[Any, Any, Any]], seconds: float = 15) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while True:
        found = is_true()
        if await found if asyncio.iscoroutine(found) else found:
            return
        assert time.monotonic() < end, "the condition does not hold in time"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def jobs_of(redis: RedisServer) -> AsyncIterator["Queue"]:
    """Connect to the queue as a producer."""
    from bullmq import Queue as BullQueue

    queue = BullQueue(QUEUE, {"connection": redis.url})
    try:
        yield Queue(queue)
    finally:
        await queue.close()


@dataclass
class Queue:
    """The queue, as a producer and a dashboard see it."""

    bull: Any

    async def add(self, data: Any, **options: Any) -> str:
        return str((await self.bull.add("an event", data, options)).id)

    async def state(self, job_id: str) -> str:
        return str(await self.bull.backend.getState(job_id))

    async def field(self, job_id: str, name: str) -> str | None:
        value: str | None = await self.bull.backend.conn.hget(f"bull:{QUEUE}:{job_id}", name)
        return value

    async def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state that has any."""
        found = await self.bull.getJobCounts("active", "completed", "delayed", "failed", "waiting")
        return {state: number for state, number in found.items() if number}
