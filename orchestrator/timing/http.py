"""HTTP connections that limit the total time of a request and its answer.

A socket's timeout limits each wait for bytes, but not the sum of all waits: a server that sends one byte a second never
exceeds the timeout. These connections limit the sum. If the invocation ends sooner, the limit is shorter.
"""

import io
import math
import socket
import time
from http.client import HTTPResponse
from typing import Any, TypeVar

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)
from urllib3.util.connection import allowed_gai_family, create_connection

from orchestrator import telemetry
from orchestrator.timing import deadline

PoolT = TypeVar("PoolT", bound=HTTPConnectionPool)

_BLOCK_BYTES = 16 * 1024


def timed(pool: type[PoolT]) -> type[PoolT]:
    """Derive a class of connection pools that limits the total time of a request.

    The connect timeout limits the total time of connecting, even if the host has several addresses. The read timeout
    limits the total time of reading the answer's headers and body. The sum of both timeouts limits the whole request. A
    request that exceeds a limit raises `ConnectTimeoutError` or `ReadTimeoutError`. A DNS lookup is not interrupted: if
    it takes too long, the error is raised only after it.

    Args:
        pool: A pool class of urllib3, or of a library that is based on urllib3, such as botocore.
    """
    connection = type(f"Timed{pool.ConnectionCls.__name__}", (_TimedConnection, pool.ConnectionCls), {})
    return type(f"Timed{pool.__name__}", (_TimedPool, pool), {"ConnectionCls": connection})


def limit_time(http_session: Any) -> None:
    """Make an HTTP session of botocore limit the total time of each request (see `timed`).

    The limit is shorter if the invocation ends sooner.
    """
    # botocore has no setting for this: its read timeout limits each wait for bytes, not their sum.
    pools = http_session._pool_classes_by_scheme
    pools.update({scheme: timed(pool) for scheme, pool in pools.items()})


class _TimedPool(HTTPConnectionPool):
    def urlopen(self, method: str, url: str, *args: Any, **options: Any) -> Any:
        given = options.get("timeout")
        timeout = given if isinstance(given, Timeout) else self.timeout
        with deadline.within(_seconds(timeout.connect_timeout) + _seconds(timeout.read_timeout)):
            try:
                return super().urlopen(method, url, *args, **options)
            except ProtocolError as error:
                if isinstance(error.args[-1], TimeoutError):
                    raise ReadTimeoutError(self, url, "the request was not taken in time") from error
                raise


class _TimedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_TimedStream(sock, min(_seconds(sock.gettimeout()), deadline.seconds_left())))


class _TimedConnection(HTTPConnection):
    response_class = _TimedResponse

    def _new_conn(self) -> socket.socket:
        """Connect to the first of the host's addresses that answers.

        The timeout limits all attempts together; urllib3's own method allows the full timeout for each address.
        """
        with deadline.within(_seconds(self.timeout)):
            try:
                found = socket.getaddrinfo(self._dns_host, self.port, allowed_gai_family(), socket.SOCK_STREAM)
            except (socket.gaierror, UnicodeError) as error:  # UnicodeError: a label is empty or too long
                # urllib3 raises the same for a UnicodeError, although its annotation does not allow one.
                raise NameResolutionError(self.host, self, error) from error  # type: ignore[arg-type]
            failure = OSError("the host name has no address")
            for *_, address in found:
                try:
                    connected = create_connection(
                        (str(address[0]), self.port),
                        _left(),
                        source_address=self.source_address,
                        socket_options=self.socket_options,
                    )
                except OSError as error:
                    failure = error
                else:
                    connected.settimeout(_left(0.001))  # for the TLS handshake
                    return connected
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"connecting to {self.host} timed out") from failure
        raise NewConnectionError(self, f"connecting to {self.host} failed: {failure}") from failure

    def send(self, data: Any) -> None:
        """Send data in blocks, and limit each block to the time that is left.

        If all data were sent at once, a TLS socket would allow its full timeout for each TLS record.
        """
        blocks = [data]
        if isinstance(data, bytes) and len(data) > _BLOCK_BYTES:
            blocks = [data[start : start + _BLOCK_BYTES] for start in range(0, len(data), _BLOCK_BYTES)]
        for block in blocks:
            if self.sock is not None:
                self.sock.settimeout(_left())
            super().send(block)


class _TimedStream(io.RawIOBase):
    """Reads from a socket, and times out after a number of seconds in total, even if bytes still arrive."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._socket = sock
        self._stream = sock.makefile("rb", buffering=0)
        self._end = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not end in time")
        self._socket.settimeout(None if left == math.inf else left)
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _seconds(timeout: object) -> float:
    return timeout if isinstance(timeout, int | float) else math.inf


def _left(least: float = 0.0) -> float | None:
    left = max(deadline.seconds_left(), least)
    if left <= 0:
        raise TimeoutError("the time for the request is up")
    return None if left == math.inf else left


HTTPPool = timed(HTTPConnectionPool)
HTTPSPool = timed(HTTPSConnectionPool)

telemetry.quiet_new_loggers()  # this module may be the first to import urllib3, while an event is handled
