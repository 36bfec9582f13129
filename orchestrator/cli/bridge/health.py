"""Answers a container platform's health checks over HTTP.

`/live` answers 200 while this process works. `/ready` answers 200 if Redis and SQS work, and 503 otherwise. A platform
that restarts unhealthy containers must check `/live`, because a restart does not repair Redis or SQS.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from orchestrator.cli.bridge.service import Service
from orchestrator.errors import ConfigurationError

_REQUEST_SECONDS = 5
_STATUSES = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}


@asynccontextmanager
async def serving(port: int | None, services: Sequence[Service]) -> AsyncIterator[None]:
    """Serve `/live` and `/ready` on all network interfaces while the `async with` block runs.

    Args:
        port: The port; `None` serves nothing.
        services: The services whose states `/ready` reports.

    Raises:
        ConfigurationError: The server cannot listen on the port.
    """
    if port is None:
        yield
        return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _REQUEST_SECONDS)
            writer.write(_answer(head, services))
            await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(serve, None, port)
    except OSError as error:
        raise ConfigurationError(f"--health-port {port} cannot be listened on ({error.strerror})") from None
    async with server:
        yield


def _answer(head: bytes, services: Sequence[Service]) -> bytes:
    _, path, *_ = [*head.split(b"\r\n", 1)[0].split(b" "), b""]
    status, report = 404, {"paths": "/live, /ready"}
    if path == b"/live":
        status, report = 200, {"bridge": "works"}
    elif path == b"/ready":
        report = {service.name: service.failure or "answers" for service in services}
        status = 503 if any(service.failure for service in services) else 200
    body = json.dumps(report).encode() + b"\n"
    headers = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return f"HTTP/1.1 {status} {_STATUSES[status]}\r\n{headers}\r\n".encode() + body
