"""A child process with the function in it: one execution environment of Lambda."""

import json
import math
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Child:
    """Takes one delivery at a time, and can be killed at any moment.

    Attributes:
        name: Its access key id and Jenkins user, by which its requests are known.
        timeout: Seconds that an invocation may take; like Lambda, the child is killed when they are over.
        busy_with: What the delivery that it has in hand is for; the driver's to use.
    """

    def __init__(self, name: str, timeout: float, environment: Mapping[str, str]) -> None:
        """Start the process and wait until it can take a delivery."""
        self.name = name
        self.timeout = timeout
        self.busy_with = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.worker", str(timeout)],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        assert self._stdout.readline() == b"ready\n", "the worker does not start; see its standard error"

    def deliver(self, event: Mapping[str, Any], doom: float = math.inf) -> dict[str, Any] | None:
        """Hand an event to the function.

        Args:
            event: The event.
            doom: Seconds after which it is killed in any case, if it is not done by then.

        Returns:
            The worker's result, or `None` where the child was killed first; it is closed then.
        """
        timer = threading.Timer(min(doom, self.timeout), self.kill)
        timer.start()
        try:
            self._stdin.write(json.dumps(event).encode() + b"\n")
            self._stdin.flush()
            line = self._stdout.readline()
        except BrokenPipeError:
            line = b""
        timer.cancel()
        timer.join()
        if line.endswith(b"\n"):
            result: dict[str, Any] = json.loads(line)
            return result
        self.close()
        assert self._process.returncode == -signal.SIGKILL, f"the worker ended with {self._process.returncode}"
        return None

    def kill(self) -> None:
        """Send SIGKILL, and see it die."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let the process end, and tidy up."""
        self._process.communicate()
