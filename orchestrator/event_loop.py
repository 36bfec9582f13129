"""One asyncio loop for all `async` consumers, in a thread of its own.

`asyncio.run` would make a loop for each event, on which no client could be kept, and would leave the calling thread
without one. The host's own loop, running or not, is left alone.
"""

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on the loop, with the caller's context variables, and wait for it.

    Args:
        coroutine: What to run. While it blocks without awaiting, all others wait.

    Returns:
        What it returns.

    Raises:
        BaseException: What it raises.
    """
    result, error = asyncio.run_coroutine_threadsafe(_caught(coroutine), _loop()).result()
    if error is not None:
        raise error
    return result


async def _caught(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    # A SystemExit that reached the loop would end its thread.
    try:
        return await coroutine, None
    except BaseException as error:
        return None, error


_lock = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:  # two threads must not make one each
        return _started_loop()


@cache
def _started_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="async-consumers", daemon=True)
    thread.start()
    atexit.register(_stop, loop, thread)
    return loop


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=1)
    if not loop.is_running():
        loop.close()
