"""A control plane for status webhooks; the signature shows which start event a webhook belongs to."""

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.local.http_server import Answer, Request
from tests.chaos.lives import SECRET, context_of

PATHS = ("/webhook", "/tenant-mgmt-facade/webhook")


@dataclass(frozen=True)
class Received:
    """A webhook with a valid signature; the first one for each start is accepted."""

    start: str
    succeeded: bool
    is_accepted: bool


class ControlPlane:
    """Accepts one webhook for each start and answers 401 to later ones, as the real one does for a settled tenant."""

    def __init__(self) -> None:
        """Start without tenants."""
        self._starts: dict[str, list[str]] = {}
        self._settled: set[str] = set()
        self._lock = threading.Lock()

    def expect(self, tenant: str, start: str) -> None:
        """Add a start event of a tenant."""
        self._starts.setdefault(tenant, []).append(start)

    def respond(self, request: Request, receive: Callable[[Received], None]) -> Answer:
        """Answer a webhook.

        Args:
            request: The request.
            receive: Called with the webhook.

        Raises:
            LookupError: No start of its tenant has that signature.
        """
        body = json.loads(request.body)
        start = self._signer(request, self._starts[body["initiatorId"]])
        with self._lock:
            is_new = start not in self._settled
            self._settled.add(start)
        receive(Received(start, _succeeded(body), is_new))
        return Answer(204 if is_new else 401)

    def _signer(self, request: Request, starts: list[str]) -> str:
        timestamp = request.headers["x-timestamp"]
        for start in starts:
            signed = f"{request.body.decode()}{context_of(start)}{timestamp}".encode()
            if hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest() == request.headers["x-signature"]:
                return start
        raise LookupError("a webhook has the signature of no start of its tenant")


def _succeeded(body: Mapping[str, Mapping[str, int]]) -> bool:
    return body["data"]["status"] == 1
