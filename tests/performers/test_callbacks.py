"""Signed callbacks are accepted by the control plane, go only to allowed hosts, and keep their secrets."""

import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from orchestrator import ConfigurationError, Event, InvalidEvent, Registry, SendCallback, Unavailable, create_handler
from orchestrator.action import OutcomeStatus
from orchestrator.local.control_plane import ControlPlane
from orchestrator.performers.address import AllowedHosts
from orchestrator.performers.callbacks import Callbacks, signature
from tests.support.aws import Requests
from tests.support.events import invoke, sample

SECRET, CONTEXT = "do-not-tell-secret", "do-not-tell-context"
BODY = {
    "initiatorId": "t1",
    "type": 0,
    "data": {"status": 1, "resources": [], "appPlaneUrl": "https://ü.example.com/do-not-tell", "b": 1.0, "2": None},
}


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with ControlPlane(SECRET, CONTEXT) as plane:
        yield plane


def action(url: str, **changes: Any) -> SendCallback:
    return SendCallback(**{"url": url, "body": BODY, "secret": SECRET, "context": CONTEXT, **changes})


def callbacks(*hosts: str, **options: Any) -> Callbacks:
    return Callbacks(AllowedHosts(hosts or ["127.0.0.1"]), pause=lambda _: None, **options)


def refused(
    error_type: type[Exception], message: str, url: str, sender: Callbacks | None = None, **changes: Any
) -> None:
    sender = sender or callbacks()
    for act in (sender.check, sender.send):
        if act == sender.check and error_type is Unavailable:
            continue
        with pytest.raises(error_type, match=message) as caught:
            act(action(url, **changes))
        assert "do-not-tell" not in str(caught.value)
        assert str(caught.value).isprintable()


# Requests


def test_the_control_plane_accepts_the_signature(plane: ControlPlane) -> None:
    assert callbacks().send(action(plane.url)) is OutcomeStatus.SENT

    assert plane.accepted == [BODY]
    (request,) = plane.requests
    assert (request.method, request.path, request.query) == ("POST", "/webhook", (("for", "do-not-tell"),))
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Host"] == plane.url.split("/")[2]
    assert request.body.decode() == (
        '{"initiatorId":"t1","type":0,"data":{"2":null,"status":1,"resources":[],'
        '"appPlaneUrl":"https://ü.example.com/do-not-tell","b":1}}'
    )


def test_the_signature_is_that_of_the_contract() -> None:
    # printf '%s' '{"a":1}ctx1700000000000' | openssl dgst -sha256 -hmac key
    expected = "117882ce42cdf77dce4ab980d40331c12afb1d6a3981d8f6dee30c28a8b654f7"

    assert signature('{"a":1}', "key", "ctx", 1700000000000) == expected


def test_a_service_callback_is_signed_without_a_context() -> None:
    with ControlPlane(SECRET, "") as plane:
        assert callbacks().send(action(plane.url, context=None)) is OutcomeStatus.SENT
        assert len(plane.accepted) == 1


def test_a_callback_is_sent_once_for_each_event(
    plane: ControlPlane, aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBACK_ALLOWED_HOSTS", "other.example.com, 127.0.0.1")
    registry = Registry()

    @registry.consumer("TENANT_PROVISIONING")
    def call_back(event: Event) -> SendCallback:
        return action(plane.url)

    handler, event = create_handler(registry), sample("tenant-provisioning")
    answers = [invoke(handler, event)["consumers"][0]["outcomes"][0] for _ in range(2)]

    assert len(plane.requests) == 1
    assert answers == [
        {"action": "SendCallback", "status": "sent", "name": "127.0.0.1"},
        {"action": "SendCallback", "status": "already sent", "name": "127.0.0.1"},
    ]


@pytest.mark.parametrize(
    ("rest", "path", "query"),
    [
        ("", "/", ()),
        ("?a=1", "/", (("a", "1"),)),
        ("/x?a=1#part", "/x", (("a", "1"),)),
        ("/ü?ü=%2f", "/%C3%BC", (("ü", "/"),)),
        ("/a;b=c", "/a;b=c", ()),
    ],
)
def test_the_path_and_the_query_are_sent(
    plane: ControlPlane, rest: str, path: str, query: tuple[tuple[str, str], ...]
) -> None:
    assert callbacks().send(action(plane.url.partition("/webhook")[0] + rest)) is OutcomeStatus.SENT

    (request,) = plane.requests
    assert (request.path, request.query) == (path, query)


# Failures


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_temporary_failure_is_tried_again_with_a_new_signature(plane: ControlPlane, status: int) -> None:
    now = [1_800_000_000.0]

    def clock() -> float:
        now[0] += 1
        return now[0]

    plane.next.answer(status, times=3)

    refused(
        Unavailable,
        f"callback to '127.0.0.1' was not sent: the host answered {status}",
        plane.url,
        callbacks(clock=clock),
    )
    assert len({request.headers["x-timestamp"] for request in plane.requests}) == 3
    assert len({request.headers["x-signature"] for request in plane.requests}) == 3


def test_a_try_after_a_failed_one_is_accepted(plane: ControlPlane) -> None:
    plane.next.answer(503)
    plane.next.drop()

    assert callbacks().send(action(plane.url)) is OutcomeStatus.SENT
    assert len(plane.accepted) == 1


@pytest.mark.parametrize(("status", "is_ambiguous"), [(429, False), (500, True)])
def test_a_failure_is_ambiguous_if_the_callback_may_have_arrived(
    plane: ControlPlane, status: int, is_ambiguous: bool
) -> None:
    plane.next.answer(status, times=3)

    with pytest.raises(Unavailable) as caught:
        callbacks().send(action(plane.url))
    assert caught.value.ambiguous is is_ambiguous


def test_a_silent_server_is_unavailable(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.performers.callbacks.READ_TIMEOUT_SECONDS", 0.2)
    plane.next.stall(times=3)

    refused(Unavailable, r"the host gave no answer \(ReadTimeoutError\)", plane.url)


@pytest.mark.parametrize("headers", [{"Content-Length": "1000"}, {"Content-Encoding": "gzip"}])
def test_the_status_counts_even_if_the_body_cannot_be_read(plane: ControlPlane, headers: dict[str, str]) -> None:
    plane.next.answer(200, "cut off", headers)
    plane.next.answer(404, "cut off", headers)

    assert callbacks().send(action(plane.url)) is OutcomeStatus.SENT
    with pytest.raises(ConfigurationError, match="the host answered 404"):
        callbacks().send(action(plane.url))
    assert len(plane.requests) == 2


def test_a_callback_is_signed_after_its_name_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_800_000_000.0]
    resolve = socket.getaddrinfo

    def slowly(host: Any, *args: Any, **options: Any) -> Any:
        now[0] += 30
        return resolve(host, *args, **options)

    with ControlPlane(SECRET, CONTEXT, clock=lambda: now[0]) as plane:
        sender = callbacks("localhost", clock=lambda: now[0])
        monkeypatch.setattr(
            "socket.getaddrinfo", lambda h, *a, **o: (slowly if h == "localhost" else resolve)(h, *a, **o)
        )

        assert sender.send(action(plane.url.replace("127.0.0.1", "localhost"))) is OutcomeStatus.SENT
        assert len(plane.accepted) == 1


def test_a_closed_port_is_unavailable_and_nothing_arrived() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    with pytest.raises(Unavailable, match="the host was not reached") as caught:
        callbacks().send(action(f"http://127.0.0.1:{port}/"))
    assert not caught.value.ambiguous


def test_a_name_that_does_not_resolve_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror

    monkeypatch.setattr("socket.getaddrinfo", unknown)

    refused(
        Unavailable, "the host's name cannot be resolved", "https://nowhere.invalid/x", callbacks("nowhere.invalid")
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "the host answered 400; correct the address"),
        (401, "the host answered 401, because the signature is wrong"),
        (404, "the host answered 404"),
        (301, r"the host redirects \(301\); use the address that it redirects to"),
        (307, r"the host redirects \(307\)"),
    ],
)
def test_a_refusal_is_raised_and_not_tried_again(plane: ControlPlane, status: int, message: str) -> None:
    plane.next.answer(status, headers={"Location": "http://169.254.169.254/do-not-tell"})

    with pytest.raises(ConfigurationError, match=message) as caught:
        callbacks().send(action(plane.url))
    assert len(plane.requests) == 1
    assert "do-not-tell" not in str(caught.value)


def test_a_wrong_secret_is_refused_by_the_control_plane(plane: ControlPlane) -> None:
    with pytest.raises(ConfigurationError, match="the signature is wrong"):
        callbacks().send(action(plane.url, secret="another"))
    assert plane.accepted == []


def test_an_accepted_callback_whose_answer_got_lost_counts_as_sent(plane: ControlPlane) -> None:
    plane.next.drop(after_acting=True)

    assert callbacks().send(action(plane.url)) is OutcomeStatus.ALREADY_SENT
    assert len(plane.accepted) == 1


def test_a_repeat_for_a_settled_tenant_counts_as_sent(plane: ControlPlane) -> None:
    callbacks().send(action(plane.url))

    assert callbacks().send(action(plane.url), is_repeat=True) is OutcomeStatus.ALREADY_SENT
    assert len(plane.accepted) == 1


# Allowed addresses


def test_without_allowed_hosts_no_callback_is_sent(plane: ControlPlane) -> None:
    refused(
        ConfigurationError,
        "CALLBACK_ALLOWED_HOSTS is not set, and no tier names",
        plane.url,
        Callbacks(AllowedHosts([])),
    )
    assert plane.requests == []


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://evil.example.com/do-not-tell", ["example.com"]),
        ("https://example.com/", [".example.com"]),
        ("https://evilexample.com/", [".example.com"]),
        ("https://example.com.evil.test/", ["example.com", ".example.com"]),
        ("https://127.0.0.1/", ["localhost"]),
    ],
)
def test_a_host_that_is_not_allowed_is_refused(url: str, allowed: list[str]) -> None:
    refused(ConfigurationError, "is not in CALLBACK_ALLOWED_HOSTS; add it there", url, callbacks(*allowed))


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://Example.COM./", "example.com"),
        ("https://a.b.example.com:8443/", ".example.com"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("http://localhost:3000/", "localhost"),
        ("http://[::1]/", "::1"),
        ("http://[0:0::1]/", "[::1]"),
        ("https://bücher.example/", "Bücher.example."),
        ("https://a.bücher.example/", ".bücher.example"),
    ],
)
def test_an_allowed_host_passes_in_any_spelling(url: str, allowed: str) -> None:
    assert callbacks(allowed).check(action(url))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "control.example.com/x",
        "ftp://control.example.com",
        "file:///etc/passwd",
        "https://",
        "https://control.example.com:99999/",
        "https://[control/",
        "https://control.example.com/a b",
        "https://control.example.com/\r\nX: do-not-tell",
        "https://control.example.com\\@evil.test/",
        "ftp://127.0.0.1:21/",
        "https://a..example.com/",
        f"https://{'a' * 64}.example.com/",
        "https://a<b.example.com/",
        "https://straße.example.com/",
        "https://control。example.com/",
        "https://control.example.com/\ud800",
    ],
)
def test_an_invalid_address_is_refused(url: str) -> None:
    refused(InvalidEvent, "a callback's address is not an http", url, callbacks(".example.com", "127.0.0.1"))


@pytest.mark.parametrize(
    "entry", ["https://control.example.com", "control.example.com:443", "*.example.com", "a/b", ".", "", "a..b"]
)
def test_an_invalid_allowed_host_is_named(entry: str) -> None:
    with pytest.raises(
        ConfigurationError, match="which is not a host; write it without scheme, port and path"
    ) as caught:
        Callbacks(AllowedHosts(["control.example.com", entry]))
    assert str(caught.value).startswith(f"CALLBACK_ALLOWED_HOSTS has the entry {entry!a}, ")


def test_an_address_with_a_user_is_refused() -> None:
    url = "https://u:do-not-tell@control.example.com/"

    refused(InvalidEvent, "its address contains a user name", url, callbacks("control.example.com"))


def test_only_loopback_is_allowed_without_tls() -> None:
    refused(ConfigurationError, "its address has no TLS", "http://control.example.com/", callbacks(".example.com"))


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "100.100.100.200",
        "0.0.0.0",  # noqa: S104
        "::",
        "224.0.0.1",
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
    ],
)
def test_a_name_that_resolves_to_a_special_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 0))
    bad = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, 0))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [good, bad])

    with pytest.raises(ConfigurationError, match=r"the host's name resolves to .*, which no control plane can have"):
        callbacks("control.example.com").send(action("https://control.example.com/"))


def addresses(*found: str) -> list[tuple[Any, ...]]:
    return [
        (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))
        for address in found
    ]


class Network:
    """Resolves names to the scripted addresses, and routes addresses to servers on loopback."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: dict[str, list[list[tuple[Any, ...]]]] = {}
        self.routes: dict[str, int] = {}
        self.connected: list[str] = []
        self._resolve, self._connect = socket.getaddrinfo, socket.socket.connect
        monkeypatch.setattr("socket.getaddrinfo", self._resolved)
        monkeypatch.setattr("socket.socket.connect", lambda sock, address: self._routed(sock, address))

    def _resolved(self, host: Any, *args: Any, **options: Any) -> Any:
        return self.names[host].pop(0) if host in self.names else self._resolve(host, *args, **options)

    def _routed(self, sock: socket.socket, address: Any) -> None:
        self.connected.append(address[0])
        if address[0] not in self.routes:
            raise ConnectionRefusedError
        self._connect(sock, ("127.0.0.1", self.routes[address[0]]))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


def test_the_next_address_of_a_name_is_tried(plane: ControlPlane, network: Network) -> None:
    port = urlsplit(plane.url).port or 0
    network.names["localhost"] = [addresses("127.0.0.2", "127.0.0.1")] * 3
    network.routes["127.0.0.1"] = port

    assert callbacks("localhost").send(action(f"http://localhost:{port}/")) is OutcomeStatus.SENT
    assert network.connected == ["127.0.0.2", "127.0.0.1"]


def test_a_callback_without_a_secret_is_refused(plane: ControlPlane) -> None:
    refused(InvalidEvent, "its secret is empty", plane.url, secret="")
    assert plane.requests == []


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": object()}])
def test_a_body_that_is_not_json_is_refused(plane: ControlPlane, body: dict[str, Any]) -> None:
    refused(InvalidEvent, "a callback's body is not JSON", plane.url, body=body)
    assert plane.requests == []


@pytest.mark.parametrize("changes", [{"secret": "do-not-tell\ud800"}, {"context": "do-not-tell\udc00"}])
def test_a_callback_that_cannot_be_signed_is_refused(plane: ControlPlane, changes: dict[str, Any]) -> None:
    refused(InvalidEvent, "a callback cannot be signed", plane.url, **changes)
    assert plane.requests == []


# TLS


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[ControlPlane]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with ControlPlane(SECRET, CONTEXT, ssl_context=context) as plane:
        yield plane


def test_the_certificate_is_that_of_the_name_and_not_of_the_address(
    secure: ControlPlane, authority: trustme.CA
) -> None:
    url = secure.url.replace("127.0.0.1", "localhost")

    assert callbacks("localhost", ssl_context=trusting(authority)).send(action(url)) is OutcomeStatus.SENT
    with pytest.raises(ConfigurationError, match="the host's certificate is not trusted"):
        callbacks("127.0.0.1", ssl_context=trusting(authority)).send(action(secure.url))
    assert len(secure.accepted) == 1


@pytest.mark.parametrize("name", ["control.example.com", "контроль.example"])
def test_the_connection_uses_the_checked_address_even_if_the_name_changes(
    name: str, authority: trustme.CA, network: Network
) -> None:
    written = name.encode("idna").decode()
    asked_for: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _, server_name, __: asked_for.append(server_name)
    authority.issue_cert(written).configure_cert(context)

    with ControlPlane(SECRET, CONTEXT, ssl_context=context) as plane:
        network.names[written] = [addresses("203.0.113.7"), addresses("169.254.169.254")]
        network.routes["203.0.113.7"] = urlsplit(plane.url).port or 0
        sender = callbacks(name, ssl_context=trusting(authority))

        assert sender.send(action(f"https://{name}/")) is OutcomeStatus.SENT
        with pytest.raises(ConfigurationError, match="the host's name resolves to 169"):
            sender.send(action(f"https://{name}/"))

    assert network.connected == ["203.0.113.7"]
    assert asked_for == [written]
    assert [request.headers["Host"] for request in plane.requests] == [written]


def test_a_certificate_of_an_unknown_authority_is_not_trusted(secure: ControlPlane) -> None:
    url = secure.url.replace("127.0.0.1", "localhost")

    with pytest.raises(ConfigurationError, match="the host's certificate is not trusted"):
        callbacks("localhost").send(action(url))
    assert secure.requests == []


def test_a_repr_shows_no_secret() -> None:
    assert "do-not-tell" not in repr(action("https://control.example.com/do-not-tell"))
    assert "do-not-tell" not in repr(callbacks())
