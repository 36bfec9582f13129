"""An HTTP exchange ends in time, even with a misbehaving server."""

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ReadTimeoutError

from orchestrator.timing import deadline
from orchestrator.timing.http import HTTPPool
from tests.support.dripping import DrippingServer

# With a limit for each single byte, a dripping server could take far longer than this.
FAR_TOO_LONG_SECONDS = 5.0


def pool(address: str, *, connect: float = 2.0, read: float = 2.0) -> urllib3.HTTPConnectionPool:
    host, _, port = address.partition(":")
    return HTTPPool(host, int(port), timeout=urllib3.Timeout(connect=connect, read=read), retries=False)


@contextlib.contextmanager
def soon() -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < FAR_TOO_LONG_SECONDS


def test_a_dripping_head_is_cut_off() -> None:
    with DrippingServer() as server, pool(server.address, read=0.3) as http:
        with soon(), pytest.raises(ReadTimeoutError):
            http.request("GET", "/")
        assert len(server.requests) == 1


def test_a_dripping_body_is_cut_off() -> None:
    beginning = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    with DrippingServer(beginning) as server, pool(server.address, read=0.3) as http, soon():
        response = http.request("GET", "/", preload_content=False)
        assert response.status == 200
        with pytest.raises(ReadTimeoutError):
            response.read()


def test_dripping_chunks_are_cut_off() -> None:
    beginning = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"
    with DrippingServer(beginning) as server, pool(server.address, read=0.3) as http, soon():
        response = http.request("GET", "/", preload_content=False)
        with pytest.raises(ReadTimeoutError):
            response.read()


def test_an_exchange_ends_at_the_deadline() -> None:
    with DrippingServer() as server, pool(server.address, read=60) as http, deadline.within(0.3):  # noqa: SIM117
        with soon(), pytest.raises(ReadTimeoutError):
            http.request("GET", "/")


def test_a_request_that_is_not_read_is_cut_off_and_may_have_arrived() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        with pool(address, connect=0.2, read=0.2) as http, soon(), pytest.raises(ReadTimeoutError, match="not taken"):
            http.request("POST", "/", body=b"x" * 64 * 1024 * 1024)


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address where connecting never ends: the listener's queue is full, and nothing accepts from it."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address: tuple[str, int] = listener.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield address


def test_all_addresses_of_a_host_share_the_time_to_connect(
    silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    one: Any = (socket.AF_INET, socket.SOCK_STREAM, 0, "", silent)
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest: [one] * 30 if host == "many.example" else resolve(host, *rest)
    )

    with pool(f"many.example:{silent[1]}", connect=0.5) as http, soon(), pytest.raises(ConnectTimeoutError):
        http.request("GET", "/")


def test_the_next_address_is_tried_if_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with DrippingServer(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        port = int(server.address.partition(":")[2])
        entries: Any = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.2", port)),
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)),
        ]
        resolve = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *rest: entries if host == "two.example" else resolve(host, *rest)
        )

        with pool(f"two.example:{port}") as http:
            assert http.request("GET", "/").status == 204


def test_a_refused_connection_raises_urllib3s_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pool(f"127.0.0.1:{port}") as http, pytest.raises(NewConnectionError):
        http.request("GET", "/")


def test_an_invalid_name_raises_urllib3s_error() -> None:
    with pool("a..b:80") as http, pytest.raises(NameResolutionError):
        http.request("GET", "/")


def test_without_time_limits_a_request_works() -> None:
    with DrippingServer(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        host, _, port = server.address.partition(":")
        with HTTPPool(host, int(port), retries=False) as http:
            assert http.request("GET", "/").status == 204


def test_a_reused_connection_gets_the_time_limit_of_the_new_exchange() -> None:
    from orchestrator.local.http_server import Answer, LocalServer

    server = LocalServer(lambda request: Answer(200, "x" * 100_000)).start()
    try:
        with pool(server.address) as http:
            with deadline.within(1.0):
                assert len(http.request("GET", "/").data) == 100_000
            assert len(http.request("POST", "/", body=b"y" * 100_000).data) == 100_000
        assert len({request.connection for request in server.requests}) == 1
        assert server.requests[1].body == b"y" * 100_000
    finally:
        server.stop()
