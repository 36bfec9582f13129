"""A child process that runs the function, as one Lambda execution environment does."""

import json
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from multiprocessing import spawn
from pathlib import Path
from typing import Any

from tests.chaos import worker

ROOT = Path(__file__).parents[2]
# Children are forked from a process that has imported everything: many are killed, so a start must be quick.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([worker.PRELOADED])
_prepared = spawn.get_preparation_data


def _without_main(name: str) -> dict[str, Any]:
    """Prepare a process that does not import the program again that has started it, such as pytest."""
    return {key: value for key, value in _prepared(name).items() if not key.startswith("init_main_")}


spawn.get_preparation_data = _without_main
# Starting a process also polls all others; if two threads wait for the same process, only one gets its exit code.
_waiting = threading.Lock()


class Child:
    """Takes one delivery at a time and can be killed at any moment.

    Attributes:
        name: Its access key id and Jenkins user, which identify its requests.
        timeout: Seconds after which an invocation is killed, as Lambda does.
        busy_with: Builder of the current delivery (or `SWEEP`); set by the driver.
        began: When the current delivery began, by the monotonic clock.
    """

    def __init__(self, name: str, timeout: float, ahead: float, environment: Mapping[str, str]) -> None:
        """Start the process, with its clock `ahead` by some seconds, and wait until it can take a delivery."""
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

    def deliver(
        self, event: Any, *, doom: float = math.inf, pause: tuple[float, float] = (math.inf, 0.0)
    ) -> dict[str, Any] | None:
        """Hand an event to the function.

        Args:
            event: The event, or a batch or an array of events.
            doom: Seconds after which the child is killed if it has not finished.
            pause: Seconds after which the child is stopped for a while if it has not finished, and for how long.

        Returns:
            The worker's result, or `None` if the child was killed first; it is then closed.
        """
        self.began = time.monotonic()
        timers = [threading.Timer(min(doom, self.timeout), self.kill)]
        if pause[0] < math.inf:
            timers.append(threading.Timer(pause[0], self._signal, [signal.SIGSTOP]))
            timers.append(threading.Timer(sum(pause), self._signal, [signal.SIGCONT]))
        for timer in timers:
            timer.start()
        try:
            self._connection.send_bytes(json.dumps(event).encode())
            result: dict[str, Any] = json.loads(self._connection.recv_bytes())
            return result
        except (ConnectionError, EOFError):
            pass
        finally:
            for timer in timers:
                timer.cancel()
                timer.join()
            if pause[0] < math.inf:
                self._signal(signal.SIGCONT)
        self._join()
        self._connection.close()
        assert self._process.exitcode == -signal.SIGKILL, f"the worker ended with {self._process.exitcode}"
        return None

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self._process.kill()
        self._join()

    def close(self) -> None:
        """End the process and wait for it."""
        self._connection.close()
        self._join()

    def _signal(self, number: int) -> None:
        with _waiting:
            if self._process.exitcode is None and self._process.pid is not None:
                os.kill(self._process.pid, number)

    def _join(self) -> None:
        with _waiting:
            self._process.join()
