"""Async consumers share one loop."""

import asyncio
import threading

import pytest

from orchestrator import Event, Registry, create_handler, telemetry
from tests.conftest import invoke, json_lines, sample


class Client:
    """Bound to the loop that it is made on, with a task that works between events, as a connection pool has."""

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


def test_a_client_that_is_bound_to_the_loop_is_good_for_the_next_event() -> None:
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
