"""A bridge against a real Redis: each job's event is sent, and nothing is lost."""

import asyncio
import threading
from typing import Any

import pytest

from orchestrator import InvalidEvent, Unavailable
from orchestrator.cli.bridge.event_message import EventMessage
from orchestrator.cli.bridge.jobs import JobLost, Jobs
from tests.cli.bridge.conftest import QUEUE, Sqs, bridging, jobs_of, until
from tests.support.redis_server import RedisServer

DOWN = Unavailable("its event was not sent: AWS was not reached; a retry may succeed")


def test_the_event_of_a_job_is_sent_and_the_job_completed(redis: RedisServer, sqs: Sqs) -> None:
    async def scenario() -> None:
        async with jobs_of(redis) as queue, bridging(redis, sqs.send):
            early = await queue.add({"type": "A", "tenantId": "t1"}, timestamp=1795510800123)
            await until(lambda: sqs.sent)
            late = await queue.add({"type": "B"}, removeOnComplete=True)
            await until(lambda: len(sqs.sent) == 2)
            await until(lambda: is_in(queue, early, "completed"))
            await until(lambda: is_in(queue, late, "unknown"))

    asyncio.run(scenario())

    first = sqs.sent[0]
    assert (first.event_type, first.body) == ("A", '{"tenantId":"t1"}')
    assert first.event_id == "bullmq:events:1:1795510800123"


def test_delayed_and_prioritized_jobs_are_sent(redis: RedisServer, sqs: Sqs) -> None:
    async def scenario() -> None:
        async with jobs_of(redis) as queue, bridging(redis, sqs.send):
            await queue.add({"type": "LATER"}, delay=300)
            await queue.add({"type": "FIRST"}, priority=1)
            await until(lambda: len(sqs.sent) == 2)

    asyncio.run(scenario())

    assert sqs.types == ["FIRST", "LATER"]


def test_a_job_without_an_event_fails_and_stays_while_the_next_is_sent(
    redis: RedisServer, sqs: Sqs, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        async with jobs_of(redis) as queue:
            bad = await queue.add({"tenantId": "s3cret"}, removeOnFail=True, attempts=5)
            await queue.add({"type": "A"})
            async with bridging(redis, sqs.send, concurrency=1):
                await until(lambda: sqs.sent)
            assert await queue.state(bad) == "failed"
            reason = await queue.field(bad, "failedReason")
            assert reason == "its data must have the event's type in `type`, as printable text, but has none"
            assert await queue.field(bad, "data") == '{"tenantId":"s3cret"}'

    asyncio.run(scenario())

    out = capsys.readouterr().out
    assert "BullMQ job '1' was moved to the failed ones: its data must have" in out
    assert "s3cret" not in out


@pytest.mark.parametrize(
    ("name", "value"), [("data", "no JSON"), ("data", '{"a":' * 9999 + "1" + "}" * 9999), ("timestamp", "1.5")]
)
def test_a_job_that_cannot_be_read_fails_and_stays(redis: RedisServer, sqs: Sqs, name: str, value: str) -> None:
    async def scenario() -> None:
        async with jobs_of(redis) as queue:
            bad = await queue.add({"type": "A"})
            await queue.bull.backend.conn.hset(f"bull:{QUEUE}:{bad}", name, value)
            await queue.add({"type": "B"})
            async with bridging(redis, sqs.send):
                await until(lambda: is_in(queue, bad, "failed"))
                await until(lambda: sqs.sent)
            assert "it cannot be read (" in str(await queue.field(bad, "failedReason"))
            assert await queue.field(bad, name) == value

    asyncio.run(scenario())


def test_an_event_that_sqs_will_never_take_fails(redis: RedisServer, sqs: Sqs) -> None:
    sqs.error = InvalidEvent("its event was not sent: it would have 2,000,000 bytes")

    async def scenario() -> None:
        async with jobs_of(redis) as queue, bridging(redis, sqs.send):
            bad = await queue.add({"type": "A"})
            await until(lambda: is_in(queue, bad, "failed"))

    asyncio.run(scenario())

    assert len(sqs.tries) == 1


def test_while_sqs_is_down_jobs_are_held_and_no_more_are_taken(redis: RedisServer, sqs: Sqs, soon: None) -> None:
    sqs.error = DOWN

    async def scenario() -> None:
        async with jobs_of(redis) as queue, bridging(redis, sqs.send, concurrency=2) as bridge:
            for number in range(5):
                await queue.add({"type": f"T{number}"})
            await until(lambda: len(sqs.tries) > 8)
            assert await queue.counts() == {"active": 2, "waiting": 3}
            assert bridge.sqs.failure == f"Unavailable: {DOWN}"
            sqs.error = None
            await until(lambda: len(sqs.sent) == 5)
            await until(lambda: bridge.sqs.failure is None)

    asyncio.run(scenario())

    assert sqs.types == ["T0", "T1", "T2", "T3", "T4"]


def test_a_bridge_that_stops_while_sqs_is_down_gives_its_jobs_back(redis: RedisServer, sqs: Sqs) -> None:
    sqs.error = DOWN

    async def scenario() -> None:
        async with jobs_of(redis) as queue:
            job = await queue.add({"type": "A"}, attempts=1)
            async with bridging(redis, sqs.send):
                await until(lambda: sqs.tries)
            assert await queue.counts() in ({"delayed": 1}, {"waiting": 1})
            assert await queue.field(job, "atm") is None
            sqs.error = None
            async with bridging(redis, sqs.send):
                await until(lambda: is_in(queue, job, "completed"))

    asyncio.run(scenario())

    assert len({*sqs.tries}) == 1


def test_a_bridge_that_stops_finishes_what_is_being_sent(redis: RedisServer, sqs: Sqs) -> None:
    slow = Slow(sqs)

    async def scenario() -> None:
        async with jobs_of(redis) as queue:
            job = await queue.add({"type": "A"})
            async with bridging(redis, slow.send, concurrency=1) as bridge:
                await until(slow.has_begun.is_set)
                later = await queue.add({"type": "B"})
                await bridge.stop()
                slow.goes_on.set()
            assert (await queue.state(job), await queue.state(later)) == ("completed", "waiting")

    asyncio.run(scenario())

    assert sqs.types == ["A"]


def test_a_job_is_locked_for_as_long_as_it_is_held(redis: RedisServer, sqs: Sqs, soon: None) -> None:
    sqs.error = DOWN
    other = Sqs()

    async def scenario() -> None:
        async with jobs_of(redis) as queue, bridging(redis, sqs.send, lock_seconds=1):
            job = await queue.add({"type": "A"})
            await until(lambda: sqs.tries)
            async with bridging(redis, other.send, lock_seconds=1):
                await asyncio.sleep(
                    3.5
                )  # a lock that is not renewed would be lost by now, and the job sent by the other
            sqs.error = None
            await until(lambda: is_in(queue, job, "completed"))

    asyncio.run(scenario())

    assert (sqs.types, other.types) == (["A"], [])


def test_a_job_whose_bridge_was_killed_many_times_is_sent(
    redis: RedisServer, sqs: Sqs, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        async with jobs_of(redis) as queue:
            job = await queue.add({"type": "A"})
            for _ in range(3):
                await take_and_die(redis)
            async with bridging(redis, sqs.send, lock_seconds=1):
                await until(lambda: is_in(queue, job, "completed"))

    asyncio.run(scenario())

    assert sqs.types == ["A"]
    assert "BullMQ job '1' is back in the queue: its bridge was killed or lost Redis" in capsys.readouterr().out


def test_a_job_that_another_bridge_has_by_now_is_left_to_it(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with jobs_of(redis) as queue:
            job_id = await queue.add({"type": "A"})
            jobs = Jobs(redis.url, QUEUE, 30)
            job = await jobs.take()
            assert job is not None
            await queue.bull.backend.conn.set(f"bull:{QUEUE}:{job_id}:lock", "another's")
            for move in (jobs.complete(job), jobs.fail(job, "x"), jobs.give_back(job)):
                with pytest.raises(JobLost, match=r"^BullMQ job '1' was not moved: "):
                    await move
            assert await queue.state(job_id) == "active"
            await jobs.close()

    asyncio.run(scenario())


def test_a_bridge_that_lost_its_lock_goes_on_with_the_next_job(
    redis: RedisServer, sqs: Sqs, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = Slow(sqs)

    async def scenario() -> None:
        async with jobs_of(redis) as queue, bridging(redis, slow.send, concurrency=1):
            lost = await queue.add({"type": "A"})
            await until(slow.has_begun.is_set)
            await queue.bull.backend.conn.set(f"bull:{QUEUE}:{lost}:lock", "another's")
            slow.goes_on.set()
            later = await queue.add({"type": "B"})
            await until(lambda: is_in(queue, later, "completed"))
            assert await queue.state(lost) == "active"

    asyncio.run(scenario())

    assert "BullMQ job '1' was not moved: " in capsys.readouterr().out


def test_a_bridge_waits_for_redis_and_goes_on(
    redis: RedisServer, sqs: Sqs, soon: None, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = Slow(sqs)

    async def scenario() -> None:
        async with bridging(redis, slow.send) as bridge:
            async with jobs_of(redis) as queue:
                await queue.add({"type": "A"})
                await until(slow.has_begun.is_set)
            redis.kill()
            slow.goes_on.set()
            await until(lambda: bridge.redis.failure)
            redis.start()
            async with jobs_of(redis) as queue:
                await until(lambda: is_in(queue, "1", "completed"))
                await queue.add({"type": "B"})
                await until(lambda: len(sqs.sent) == 2)
            await until(lambda: bridge.redis.failure is None)

    asyncio.run(scenario())

    assert sqs.types == ["A", "B"]
    assert "Redis answers again" in capsys.readouterr().out


class Slow:
    """Sends nothing before `goes_on` is set."""

    def __init__(self, sqs: Sqs) -> None:
        self.has_begun, self.goes_on = threading.Event(), threading.Event()
        self._sqs = sqs

    def send(self, message: EventMessage) -> None:
        self.has_begun.set()
        self.goes_on.wait(10)
        self._sqs.send(message)


async def is_in(queue: Any, job_id: str, state: str) -> bool:
    return bool(await queue.state(job_id) == state)


async def take_and_die(redis: RedisServer) -> None:
    """Take the next job, as a bridge does that is killed then, and wait until it is noticed."""
    jobs = Jobs(redis.url, QUEUE, 1)
    tending = asyncio.create_task(jobs.tend())
    job = None
    while job is None:
        job = await jobs.take()
    tending.cancel()
    jobs.let_go(job)
    await jobs.close()
