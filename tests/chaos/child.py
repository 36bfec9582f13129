"""A child process with the function in it: one execution environment of Lambda."""

import json
import math
import multiprocessing
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.chaos import worker

ROOT = Path(__file__).parents[2]
# A process that has imported everything is forked for each child: a start takes milliseconds, and many are killed.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([worker.PRELOADED])
# The start of a process looks after all others: of two threads that wait for one, one never learns how it ended.
_waiting = threading.Lock()


class Child:
    """Takes one delivery at a time, and can be killed at any moment.

    Attributes:
        name: Its access key id and Jenkins user, by which its requests are known.
        timeout: Seconds that an invocation may take; like Lambda, the child is killed when they are over.
        busy_with: What the delivery that it has in hand is for; the driver's to use.
        began: When it got that delivery, by the monotonic clock.
    """

    def __init__(self, name: str, timeout: float, ahead: float, environment: Mapping[str, str]) -> None:
        """Start the process, whose clock is so many seconds ahead, and wait until it can take a delivery."""
        self.name = name
        self.timeout = timeout
        self.busy_with = ""
        self.began = 0.0
        self._connection, theirs = _FORKS.Pipe()
        self._process = _FORKS.Process(
            target=worker.work, args=(theirs, timeout, ahead, dict(environment)), name=name, daemon=True
        )
        with _waiting:
            self._process.start()
        theirs.close()
        assert self._connection.recv_bytes() == worker.READY, "the worker does not start; see its standard error"

    def deliver(self, event: Mapping[str, Any], doom: float = math.inf) -> dict[str, Any] | None:
        """Hand an event to the function.

        Args:
            event: The event.
            doom: Seconds after which it is killed in any case, if it is not done by then.

        Returns:
            The worker's result, or `None` where the child was killed first; it is closed then.
        """
        self.began = time.monotonic()
        timer = threading.Timer(min(doom, self.timeout), self.kill)
        timer.start()
        try:
            self._connection.send_bytes(json.dumps(event).encode())
            result: dict[str, Any] = json.loads(self._connection.recv_bytes())
            return result
        except (ConnectionError, EOFError):
            pass
        finally:
            timer.cancel()
            timer.join()
        self._join()
        self._connection.close()
        assert self._process.exitcode == -signal.SIGKILL, f"the worker ended with {self._process.exitcode}"
        return None

    def kill(self) -> None:
        """Send SIGKILL, and see it die."""
        self._process.kill()
        self._join()

    def close(self) -> None:
        """Let the process end, and tidy up."""
        self._connection.close()
        self._join()

    def _join(self) -> None:
        with _waiting:
            self._process.join()
