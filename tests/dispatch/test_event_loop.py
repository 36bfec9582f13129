"""Async consumers share one loop."""

import asyncio
import threading

import pytest

from orchestrator import ConsumerFailed, Event, Registry, create_handler, telemetry
from tests.support.events import invoke, json_lines, sample


class Client:
    """A client bound to its event loop, with a task between events, as a connection pool has."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.answered: list[str] = []
        self._requests: asyncio.Queue[asyncio.Future[str]] = asyncio.Queue()
        self._task = asyncio.create_task(self._answer())

    async def ask(self, name: str) -> None:
        answer = self.loop.create_future()
        await self._requests.put(answer)
        self.answered.append(f"{await answer} {name}")

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._task.cancel)

    async def _answer(self) -> None:
        while True:
            (await self._requests.get()).set_result("hello")


def test_a_client_that_is_bound_to_the_loop_works_for_the_next_event() -> None:
    registry = Registry()
    clients: list[Client] = []

    @registry.consumer("A")
    async def later(event: Event) -> None:
        if not clients:
            clients.append(Client())
        await clients[0].ask(event.id)

    handler = create_handler(registry)
    for name in ("one", "two"):
        invoke(handler, sample("tenant-provisioning", id=name) | {"detail-type": "A"})

    assert clients[0].answered == ["hello one", "hello two"]
    clients[0].close()


def test_async_consumers_of_several_threads_share_the_loop_and_keep_their_own_event(
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry = Registry()
    everyone = asyncio.Event()
    here: list[str] = []

    @registry.consumer("A")
    async def later(event: Event) -> None:
        here.append(event.id)
        if len(here) == 8:
            everyone.set()
        await asyncio.wait_for(everyone.wait(), timeout=10)
        telemetry.logger.info("working", expected=event.id)

    handler = create_handler(registry)
    threads = [
        threading.Thread(
            target=invoke, args=[handler, sample("tenant-provisioning", id=str(number)) | {"detail-type": "A"}]
        )
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    working = [line for line in json_lines(capsys.readouterr().out) if line.get("message") == "working"]
    assert len(working) == 8
    assert all(line["correlation_id"] == line["expected"] for line in working)


@pytest.mark.parametrize("ends", [SystemExit("do-not-tell"), KeyboardInterrupt()])
def test_an_exit_in_a_task_ends_only_its_consumer(ends: BaseException) -> None:
    registry = Registry()

    async def child() -> None:
        raise ends

    @registry.consumer("A")
    async def parent(event: Event) -> None:
        await asyncio.gather(child())

    @registry.consumer("B")
    async def later(event: Event) -> None:
        await asyncio.sleep(0)

    handler = create_handler(registry)
    with pytest.raises((ConsumerFailed, KeyboardInterrupt)):
        invoke(handler, sample("tenant-provisioning") | {"detail-type": "A"})

    assert invoke(handler, sample("tenant-provisioning") | {"detail-type": "B"})["consumers"][0]["name"] == "later"


def test_a_consumer_that_stops_the_loop_still_completes() -> None:
    registry = Registry()

    @registry.consumer("A")
    async def stop(event: Event) -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)

    handler = create_handler(registry)
    for _ in range(2):
        assert invoke(handler, sample("tenant-provisioning") | {"detail-type": "A"})["consumers"][0]["name"] == "stop"


def test_an_async_consumer_may_call_a_handler_with_async_consumers() -> None:
    registry = Registry()
    inner: list[str] = []

    @registry.consumer("A")
    async def outer(event: Event) -> None:
        invoke(handler, sample("tenant-provisioning", id="inner") | {"detail-type": "B"})

    @registry.consumer("B")
    async def within(event: Event) -> None:
        await asyncio.sleep(0)
        inner.append(event.id)

    handler = create_handler(registry)
    invoke(handler, sample("tenant-provisioning") | {"detail-type": "A"})

    assert inner == ["inner"]
