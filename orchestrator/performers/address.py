"""Checks that callbacks go only to allowed hosts, and never to a known metadata service of a cloud.

A metadata service hands out a machine's credentials. Callbacks need TLS, unless their host is the local machine.
"""

import ipaddress
import re
import socket
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from orchestrator.errors import ConfigurationError, InvalidEvent, shown
from orchestrator.settings import is_loopback
from orchestrator.values.limits import MAX_HOST_LENGTH

_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Addresses of two metadata services, which hand out credentials: the service of AWS over IPv6, and that of Alibaba
# Cloud. Most other metadata services have a link-local address, and every link-local address is refused.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))


@dataclass(frozen=True, slots=True)
class Address:
    """The parsed address of a callback. Its `host` is normalized (see `_host`), and its `path` includes the query."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)

    @property
    def authority(self) -> str:
        """The value of the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class AllowedHosts:
    """Decides to which hosts callbacks may be sent."""

    def __init__(self, hosts: Collection[str], own_host: str | None = None) -> None:
        """Store the allowed hosts in a normalized form.

        Args:
            hosts: The entries of `CALLBACK_ALLOWED_HOSTS`. An entry such as `.example.com` allows all subdomains of
                `example.com`.
            own_host: The host of `CALLBACK_URL`, if that is set. This host is allowed, too.

        Raises:
            ConfigurationError: An entry of `hosts` is neither a host nor a host with a leading dot.
        """
        self._hosts = (*map(_allowed, hosts), *_comparable([own_host or ""]))

    def check(self, url: str, more: Collection[str]) -> Address:
        """Check that a callback may be sent to an address, and return the parsed address.

        Args:
            url: The address.
            more: Hosts that are allowed for this callback only, in addition to the hosts given to the constructor. An
                entry that is not a host is ignored.

        Raises:
            InvalidEvent: The address is not an http(s) address, contains a user name, or has too long a host.
            ConfigurationError: The host is not allowed; or the address begins with `http:` although the host is not the
                local machine.
        """
        address = _parsed(url)
        host = address.host
        is_allowed = any(
            host == allowed or (allowed.startswith(".") and host.endswith(allowed))
            for allowed in (*self._hosts, *_comparable(more))
        )
        if not is_allowed and not self._hosts:
            raise ConfigurationError(
                f"callback to {shown(host)} was not sent: CALLBACK_ALLOWED_HOSTS is not set, and no tier names this "
                "host; add the control plane's host to that setting"
            )
        if not is_allowed:
            raise ConfigurationError(
                f"callback to {shown(host)} was not sent: the host is not in CALLBACK_ALLOWED_HOSTS; add it there, "
                "or correct the sender"
            )
        if address.scheme != "https" and not is_loopback(host):
            raise ConfigurationError(f"callback to {shown(host)} was not sent: its address has no TLS; use https")
        return address


def resolve(host: str, failure: str) -> list[str]:
    """Resolve a host's name to its IP addresses, and refuse addresses that cannot belong to a control plane.

    Link-local, multicast and unspecified addresses are refused, and those in `_METADATA`. Loopback addresses are
    refused, too, unless `host` is `localhost` or a loopback address. For such a host, all other addresses are refused.

    Args:
        host: The name, or an IP address.
        failure: The beginning of the error message.

    Raises:
        ConfigurationError: At least one of the host's addresses is refused.
        OSError: The name cannot be resolved.
    """
    found = list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)))
    for text in found:
        address = _plain(ipaddress.ip_address(text.partition("%")[0]))
        if _is_forbidden(address) or address.is_loopback != is_loopback(host):
            raise ConfigurationError(
                f"{failure}: the host's name resolves to {address}, which no control plane can have; correct the DNS "
                "record or the sender"
            )
    return found


def _parsed(url: str) -> Address:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in _PORTS or port == 0 or not url.isprintable() or "\\" in url or " " in url:
            raise ValueError("address is malformed")
        if len(host.removesuffix(".")) > MAX_HOST_LENGTH:
            raise InvalidEvent(
                f"a callback's address has a host of more than {MAX_HOST_LENGTH} characters; correct API_ENDPOINT in "
                "the event or the tier, or CALLBACK_URL"
            )
        if "@" in parts.netloc:
            raise InvalidEvent(f"callback to {shown(host)}: its address contains a user name; remove it")
        return Address(
            scheme=parts.scheme,
            host=_host(host),
            port=port or _PORTS[parts.scheme],
            path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        )
    except ValueError:
        raise InvalidEvent(
            "a callback's address is not an http(s) address; correct API_ENDPOINT in the event or the tier, or "
            "CALLBACK_URL"
        ) from None


def _allowed(entry: str) -> str:
    try:
        return f".{_host(entry[1:])}" if entry.startswith(".") else _host(entry)
    except ValueError:
        raise ConfigurationError(
            f"CALLBACK_ALLOWED_HOSTS has the entry {shown(entry)}, which is not a host; write it without scheme, port "
            "and path, for example control.example.com, or .example.com for its subdomains"
        ) from None


def _comparable(hosts: Collection[str]) -> Iterator[str]:
    for host in hosts:
        with suppress(ValueError):
            yield _host(host)


def _host(text: str) -> str:
    """Normalize a host, so that two spellings of one host compare as equal.

    The result is in lower case, without a dot at the end, and without the brackets around an IPv6 address. A name with
    other characters than ASCII is encoded as ASCII (IDNA).

    Raises:
        ValueError: The text is not a host, or the encoding would change the name into another one.
    """
    name = text.lower().removesuffix(".")
    if len(name) > MAX_HOST_LENGTH:
        raise ValueError("text is too long for a host")  # the IDNA encoding below takes minutes for a long text
    try:
        return str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        written = name.encode("idna").decode()
    # Python implements IDNA 2003. It maps a name such as "straße.de" to "strasse.de", but browsers keep the "ß". Refuse
    # names that are mapped in this way.
    if not _HOST_NAME.fullmatch(written) or (name != written and written.encode().decode("idna") != name):
        raise ValueError("text is not a host")
    return written


def _plain(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 address contains, if the IPv6 address has one of three forms.

    The forms are IPv4-mapped, 6to4, and NAT64 with the prefix `64:ff9b::/96`. Return any other address unchanged.
    """
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_forbidden(address: _Address) -> bool:
    return address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA
