"""An emulated control plane, which checks the signatures of callbacks as the real control plane does.

A callback is a signed POST request from the function. A status webhook is a callback that reports a tenant's status.
The body of a status webhook has the member `initiatorId`, which is the tenant's id.
"""

import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self
from unittest import mock
from urllib.parse import urlsplit

import urllib3

from orchestrator.local.http_server import Answer, LocalServer, Request
from orchestrator.performers import callbacks
from orchestrator.values.javascript import json_stringify

_TOLERANCE_MS = 20_000
_USERS = "/manage/users"


class ControlPlane:
    """A control plane on a loopback port.

    A callback gets the answer 401 if its signature is wrong, if its timestamp differs from the control plane's clock by
    more than 20 seconds, or if it is a status webhook for a tenant whose id is in `settled`. Every other callback is
    accepted, and gets the answer 204.

    If the path of an accepted callback ends in `/manage/users`, the answer is 200 with a JSON object instead. The
    object's member `authId` is the id of the tenant's first user.

    Attributes:
        url: The URL for status webhooks.
        accepted: The parsed body of every accepted callback, in order.
        settled: Ids of the tenants whose provisioning has ended. Further status webhooks for these tenants get the
            answer 401, as from the real control plane.
        requests: Every request received, in order.
        next: The `http_server.Script` whose methods make the next requests fail.
    """

    def __init__(
        self,
        secret: str,
        context: str,
        *,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        settles: bool = True,
    ) -> None:
        """Bind a free port; a `with` block starts and stops the server.

        Args:
            secret: The key that callbacks are signed with.
            context: Text that is signed together with the body of a status webhook. Callbacks of other types are
                signed without this text.
            ssl_context: The context for TLS; `None` serves plain HTTP.
            clock: Returns the current time, in seconds since 1970.
            settles: Whether the first accepted webhook for a tenant ends the tenant's provisioning. Later webhooks for
                the tenant then get the answer 401.
        """
        self._settles = settles
        self._secret = secret
        self._context = context
        self._clock = clock
        self._http = LocalServer(self._respond, ssl_context=ssl_context)
        self.url = f"{self._http.scheme}://{self._http.address}/webhook?for=do-not-tell"
        self.requests = self._http.requests
        self.next = self._http.script
        self.accepted: list[dict[str, Any]] = []
        self.settled: set[str] = set()

    def __enter__(self) -> Self:
        self._http.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.stop()

    def _respond(self, request: Request) -> Answer:
        body = json.loads(request.body)
        timestamp = request.headers["x-timestamp"]
        is_webhook = "initiatorId" in body
        # To check a signature, the real control plane parses the body and signs it as JavaScript serialises it again.
        signed = json_stringify(body) + (self._context if is_webhook else "") + timestamp
        expected = hmac.new(self._secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
        is_timely = abs(int(timestamp) - self._clock() * 1000) <= _TOLERANCE_MS
        if request.headers["x-signature"] != expected or not is_timely or body.get("initiatorId") in self.settled:
            return Answer(401)
        self.accepted.append(body)
        if is_webhook and self._settles:
            self.settled.add(body["initiatorId"])
        if request.path.endswith(_USERS):
            auth_id = f"auth0|{body['tenant']['id']}"
            return Answer(200, json.dumps({"authId": auth_id}), {"Content-Type": "application/json"})
        return Answer(204)


@contextmanager
def standing_in(server: ControlPlane) -> Iterator[None]:
    """Within the `with` block, send this process's callbacks to `server`, whatever host a callback's URL names.

    A callback to a host that is not allowed still fails. Host names are not resolved, because the hosts in the sample
    events do not exist. Callbacks are sent without TLS, so `server` must serve plain HTTP.
    """
    parts = urlsplit(server.url)

    def connection(*_: object) -> urllib3.HTTPConnectionPool:
        return urllib3.HTTPConnectionPool(str(parts.hostname), parts.port, retries=False)

    with mock.patch.multiple(callbacks, resolve=lambda host, failure: [host], _connection=connection):
        yield
