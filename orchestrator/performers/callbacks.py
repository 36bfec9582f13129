"""Signed callbacks over HTTP."""

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
    """Sign a callback.

    Args:
        body: The body's text.
        secret: The key.
        context: Belongs into the signature of a tenant-status webhook; a service callback has none.
        timestamp: When the callback is sent, in Unix milliseconds.

    Returns:
        The lower-case hexadecimal HMAC-SHA256 of body, context and timestamp.
    """
    return hmac.new(secret.encode(), f"{body}{context or ''}{timestamp}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How one attempt ended: an answer, or a failure and whether the callback may have arrived."""

    status: int | None
    failure: str = ""
    is_ambiguous: bool = False
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a callback was answered: `body` only where it is needed, `is_repeat` if one before may have arrived."""

    status: int
    body: bytes = field(repr=False)
    is_repeat: bool


class Callbacks:
    """Sends callbacks to the hosts that are allowed."""

    def __init__(
        self,
        allowed_hosts: AllowedHosts,
        *,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take where callbacks may go.

        Args:
            allowed_hosts: The hosts.
            ssl_context: Whom to trust; `None` trusts the system's authorities.
            clock: Seconds since 1970.
            pause: Waits for a number of seconds.
        """
        self._allowed = allowed_hosts
        self._ssl_context = ssl_context
        self._clock = clock
        self._pause = pause

    def check(self, action: SendCallback) -> str:
        """Check where a callback goes, and that it can be written and signed.

        Args:
            action: The callback.

        Returns:
            The host.

        Raises:
            InvalidEvent: The address is no http(s) address, the body is no JSON, or the secret or the context is
                no text.
            ConfigurationError: The host is not allowed, or would be reached without TLS.
        """
        target = self._allowed.check(action.url, action.allowed_hosts)
        _body(action)
        return target.host

    def send(self, action: SendCallback, *, is_repeat: bool = False) -> OutcomeStatus:
        """Send a callback, signed anew on each of up to three tries.

        Args:
            action: The callback.
            is_repeat: Whether an earlier attempt may have been accepted.

        Returns:
            `SENT`; or what a 401 means, which the control plane answers for a tenant that is no longer in
            provisioning: `ALREADY_SENT` where an earlier try may have been accepted, `REFUSED` where the action allows
            it.

        Raises:
            InvalidEvent: As in `check`.
            ConfigurationError: As in `check`; or the host's address is not one to send to; or the control plane
                refuses the callback.
            Unavailable: The control plane was not reached, or did not answer.
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
        """Send a callback as `send` does, and read what the action keeps of the answer.

        Args:
            action: The callback.

        Returns:
            The members of the answer that are to be kept.

        Raises:
            InvalidEvent: As in `check`.
            ConfigurationError: As in `send`, and for any 401: there is no answer then.
            Unavailable: As in `send`; or the callback was accepted, but the answer is none to take these members from.
        """
        target = self._allowed.check(action.url, action.allowed_hosts)
        answer = self._exchange(target, action)
        _check_accepted(answer.status, _not_sent(target))
        try:
            return answers.read(answer.body, action.keeps)
        except ValueError as error:
            raise Unavailable(
                f"callback to {shown(target.host)} was accepted, but its answer {error}; correct the control plane; it "
                "will be retried"
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
        raise Unavailable(f"{failure}: {ended.failure}; it will be retried", ambiguous=is_ambiguous)

    def _attempt(self, number: int, target: Address, body: str, action: SendCallback, failure: str) -> _Attempt:
        try:
            addresses = resolve(target.host, failure)
        except OSError:
            return _Attempt(None, "its name cannot be resolved")
        # `localhost` may be ::1 first, where nobody listens: each attempt takes the next address.
        address = addresses[(number - 1) % len(addresses)]
        # Only now: the control plane refuses what took long to come, and resolving a name can take long.
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
                # Otherwise the status says it all. Reading on could only fail, or never end.
                response.close()
        except _NOT_SENT as error:
            return _Attempt(None, f"it was not reached ({type(error).__name__})")
        except HTTPError as error:
            if isinstance(error, SSLError) and isinstance(error.args[0], ssl.SSLCertVerificationError):
                raise ConfigurationError(
                    f"{failure}: its certificate is not trusted ({error.args[0].verify_message}); have it issued by a "
                    "public authority, for this name"
                ) from None
            return _Attempt(None, f"it gave no answer ({type(error).__name__})", is_ambiguous=True)
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:
            return _Attempt(None, "it answered 429")
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _Attempt(None, f"it answered {response.status}", is_ambiguous=True)
        return _Attempt(response.status, body=received)


def _body(action: SendCallback) -> str:
    if not action.secret:
        raise InvalidEvent("a callback cannot be signed: its secret is empty; correct the sender")
    try:
        (action.secret + (action.context or "")).encode()
    except UnicodeEncodeError:
        raise InvalidEvent(
            "a callback cannot be signed: its secret or context holds half a surrogate pair; correct the sender"
        ) from None
    try:
        return json_stringify(action.body)
    except (TypeError, ValueError, RecursionError) as error:
        place = None if isinstance(error, RecursionError) else place_of(action.body, is_beyond_double)
        if place is not None:
            raise InvalidEvent(
                f"a callback's {path_of('body', place)} is a number beyond 1.8e308, the largest that JavaScript has; "
                "correct the sender"
            ) from None
        raise InvalidEvent(
            f"a callback's body is no JSON ({type(error).__name__}); use text, finite numbers, booleans, null, lists "
            "and objects"
        ) from None


def _connection(target: Address, address: str, ssl_context: ssl.SSLContext | None) -> urllib3.HTTPConnectionPool:
    """Make the way to the very address that was checked, whatever the name resolves to meanwhile."""
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
            f"{failure}: it answered 401; the signature is refused (secret, context or clock), or the tenant is no "
            "longer in provisioning"
        )
    if status < HTTPStatus.BAD_REQUEST:
        raise ConfigurationError(f"{failure}: it redirects ({status}); name the address that answers itself")
    raise ConfigurationError(f"{failure}: it answered {status}; correct the address or the control plane")
