"""Sends signed callbacks over HTTP.

"The status webhook" in orchestrator/lifecycle/README.md describes the signature, and what each HTTP status of the
control plane's answer means.
"""

import hashlib
import hmac
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from orchestrator.action import OutcomeStatus, SendCallback
from orchestrator.errors import ConfigurationError, InvalidEvent, Unavailable, shown
from orchestrator.performers import answers
from orchestrator.performers.address import Address, AllowedHosts, resolve
from orchestrator.timing import deadline
from orchestrator.timing.http import HTTPPool, HTTPSPool
from orchestrator.values.javascript import is_beyond_double, json_stringify
from orchestrator.values.limits import place_of
from orchestrator.values.validation import path_of

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 5
ATTEMPTS = 3
_PAUSE_SECONDS = 0.2
_ACCEPTED = range(200, 300)
_NOT_SENT = (NewConnectionError, ConnectTimeoutError)


def signature(body: str, secret: str, context: str | None, timestamp: int) -> str:
    """Compute the signature of a callback, which is the value of the header `x-signature`.

    Args:
        body: The body, as it is sent.
        secret: The key.
        context: For a status webhook, the text that the control plane sent with the tenant; otherwise, `None`.
        timestamp: The value of the header `x-timestamp`, in milliseconds since 1970.

    Returns:
        The HMAC-SHA256 of body, context (if it is not `None`) and timestamp, joined without separators, in lower-case
        hexadecimal digits.
    """
    return hmac.new(secret.encode(), f"{body}{context or ''}{timestamp}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The result of one attempt to send a callback.

    An attempt has failed if there was no answer, or if the answer's status was 429 or 5xx.

    Attributes:
        status: The answer's HTTP status; `None` if the attempt failed.
        failure: Why the attempt failed; empty if it did not fail.
        is_ambiguous: Whether the callback may have been accepted although the attempt failed.
        body: The answer's body; empty if it was not read.
    """

    status: int | None
    failure: str = ""
    is_ambiguous: bool = False
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer to a callback.

    Attributes:
        status: The HTTP status.
        body: The answer's body. It is empty if the callback was not accepted, or if the `SendCallback.keeps` of the
            callback is empty, because the body is not read then.
        is_repeat: Whether an earlier attempt in the same delivery of the event may have been accepted.
    """

    status: int
    body: bytes = field(repr=False)
    is_repeat: bool


class Callbacks:
    """Sends callbacks to allowed hosts."""

    def __init__(
        self,
        allowed_hosts: AllowedHosts,
        *,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Store the arguments.

        Args:
            allowed_hosts: The hosts that callbacks may go to.
            ssl_context: The TLS settings. `None` trusts the certificate authorities of the operating system.
            clock: Returns seconds since 1970.
            pause: Sleeps for a number of seconds.
        """
        self._allowed = allowed_hosts
        self._ssl_context = ssl_context
        self._clock = clock
        self._pause = pause

    def check(self, action: SendCallback) -> str:
        """Check a callback's address, body, secret and context, and return the address's host.

        Raises:
            InvalidEvent: The address is not an http(s) address, contains a user name, or has too long a host; the body
                is not JSON; the secret is empty; or the secret or `action.context` cannot be encoded as UTF-8.
            ConfigurationError: The host is not allowed, or the scheme `http` is used for a host other than the local
                machine.
        """
        target = self._allowed.check(action.url, action.allowed_hosts)
        _body(action)
        return target.host

    def send(self, action: SendCallback, *, is_repeat: bool = False) -> OutcomeStatus:
        """Send a callback in up to three attempts, each with a new timestamp and signature.

        The control plane answers 401 if the signature is wrong or the tenant's provisioning is over. An accepted status
        webhook ends the provisioning. Therefore, the answer 401 may mean that an earlier attempt was accepted.

        Args:
            action: The callback.
            is_repeat: Whether an earlier delivery of the event may have sent the callback.

        Returns:
            - `SENT`: The callback was accepted.
            - `ALREADY_SENT`: The answer was 401, and an earlier attempt may have been accepted.
            - `REFUSED`: The answer was 401, no earlier attempt can have been accepted, and `action.may_be_settled` is
              true.

        Raises:
            InvalidEvent: The address, the body, the secret or the context is invalid; see `check`.
            ConfigurationError: The callback may not go to the address (see `check` and `resolve`), or the host's
                certificate is not trusted. Or the control plane answered with a redirect, with 401 in a case that is
                not listed above, or with another status 4xx except 429.
            Unavailable: The control plane was not reached, did not answer, or answered 429 or 5xx; or too little of the
                invocation's time is left.
        """
        target = self._allowed.check(action.url, action.allowed_hosts)
        answer = self._exchange(target, action)
        if answer.status == HTTPStatus.UNAUTHORIZED and (is_repeat or answer.is_repeat):
            return OutcomeStatus.ALREADY_SENT
        if answer.status == HTTPStatus.UNAUTHORIZED and action.may_be_settled:
            return OutcomeStatus.REFUSED
        _check_accepted(answer.status, _not_sent(target))
        return OutcomeStatus.SENT

    def ask(self, action: SendCallback) -> dict[str, str | int]:
        """Send a callback, and return the members of the answer's JSON object that `action.keeps` names.

        Raises:
            InvalidEvent: The address, the body, the secret or the context is invalid; see `check`.
            ConfigurationError: See `send`. Unlike `send`, this method raises the error for every answer 401, because
                such an answer does not contain the members.
            Unavailable: See `send`. Or the callback was accepted, but the members cannot be read from the answer.
        """
        target = self._allowed.check(action.url, action.allowed_hosts)
        answer = self._exchange(target, action)
        _check_accepted(answer.status, _not_sent(target))
        try:
            return answers.read(answer.body, action.keeps)
        except ValueError as error:
            raise Unavailable(
                f"callback to {shown(target.host)} was accepted, but its answer {error}; correct the control plane, "
                "and the retry will succeed"
            ) from None

    def _exchange(self, target: Address, action: SendCallback) -> _Answer:
        failure = _not_sent(target)
        body = _body(action)
        is_ambiguous = False
        for attempt in range(1, ATTEMPTS + 1):
            deadline.require(failure, ambiguous=is_ambiguous)
            ended = self._attempt(attempt, target, body, action, failure)
            if ended.status is not None:
                return _Answer(ended.status, ended.body, is_repeat=is_ambiguous)
            is_ambiguous = is_ambiguous or ended.is_ambiguous
            pause = attempt * _PAUSE_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 (jitter)
            if attempt == ATTEMPTS or not deadline.has_time(pause):
                break
            self._pause(pause)
        raise Unavailable(f"{failure}: {ended.failure}; a retry may succeed", ambiguous=is_ambiguous)

    def _attempt(self, number: int, target: Address, body: str, action: SendCallback, failure: str) -> _Attempt:
        try:
            addresses = resolve(target.host, failure)
        except OSError:
            return _Attempt(None, "the host's name cannot be resolved")
        # Each attempt uses the host's next address. For example, `localhost` may resolve to ::1 first, although the
        # server listens only on 127.0.0.1.
        address = addresses[(number - 1) % len(addresses)]
        # The timestamp is taken only after the name has been resolved, because that can be slow, and the control plane
        # refuses an old timestamp.
        timestamp = int(self._clock() * 1000)
        headers = {
            "Content-Type": "application/json",
            "Host": target.authority,
            "x-timestamp": str(timestamp),
            "x-signature": signature(body, action.secret, action.context, timestamp),
        }
        received = b""
        try:
            with _connection(target, address, self._ssl_context) as pool:
                response = pool.urlopen(
                    "POST", target.path, body.encode(), headers, redirect=False, preload_content=False
                )
                if action.keeps and response.status in _ACCEPTED:
                    received = response.read(answers.MAX_ANSWER_BYTES + 1, decode_content=False)
                # The rest of the answer is not needed, and reading it could fail or never end.
                response.close()
        except _NOT_SENT as error:
            return _Attempt(None, f"the host was not reached ({type(error).__name__})")
        except HTTPError as error:
            if isinstance(error, SSLError) and isinstance(error.args[0], ssl.SSLCertVerificationError):
                raise ConfigurationError(
                    f"{failure}: the host's certificate is not trusted ({error.args[0].verify_message}); use one for "
                    "this name from a public authority"
                ) from None
            return _Attempt(None, f"the host gave no answer ({type(error).__name__})", is_ambiguous=True)
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:
            return _Attempt(None, "the host answered 429")
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _Attempt(None, f"the host answered {response.status}", is_ambiguous=True)
        return _Attempt(response.status, body=received)


def _body(action: SendCallback) -> str:
    if not action.secret:
        raise InvalidEvent("a callback cannot be signed: its secret is empty; correct the sender")
    try:
        (action.secret + (action.context or "")).encode()
    except UnicodeEncodeError:
        raise InvalidEvent(
            "a callback cannot be signed: its secret or context contains half a surrogate pair; correct the sender"
        ) from None
    try:
        return json_stringify(action.body)
    except (TypeError, ValueError, RecursionError) as error:
        place = None if isinstance(error, RecursionError) else place_of(action.body, is_beyond_double)
        if place is not None:
            raise InvalidEvent(
                f"a callback's {path_of('body', place)} is a number above 1.8e308, the largest in JavaScript; correct "
                "the sender"
            ) from None
        raise InvalidEvent(
            f"a callback's body is not JSON ({type(error).__name__}); use text, finite numbers, booleans, null, lists "
            "and objects"
        ) from None


def _connection(target: Address, address: str, ssl_context: ssl.SSLContext | None) -> urllib3.HTTPConnectionPool:
    """Create a connection pool for one IP address of the callback's host.

    The pool must not resolve the host's name again, because the name may now resolve to a forbidden address.

    Args:
        target: The parsed address of the callback, with the host's name.
        address: The IP address, which `resolve` has already checked.
        ssl_context: The TLS settings. `None` trusts the certificate authorities of the operating system.
    """
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=READ_TIMEOUT_SECONDS)
    if target.scheme == "http":
        return HTTPPool(address, target.port, timeout=timeout, retries=False)
    return HTTPSPool(
        address,
        target.port,
        timeout=timeout,
        retries=False,
        ssl_context=ssl_context or ssl.create_default_context(),
        server_hostname=target.host,
    )


def _not_sent(target: Address) -> str:
    return f"callback to {shown(target.host)} was not sent"


def _check_accepted(status: int, failure: str) -> None:
    if status in _ACCEPTED:
        return
    if status == HTTPStatus.UNAUTHORIZED:
        raise ConfigurationError(
            f"{failure}: the host answered 401, because the signature is wrong or the tenant is no longer being "
            "provisioned; check secret, context and clock"
        )
    if status < HTTPStatus.BAD_REQUEST:
        raise ConfigurationError(f"{failure}: the host redirects ({status}); use the address that it redirects to")
    raise ConfigurationError(f"{failure}: the host answered {status}; correct the address or the control plane")
