"""Forwards a bridge's connections to Redis and to SQS, and kills the bridge at a chosen point."""

import contextlib
import socket
import threading
from collections.abc import Callable

# Every change of a job is a script.
_FIRST = b"EVALSHA"


class Points:
    """Counts what passes between a bridge and its services, and kills the bridge before a chosen one passes.

    Each request and each answer is a point, from the first request that is about a job. A bridge that is killed before
    its request passes has done nothing by it; one that is killed before the answer passes has, but does not know.

    Attributes:
        count: How many points have passed.
    """

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()
        self._kill: tuple[int, Callable[[], None]] | None = None

    def start(self, number: int | None, kill: Callable[[], None]) -> None:
        """Count from the beginning.

        Args:
            number: The number of the point before which to kill, from 1; `None` kills nothing.
            kill: Kills the bridge.
        """
        with self._lock:
            self.count = 0
            self._kill = None if number is None else (number, kill)

    def passes(self, data: bytes) -> bool:
        """Count a point. Return whether it may pass."""
        with self._lock:
            if self.count == 0 and _FIRST not in data:
                return True
            if self._kill is not None and self.count + 1 >= self._kill[0]:
                self._kill[1]()
                return False
            self.count += 1
            return True


class Proxy:
    """Forwards connections from a free loopback port, until the process ends."""

    def __init__(self, port: int, points: Points) -> None:
        """Start to forward to a loopback port, and count what passes."""
        self._target, self._points = port, points
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            service = socket.create_connection(("127.0.0.1", self._target))
            for source, target in ((client, service), (service, client)):
                threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(1 << 20)) and self._points.passes(data):
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
