"""An HTTP server on a loopback port. The server records every request, and a test can make requests fail."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Literal, Self
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Request:
    """A received request.

    Attributes:
        path: The URL's path without the query, percent-encoded as the client sent it.
        query: The names and values of the parameters in the URL.
        form: The names and values of the form's fields. It is empty if the body is not a form.
        connection: A number that identifies the TCP connection: the client's port. Requests that were sent over one
            connection have the same number.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    form: tuple[tuple[str, str], ...]
    headers: Message
    body: bytes
    connection: int

    @property
    def fields(self) -> dict[str, str]:
        """The URL's parameters and the form's fields, by name. A field replaces a parameter of the same name."""
        return dict((*self.query, *self.form))


@dataclass(frozen=True)
class Answer:
    """A response.

    If `headers` lacks `Content-Length`, the server adds this header, except to a response with the status 204. If
    `headers` contains `Content-Length`, the server sends the given value, and closes the connection after the body. A
    test can thus announce a longer body than the server sends.
    """

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Fault:
    effect: Literal["answer", "drop", "stall"]
    on: str
    after_acting: bool
    answer: Answer | None = None
    held: threading.Event = field(default_factory=threading.Event)


class Script:
    """Makes a server's next requests fail in the ways that a test chooses.

    The methods `answer`, `drop` and `stall` each add one fault. The fault applies to the next `times` requests that
    match the text `on`. If several faults match a request, only the one that was added first applies to the request.

    Each request is described by a line `METHOD /path AWS-OPERATION`, in which the path has no query. A request matches
    if this line contains the text `on`. The AWS operation is the value of the header `X-Amz-Target`. For example, the
    text `PutItem` matches the line `POST / DynamoDB_20120810.PutItem`. An empty text matches every request.

    With `after_acting`, the server carries out the request, and the fault affects only the answer. Without
    `after_acting`, the server does not carry out the request.
    """

    def __init__(self) -> None:
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()

    def answer(
        self,
        status: int,
        body: str = "",
        headers: Mapping[str, str] | None = None,
        *,
        on: str = "",
        times: int = 1,
        after_acting: bool = False,
    ) -> None:
        """Add a fault that sends the given response instead of the server's own.

        `Script` explains `on`, `times` and `after_acting`.
        """
        self._add(_Fault("answer", on, after_acting, Answer(status, body, headers or {})), times)

    def drop(self, *, on: str = "", times: int = 1, after_acting: bool = False) -> None:
        """Add a fault that closes the connection without an answer; `Script` explains the parameters."""
        self._add(_Fault("drop", on, after_acting), times)

    def stall(self, *, on: str = "", times: int = 1, after_acting: bool = False) -> threading.Event:
        """Add a fault that keeps the connection open without an answer until the server stops.

        `Script` explains the parameters.

        Returns:
            A `threading.Event` that is set as soon as the fault holds up a request.
        """
        fault = _Fault("stall", on, after_acting)
        self._add(fault, times)
        return fault.held

    def take(self, request: Request) -> _Fault | None:
        """Return the first fault that matches this request; `None` if no fault matches.

        The call uses up one of the fault's `times`.
        """
        line = f"{request.method} {request.path} {request.headers.get('X-Amz-Target', '')}"
        with self._lock:
            fault = next((fault for fault in self._faults if fault.on in line), None)
            if fault is not None:
                self._faults.remove(fault)
        return fault

    def _add(self, fault: _Fault, times: int) -> None:
        with self._lock:
            self._faults.extend([fault] * times)


class LocalServer:
    """An HTTP server on a free loopback port.

    Attributes:
        requests: Every request received, in order.
        script: Makes the next requests fail in the ways that a test chooses; see `Script`.
        scheme: `http` or `https`.
        address: The server's host and port, as in a URL.
    """

    def __init__(
        self,
        respond: Callable[[Request], Answer],
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Bind a free port of 127.0.0.1; `start` starts the server.

        Args:
            respond: Answers a request. Each connection has its own thread, so several threads may call `respond` at
                once.
            ssl_context: The context for TLS; `None` serves plain HTTP.
        """
        self.requests: list[Request] = []
        self.script = Script()
        self._respond = respond
        self._stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        handler = type("BoundHandler", (_Handler,), {"owner": self})
        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.scheme = "http"
        if ssl_context is not None:
            self.scheme = "https"
            # The handshake runs in the connection's own thread, so a client that never finishes it blocks no others.
            self._httpd.socket = ssl_context.wrap_socket(
                self._httpd.socket, server_side=True, do_handshake_on_connect=False
            )
        self.address = f"127.0.0.1:{self._httpd.server_port}"
        self._thread = threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)

    def start(self) -> Self:
        """Serve requests in a thread until `stop` is called. Return this server."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving: close the port and every open connection."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._thread.is_alive():
            self._httpd.shutdown()
        self._httpd.server_close()
        self.close_connections()

    def close_connections(self) -> None:
        """Close every open connection. The port stays open."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def opened(self, connection: socket.socket) -> None:
        """Register a new connection, so that `close_connections` can close it."""
        self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Unregister a connection that is about to be closed."""
        self._connections.discard(connection)

    def handle(self, request: Request) -> Answer | None:
        """Append a request to `requests`, and return the answer to send.

        If `script` has a fault for this request, the fault determines the answer. A fault of `Script.stall` blocks this
        method until the server stops. Without a fault, the function `respond` answers the request.

        Returns:
            The answer. `None` means that the connection must be closed without an answer.
        """
        self.requests.append(request)
        fault = self.script.take(request)
        if fault is None:
            return self._respond(request)
        if fault.after_acting:
            self._respond(request)
        if fault.effect == "stall":
            fault.held.set()
            self._stopping.wait()
        return fault.answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Jetty"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = 65536
    owner: ClassVar[LocalServer]

    def setup(self) -> None:
        super().setup()
        self.owner.opened(self.connection)

    def handle(self) -> None:
        # A client may hang up at any moment, or never finish its TLS handshake.
        with contextlib.suppress(OSError):
            super().handle()

    def finish(self) -> None:
        self.owner.closed(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        """Write nothing to standard error, because `LocalServer.requests` already lists every request."""

    def _serve(self) -> None:
        answer = self.owner.handle(self._read())
        if answer is None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = answer.body.encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "Content-Length" in answer.headers:
            self.close_connection = True
        elif answer.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _serve  # noqa: N815 (names that http.server looks up)

    def _read(self) -> Request:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        is_form = self.headers.get_content_type() == "application/x-www-form-urlencoded"
        return Request(
            method=self.command,
            path=path,
            query=tuple(parse_qsl(query, keep_blank_values=True)),
            form=tuple(parse_qsl(body.decode(errors="replace"), keep_blank_values=True)) if is_form else (),
            headers=self.headers,
            body=body,
            connection=self.client_address[1],
        )
