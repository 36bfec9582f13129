"""A loopback HTTP server that logs what it is asked and misbehaves when scripted to."""

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
    """A request as it came: `path` is still encoded, `connection` is the client's port."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    form: tuple[tuple[str, str], ...]
    headers: Message
    body: bytes
    connection: int

    @property
    def fields(self) -> dict[str, str]:
        """Query and form fields by name."""
        return dict((*self.query, *self.form))

    def values(self, name: str) -> list[str]:
        """Every value that the query and the form give a field."""
        return [value for key, value in (*self.query, *self.form) if key == name]


@dataclass(frozen=True)
class Answer:
    """A response; a `Content-Length` of its own is sent as it is, and the connection closed after it."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Fault:
    kind: Literal["answer", "drop", "stall"]
    on: str
    after_acting: bool
    answer: Answer | None = None
    held: threading.Event = field(default_factory=threading.Event)


class Script:
    """What the server does to the next requests instead of answering them as it should.

    Every verb takes `on`, a part of `METHOD /path AWS-OPERATION` that a request must contain to be hit (any
    request if empty), and `times`. With `after_acting` the request takes effect first: only its answer is lost.
    """

    def __init__(self) -> None:
        """Start with nothing scripted."""
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
        """Send this response."""
        self._add(_Fault("answer", on, after_acting, Answer(status, body, headers or {})), times)

    def login(self, *, on: str = "", times: int = 1) -> None:
        """Redirect to a login page, as a proxy with single sign-on does."""
        self.answer(302, headers={"Location": "/login?from=%2F"}, on=on, times=times)

    def drop(self, *, on: str = "", times: int = 1, after_acting: bool = False) -> None:
        """Close the connection without a word."""
        self._add(_Fault("drop", on, after_acting), times)

    def stall(self, *, on: str = "", times: int = 1, after_acting: bool = False) -> threading.Event:
        """Accept the request and stay silent until the server stops.

        Returns:
            An event that is set once a request is being held.
        """
        fault = _Fault("stall", on, after_acting)
        self._add(fault, times)
        return fault.held

    def take(self, request: Request) -> _Fault | None:
        """Remove and return the fault that this request meets, if any."""
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
    """An HTTP server on a loopback port that hands every request to `respond`."""

    def __init__(
        self,
        respond: Callable[[Request], Answer],
        *,
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Bind the port; a free one if it is 0.

        Args:
            respond: Turns a request into an answer; called from several threads at once.
            port: Port on 127.0.0.1.
            ssl_context: Serve TLS with this context.
        """
        self.requests: list[Request] = []
        self.script = Script()
        self._respond = respond
        self._stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        handler = type("BoundHandler", (_Handler,), {"owner": self})
        self._httpd = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.scheme = "http"
        if ssl_context is not None:
            self.scheme = "https"
            # The handshake belongs in the connection's own thread: a client that never finishes it
            # must not keep the others out.
            self._httpd.socket = ssl_context.wrap_socket(
                self._httpd.socket, server_side=True, do_handshake_on_connect=False
            )
        self.address = f"127.0.0.1:{self._httpd.server_port}"
        self._thread = threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def start(self) -> Self:
        """Serve until `stop`."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the port and every open connection."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._thread.is_alive():
            self._httpd.shutdown()
        self._httpd.server_close()
        self.close_connections()

    def close_connections(self) -> None:
        """Close the connections that clients keep alive."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def opened(self, connection: socket.socket) -> None:
        """Note a connection that a client opened."""
        self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    def handle(self, request: Request) -> Answer | None:
        """Log a request and answer it; nothing where the connection is to be closed instead."""
        self.requests.append(request)
        fault = self.script.take(request)
        if fault is None:
            return self._respond(request)
        if fault.after_acting:
            self._respond(request)
        if fault.kind == "stall":
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
        """Say nothing: the log of requests is the server's own."""

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
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 (names that http.server looks up)

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
