"""A server whose answers never end: it sends one byte at a time, so no read times out."""

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

_PAUSE_SECONDS = 0.02
# Then the connection closes, so that a test fails instead of hanging if its client never gives up.
_PATIENCE_SECONDS = 20.0


class DrippingServer:
    """Answers every request with `beginning`, then with one byte at a time.

    Attributes:
        address: Host and port.
        requests: The first bytes of each request.
    """

    def __init__(self, beginning: bytes = b"HTTP/1.1 200 OK\r\nX-Padding: ") -> None:
        self.requests: list[bytes] = []
        self._beginning = beginning
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self._stopping = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._drip, args=[connection], daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        with connection, contextlib.suppress(OSError):
            self.requests.append(connection.recv(65536))
            connection.sendall(self._beginning)
            while time.monotonic() < end and not self._stopping.wait(_PAUSE_SECONDS):
                connection.sendall(b"x")
