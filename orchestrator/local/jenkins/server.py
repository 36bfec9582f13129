"""A Jenkins to test against and to run samples on: what a client needs of one, in memory, on loopback."""

from __future__ import annotations

import base64
import binascii
import hashlib
import html
import json
import secrets
import ssl
from collections.abc import Collection, Mapping
from http import HTTPStatus
from http.cookies import SimpleCookie
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote

from orchestrator.local.http_server import Answer, LocalServer, Request
from orchestrator.local.jenkins.beans import Beans
from orchestrator.local.jenkins.state import EPOCH, Build, Controller, Job, Parameter, QueueItem, Values, url_path
from orchestrator.local.jenkins.tree import Bean, export

__all__ = ["Build", "JenkinsServer", "Job", "Parameter", "QueueItem"]

CRUMB_FIELD = "Jenkins-Crumb"
ANONYMOUS = "anonymous"
VERSION = "2.528.3"


class _Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class JenkinsServer:
    """A small HTTP server that behaves as Jenkins does towards a client that starts and follows jobs.

    Time stands still: an item waits in the queue until the test says otherwise.

    >>> with JenkinsServer(users={"admin": "token"}) as jenkins:
    ...     job = jenkins.add_job("tenants/scale-down", ["tenant"])
    ...     item = jenkins.enqueue("tenants/scale-down", {"tenant": "acme"})
    ...     [build.number for build in jenkins.run_queue()]
    [1]

    Attributes:
        url: Root URL, without a trailing slash.
        users: API token by user name; may be changed while the server runs.
        requests: Every request received, in order.
        next: Scripts what happens to the next requests: `next.drop(on="POST", after_acting=True)`.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        read_only: Collection[str] = (),
        crumb_required: bool = False,
        auto_start: bool = False,
        auto_result: str | None = None,
        now: float = EPOCH,
        context_path: str = "",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Bind a port; `start` or the context manager serves it.

        Args:
            users: API token (or password) by user name; without any, nobody has to log in.
            read_only: Users who may see jobs and not start them.
            crumb_required: Every POST needs a crumb, as with a password instead of an API token.
            auto_start: A build starts as soon as it is asked for.
            auto_result: Result with which every build ends as soon as it starts.
            now: The server's time at the start, in seconds since 1970.
            context_path: Path under which Jenkins lives, such as `/jenkins`.
            port: Port on 127.0.0.1; 0 picks a free one.
            ssl_context: Serve TLS with this context.
        """
        self.users = dict(users or {})
        self._read_only = frozenset(read_only)
        self._crumb_required = crumb_required
        self._prefix = context_path.rstrip("/")
        self._salt = secrets.token_hex(8)
        self._sessions: set[str] = set()
        self._http = LocalServer(self._respond, port=port, ssl_context=ssl_context)
        self.url = f"{self._http.scheme}://{self._http.address}{self._prefix}"
        self.requests = self._http.requests
        self.next = self._http.script
        self.start = self._http.start
        self.stop = self._http.stop
        self.close_connections = self._http.close_connections

        # The controller's verbs are the server's own: tests speak to one object.
        self._controller = controller = Controller(auto_start=auto_start, auto_result=auto_result, now=now)
        self.add_job = controller.add_job
        self.enqueue = controller.enqueue
        self.run_queue = controller.run_queue
        self.hold = controller.hold
        self.release = controller.release
        self.advance = controller.advance
        self.finish = controller.finish
        self.builds = controller.builds
        self.waiting = controller.waiting
        self.cancel = controller.cancel

    def __enter__(self) -> Self:
        """Start serving."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        self.stop()

    def expire_sessions(self) -> None:
        """Forget every session, as a restart does: crumbs handed out before are no longer valid."""
        self._sessions.clear()

    def _respond(self, request: Request) -> Answer:
        with self._controller.lock:
            try:
                answer = self._route(request, self._authenticate(request))
            except _Refused as refused:
                answer = refused.answer
        return Answer(answer.status, answer.body, {"X-Jenkins": VERSION, **answer.headers})

    def _authenticate(self, request: Request) -> str:
        header = request.headers.get("Authorization", "")
        if header.lower().startswith("basic "):
            try:
                name, _, token = base64.b64decode(header[6:], validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                name = token = ""
            if not self.users or (name and self.users.get(name) == token):
                return name
            raise _Refused(_error(401, "Unauthorized", {"WWW-Authenticate": 'Basic realm="Jenkins"'}))
        if not self.users or request.path == f"{self._prefix}/login":
            return ANONYMOUS
        login = f"{self._prefix}/login?from={quote(request.path, safe='')}"
        page = f"<meta http-equiv='refresh' content='1;url={login}'/>Authentication required"
        raise _Refused(_page(page, 403, {"X-You-Are-Authenticated-As": ANONYMOUS}))

    def _route(self, request: Request, user: str) -> Answer:
        if request.method == "POST" and self._crumb_required and not self._has_crumb(request, user):
            return _error(403, "No valid crumb was included in the request")
        beans = Beans(self._controller, f"{self.url}/", user)
        match self._segments(request):
            case [] | ["login"]:
                return _page("Welcome to Jenkins!")
            case ["api", "json"]:
                return _json(request, beans.dashboard())
            case ["crumbIssuer", "api", "json"]:
                return self._issue_crumb(request, beans)
            case ["me", "api", "json"]:
                return _json(request, beans.me())
            case ["computer", "api", "json"]:
                return _json(request, beans.computers())
            case ["queue", *rest]:
                return self._queue(request, beans, rest)
            case ["job", *_] as segments:
                return self._below_job(request, beans, segments)
        return _not_found()

    def _segments(self, request: Request) -> list[str]:
        """The path below the context, resolved and decoded as Stapler does it: each segment once."""
        if not f"{request.path}/".startswith(f"{self._prefix}/"):
            raise _Refused(_not_found())
        segments: list[str] = []
        for segment in request.path[len(self._prefix) :].split("/"):
            if segment == "..":
                segments = segments[:-1]
            elif segment not in ("", "."):
                segments.append(unquote(segment))
        return segments

    def _session(self, request: Request) -> str:
        cookie = SimpleCookie(request.headers.get("Cookie", "")).get(self._cookie)
        return cookie.value if cookie is not None and cookie.value in self._sessions else ""

    @property
    def _cookie(self) -> str:
        return f"JSESSIONID.{self._salt[:8]}"

    def _crumb(self, user: str, session: str) -> str:
        return hashlib.sha256(f"{user};{session}{self._salt}".encode()).hexdigest()

    def _has_crumb(self, request: Request, user: str) -> bool:
        session = self._session(request)
        crumb = request.headers.get(CRUMB_FIELD) or request.fields.get(CRUMB_FIELD)
        return bool(session) and crumb == self._crumb(user, session)

    def _issue_crumb(self, request: Request, beans: Beans) -> Answer:
        session = self._session(request)
        headers = {}
        if not session:
            session = secrets.token_hex(8)
            self._sessions.add(session)
            headers = {"Set-Cookie": f"{self._cookie}={session}; Path={self._prefix or '/'}; HttpOnly"}
        return _json(request, beans.crumb(self._crumb(beans.user, session)), headers)

    def _queue(self, request: Request, beans: Beans, rest: list[str]) -> Answer:
        match rest:
            case ["api", "json"]:
                return _json(request, beans.queue())
            case ["item", number, *below]:
                item = self._item(number, beans)
                return _json(request, beans.item(item)) if below == ["api", "json"] else _not_found()
            case ["cancelItem"]:
                _require_post(request)
                self._controller.cancel(self._item(request.fields.get("id", ""), beans))
                return Answer(204)
        return _not_found()

    def _item(self, number: str, beans: Beans) -> QueueItem:
        item = self._controller.item(int(number)) if number.isdecimal() else None
        if item is None or not beans.sees(item.job):
            raise _Refused(_not_found())
        return item

    def _below_job(self, request: Request, beans: Beans, segments: list[str]) -> Answer:
        names: list[str] = []
        while segments[:1] == ["job"] and len(segments) > 1:
            names.append(segments[1])
            segments = segments[2:]
        # A name that holds a slash once decoded names no job: the path of one is never split again.
        path = "/".join(names)
        job = self._controller.jobs.get(path) if all("/" not in name for name in names) else None
        if job is not None and beans.sees(job):
            return self._job(request, beans, job, segments)
        if job is None and self._controller.is_folder(path):
            if segments == ["api", "json"]:
                return _json(request, beans.folder(path))
            if not segments:
                return _page(html.escape(path))
        return _not_found()

    def _job(self, request: Request, beans: Beans, job: Job, rest: list[str]) -> Answer:
        match rest:
            case []:
                return _page(html.escape(job.path))
            case ["api", "json"]:
                return _json(request, beans.job(job))
            case ["build"]:
                return self._build(request, beans.user, job)
            case ["buildWithParameters"]:
                return self._build_with_parameters(request, beans.user, job)
            case [number, *below]:
                builds = self._controller.builds(job.path)
                build = next((b for b in builds if number in (str(b.number), "lastBuild")), None)
                if build is not None and below == ["api", "json"]:
                    return _json(request, beans.build(build))
                if build is not None and not below:
                    return _page(f"{html.escape(job.path)} #{build.number}")
        return _not_found()

    def _build_with_parameters(self, request: Request, user: str, job: Job) -> Answer:
        self._check_may_build(request, user)
        _check_buildable(job)
        if job.parameters is None:
            return _error(400, f"{job.path} is not parameterized")
        item, created = self._controller.schedule(job, _submitted(request, job.parameters), user)
        if item is None:
            return self._back_to(job)
        return self._at_item(request, item, 201 if created else 303)

    def _build(self, request: Request, user: str, job: Job) -> Answer:
        _check_buildable(job)
        if job.parameters is not None and request.method != "POST":
            return _page("This build requires parameters:")
        self._check_may_build(request, user)
        if job.parameters is not None:
            return self._build_from_form(request, user, job, job.parameters)
        item, _ = self._controller.schedule(job, {}, user)
        # Unlike buildWithParameters, Jenkins says 201 here even where an identical item waits.
        return self._back_to(job) if item is None else self._at_item(request, item, 201)

    def _build_from_form(self, request: Request, user: str, job: Job, parameters: tuple[Parameter, ...]) -> Answer:
        text = request.fields.get("json")
        if not text:
            submitted = bool(request.fields)
            return _error(400, "This page expects a form submission" if submitted else "Nothing is submitted")
        declared = {parameter.name: parameter for parameter in parameters}
        try:
            entries = json.loads(text).get("parameter", [])
            entries = [entries] if isinstance(entries, dict) else entries
            values = {e["name"]: declared[e["name"]].parse(str(e["value"])) for e in entries}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return _oops(f"cannot read the form: {error!r}")
        item, created = self._controller.schedule(job, values, user)
        # Jenkins looks only for an item that is new, and treats one that waited already as a refusal.
        return self._at_item(request, item, 201) if item is not None and created else self._back_to(job)

    def _check_may_build(self, request: Request, user: str) -> None:
        if user in self._read_only:
            message = f"{html.escape(user)} is missing the Job/Build permission"
            headers = {"X-You-Are-Authenticated-As": user, "X-Required-Permission": "hudson.model.Item.Build"}
            raise _Refused(_page(f"<h1>Access Denied</h1><p class='error'>{message}</p>", 403, headers))
        _require_post(request)

    def _at_item(self, request: Request, item: QueueItem, status: int) -> Answer:
        # Jenkins builds this address from the request, and those in its JSON from its configured URL.
        host = request.headers.get("Host") or self._http.address
        location = f"{self._http.scheme}://{host}{self._prefix}/queue/item/{item.id}/"
        return Answer(status, headers={"Location": location})

    def _back_to(self, job: Job) -> Answer:
        # The redirect to `.` as it leaves the server: already resolved to the job's own page.
        return Answer(302, headers={"Location": f"{self._prefix}/{url_path(job.path)}"})


def _submitted(request: Request, parameters: tuple[Parameter, ...]) -> Values:
    values: dict[str, str | bool] = {}
    for parameter in parameters:
        given = request.values(parameter.name)
        if len(given) > 1:
            message = f"Illegal number of parameter values for {parameter.name}: {len(given)}"
            raise _Refused(_oops(message))
        values[parameter.name] = parameter.parse(given[0]) if given else parameter.default
    return values


def _check_buildable(job: Job) -> None:
    if job.disabled:
        raise _Refused(_error(409, f"{job.path} is not buildable"))


def _require_post(request: Request) -> None:
    if request.method != "POST":
        raise _Refused(_page("<h1>This URL requires POST</h1>", 405, {"Allow": "POST"}))


def _json(request: Request, bean: Bean, headers: Mapping[str, str] | None = None) -> Answer:
    fields = request.fields
    try:
        shown = export(bean, fields.get("tree"), int(fields.get("depth", 0)))
    except ValueError as error:
        return _oops(f"Malformed tree expression: {error}")
    body = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return Answer(200, body, {"Content-Type": "application/json;charset=utf-8", **(headers or {})})


def _page(body: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    content = {"Content-Type": "text/html;charset=utf-8"}
    return Answer(status, f"<html><body>{body}</body></html>", {**content, **(headers or {})})


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    return _page(f"<h2>HTTP ERROR {status} {html.escape(message)}</h2>", status, headers)


def _oops(message: str) -> Answer:
    return _page(f"<h1>Oops!</h1><pre>{html.escape(message)}</pre>", 500)


def _not_found() -> Answer:
    return _error(404, HTTPStatus.NOT_FOUND.phrase)
