"""Sends signed callbacks to the control plane, and to nobody else (CONTRACT section 5)."""

import hashlib
import hmac
import ipaddress
import random
import socket
import ssl
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from orchestrator import deadline
from orchestrator.actions import SendCallback
from orchestrator.errors import ConfigurationError, InvalidEvent, Unavailable, shown
from orchestrator.javascript import json_stringify

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 5
ATTEMPTS = 3
_PAUSE_SECONDS = 0.2
_MAX_ANSWER_BYTES = 64 * 1024
_NOT_SENT = (NewConnectionError, ConnectTimeoutError)
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Where clouds hand out credentials, besides the link-local addresses.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))


def signature(body: str, secret: str, context: str | None, timestamp: int) -> str:
    """Sign a callback.

    Args:
        body: The body's text.
        secret: The key.
        context: Belongs into the signature of a tenant-status webhook; a service callback has none.
        timestamp: When the callback is sent, in Unix milliseconds.

    Returns:
        The lower-case hexadecimal HMAC-SHA256 of body, context and timestamp (CONTRACT section 5).
    """
    return hmac.new(secret.encode(), f"{body}{context or ''}{timestamp}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How one attempt ended: a status, or a failure and whether the callback may have arrived."""

    status: int | None
    failure: str = ""
    is_ambiguous: bool = False


class Callbacks:
    """Sends callbacks to the hosts that are allowed."""

    def __init__(
        self,
        allowed_hosts: Collection[str],
        *,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Keep what is needed for the first callback; nothing is sent yet.

        Args:
            allowed_hosts: Hosts that callbacks may go to; `.example.com` admits subdomains.
            ssl_context: Whom to trust; `None` trusts the system's authorities.
            clock: Seconds since 1970.
            pause: Waits for a number of seconds.
        """
        self._allowed = tuple(host.lower().rstrip(".") for host in allowed_hosts)
        self._ssl_context = ssl_context
        self._clock = clock
        self._pause = pause

    def check(self, action: SendCallback) -> str:
        """Check where a callback goes, and that its body can be written.

        Args:
            action: The callback.

        Returns:
            The host.

        Raises:
            InvalidEvent: The address is no http(s) address, or the body is no JSON.
            ConfigurationError: The host is not allowed, or would be reached without TLS.
        """
        host = self._checked_host(_parts(action.url))
        _body(action)
        return host

    def send(self, action: SendCallback, *, is_repeat: bool = False) -> bool:
        """Send a callback, signed anew on each of up to three tries.

        Args:
            action: The callback.
            is_repeat: Whether an earlier attempt may have been accepted.

        Returns:
            Whether it was accepted now; `False` says that an earlier attempt was, as the control plane answers
            401 for a tenant that is no longer in provisioning.

        Raises:
            InvalidEvent: As in `check`.
            ConfigurationError: As in `check`; or the host's address is not one to send to; or the control plane
                refuses the callback.
            Unavailable: The control plane was not reached, or did not answer.
        """
        parts = _parts(action.url)
        host = self._checked_host(parts)
        what = f"callback to {shown(host)} was not sent"
        body = _body(action)
        is_ambiguous = False
        for attempt in range(1, ATTEMPTS + 1):
            deadline.require(CONNECT_TIMEOUT_SECONDS + READ_TIMEOUT_SECONDS, what, ambiguous=is_ambiguous)
            ended = self._attempt(parts, host, body, action, what)
            if ended.status == HTTPStatus.UNAUTHORIZED and (is_repeat or is_ambiguous):
                return False
            if ended.status is not None:
                return _accepted(ended.status, what)
            is_ambiguous = is_ambiguous or ended.is_ambiguous
            if attempt < ATTEMPTS:
                self._pause(attempt * _PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
        raise Unavailable(f"{what}: {ended.failure}; it will be retried", ambiguous=is_ambiguous)

    def _attempt(self, parts: SplitResult, host: str, body: str, action: SendCallback, what: str) -> _Attempt:
        timestamp = int(self._clock() * 1000)
        headers = {
            "Content-Type": "application/json",
            "Host": parts.netloc,
            "x-timestamp": str(timestamp),
            "x-signature": signature(body, action.secret, action.context, timestamp),
        }
        try:
            address = _address(host, what)
        except OSError:
            return _Attempt(None, "its name cannot be resolved")
        target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        try:
            with self._pool(parts, host, address) as pool:
                response = pool.urlopen("POST", target, body.encode(), headers, redirect=False, preload_content=False)
                # What it says does not matter, but an answer that never ends must not be read to its end.
                response.read(_MAX_ANSWER_BYTES)
                response.close()
        except _NOT_SENT as error:
            return _Attempt(None, f"it was not reached ({type(error).__name__})")
        except HTTPError as error:
            if isinstance(error, SSLError) and isinstance(error.args[0], ssl.SSLCertVerificationError):
                raise ConfigurationError(
                    f"{what}: its certificate is not trusted ({error.args[0].verify_message}); have it issued by a "
                    "public authority, for this name"
                ) from None
            return _Attempt(None, f"it gave no answer ({type(error).__name__})", is_ambiguous=True)
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:
            return _Attempt(None, "it answered 429")
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _Attempt(None, f"it answered {response.status}", is_ambiguous=True)
        return _Attempt(response.status)

    def _pool(self, parts: SplitResult, host: str, address: str) -> urllib3.HTTPConnectionPool:
        """Make the way to the very address that was checked, whatever the name resolves to meanwhile."""
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=READ_TIMEOUT_SECONDS)
        if parts.scheme == "http":
            return urllib3.HTTPConnectionPool(address, parts.port or 80, timeout=timeout, retries=False)
        return urllib3.HTTPSConnectionPool(
            address,
            parts.port or 443,
            timeout=timeout,
            retries=False,
            ssl_context=self._ssl_context or ssl.create_default_context(),
            server_hostname=host,
        )

    def _checked_host(self, parts: SplitResult) -> str:
        host = _ascii(parts.hostname or "")
        if not self._allowed:
            raise ConfigurationError(
                f"callback to {shown(host)} was not sent: CALLBACK_ALLOWED_HOSTS is not set, so none is; name the "
                "control plane's host there"
            )
        if not any(
            host == allowed or (allowed.startswith(".") and host.endswith(allowed)) for allowed in self._allowed
        ):
            raise ConfigurationError(
                f"callback to {shown(host)} was not sent: the host is not among CALLBACK_ALLOWED_HOSTS; add it there, "
                "or correct the sender"
            )
        if parts.scheme != "https" and not _is_loopback_name(host):
            raise ConfigurationError(f"callback to {shown(host)} was not sent: it would go without TLS; use https")
        return host


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_usable = bool(parts.hostname) and parts.port != 0 and parts.scheme in ("http", "https")
    except ValueError:
        is_usable = False
    if not is_usable or not url.isprintable() or "\\" in url or " " in url:
        raise InvalidEvent("a callback's address is no http(s) address; correct API_ENDPOINT or what else names it")
    if "@" in parts.netloc:
        raise InvalidEvent(f"callback to {shown(parts.hostname)}: its address holds a user; leave that out")
    return parts


def _body(action: SendCallback) -> str:
    try:
        return json_stringify(action.body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(
            f"a callback's body is no JSON ({type(error).__name__}); use text, finite numbers, booleans, null, lists "
            "and objects"
        ) from None


def _ascii(host: str) -> str:
    name = host.lower().rstrip(".")
    try:
        return name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return name  # which is then not among those that are allowed


def _is_loopback_name(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(host: str, what: str) -> str:
    """Resolve a host, and refuse addresses at which no control plane can be."""
    found = [entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    for text in found:
        address: _Address = ipaddress.ip_address(str(text).partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if _is_forbidden(address) or address.is_loopback != _is_loopback_name(host):
            raise ConfigurationError(
                f"{what}: its name resolves to {address}, which is no address for a control plane; correct its DNS "
                "record or the sender"
            )
    return str(found[0])


def _is_forbidden(address: _Address) -> bool:
    return address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA


def _accepted(status: int, what: str) -> bool:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return True
    if status == HTTPStatus.UNAUTHORIZED:
        raise ConfigurationError(
            f"{what}: it answered 401; the signature is refused (secret, context or clock), or the tenant is no longer "
            "in provisioning"
        )
    if status < HTTPStatus.BAD_REQUEST:
        raise ConfigurationError(f"{what}: it redirects ({status}); name the address that answers itself")
    raise ConfigurationError(f"{what}: it answered {status}; correct the address or the control plane")
