"""Runs `async` consumers on one asyncio loop, in a thread that runs nothing else.

`asyncio.run` would create a new loop for each event. A client that a consumer keeps from one event to the next would
then belong to a loop that is closed. `asyncio.run` would also remove the current loop of the thread that calls the
handler, and a program that calls the handler, such as a test, may need that loop.
"""

import asyncio
import atexit
import contextvars
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

_END_SECONDS = 1.0


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on the shared loop, with the caller's context variables, and wait until it has ended.

    If the caller itself runs on the shared loop, the coroutine runs on a new loop in another thread. A coroutine that
    blocks without awaiting holds up all other coroutines on its loop.

    Returns:
        The coroutine's result. If the coroutine raises an exception, this function raises the same exception.
    """
    loop = _shared_loop()
    if loop.is_calling():  # an async consumer has called a handler, so waiting here would block the loop for ever
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(contextvars.copy_context().run, asyncio.run, coroutine).result()
    return loop.run(coroutine)


class _Loop:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._is_ending = False
        self._thread = threading.Thread(target=self._serve, name="async-consumers", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    def is_calling(self) -> bool:
        return threading.current_thread() is self._thread

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        result, error = asyncio.run_coroutine_threadsafe(_caught(coroutine), self._loop).result()
        if error is not None:
            raise error
        return result

    def _stop(self, _: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve(self) -> None:
        while not self._is_ending:
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                continue  # raised by a task; its caller gets the exception too

    def _end(self) -> None:
        self._is_ending = True
        ended = asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop)
        ended.add_done_callback(self._stop)
        self._thread.join(_END_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()


async def _caught(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    try:
        return await coroutine, None
    except BaseException as error:
        return None, error


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


_lock = threading.Lock()


def _shared_loop() -> _Loop:
    with _lock:  # `cache` alone would let two threads create a loop each
        return _made_loop()


@cache
def _made_loop() -> _Loop:
    return _Loop()
