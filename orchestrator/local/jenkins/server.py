"""Serves the emulated Jenkins over HTTP: answers requests to the remote API, after checks of API tokens and crumbs.

A crumb is Jenkins' token against forged requests.
"""

import base64
import html
import json
import secrets
import ssl
from collections.abc import Collection, Mapping
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import Self
from urllib.parse import unquote

from orchestrator.local.http_server import Answer, LocalServer, Request
from orchestrator.local.jenkins.beans import Beans
from orchestrator.local.jenkins.state import EPOCH, Build, Controller, Job, QueueItem, url_path
from orchestrator.local.jenkins.tree import Bean, export, parse_tree

_CRUMB_FIELD = "Jenkins-Crumb"
_COOKIE = "JSESSIONID"


class _Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class JenkinsServer:
    """A Jenkins on a loopback port.

    The server's clock moves only when `advance` is called. A queue item waits until `run_queue` or `advance` starts its
    build. With `auto_start`, every build starts at once.

    >>> with JenkinsServer(users={"admin": "token"}) as jenkins:
    ...     job = jenkins.add_job("tenants/scale-down", ["tenant"])
    ...     item = jenkins.enqueue("tenants/scale-down", {"tenant": "acme"})
    ...     [build.number for build in jenkins.run_queue()]
    [1]

    `state.Controller` documents `add_job`, `enqueue`, `run_queue`, `advance`, `finish`, `builds`, `waiting` and
    `cancel`. `http_server.LocalServer` documents `start`, `stop` and `close_connections`.

    Attributes:
        url: Root URL, without a trailing slash.
        users: Each user's API token, by user name. A test may change the tokens while the server runs.
        jobs: Every job, by full name.
        requests: Every request received, in order.
        next: The `http_server.Script` whose methods make the next requests fail. For example, `next.drop(on="POST")`
            closes the connection of the next POST without an answer.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str],
        read_only: Collection[str] = (),
        crumb_required: bool = False,
        auto_start: bool = False,
        now: float = EPOCH,
        context_path: str = "",
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Bind a free port; `start` or a `with` block starts the server.

        Args:
            users: Each user's API token, by user name.
            read_only: Names of the users who may see jobs but not build them.
            crumb_required: Whether every POST needs a crumb, which is Jenkins' token against forged requests. A real
                Jenkins demands crumbs only from users who log in with a password instead of an API token.
            auto_start: Whether a build starts as soon as it is requested, without waiting in the queue.
            now: The time to which the clock is set at first, in seconds since 1970.
            context_path: Prefix of the path of every URL, such as `/jenkins`.
            ssl_context: The context for TLS; `None` serves plain HTTP.
        """
        self.users = dict(users)
        self._read_only = frozenset(read_only)
        self._crumb_required = crumb_required
        self._prefix = context_path
        self._crumbs: dict[str, str] = {}
        self._http = LocalServer(self._respond, ssl_context=ssl_context)
        self.url = f"{self._http.scheme}://{self._http.address}{context_path}"
        self.requests = self._http.requests
        self.next = self._http.script
        self.start = self._http.start
        self.stop = self._http.stop
        self.close_connections = self._http.close_connections

        self._controller = controller = Controller(auto_start=auto_start, now=now)
        self._beans = Beans(controller, f"{self.url}/")
        self.jobs = controller.jobs
        self.add_job = controller.add_job
        self.enqueue = controller.enqueue
        self.run_queue = controller.run_queue
        self.advance = controller.advance
        self.finish = controller.finish
        self.builds = controller.builds
        self.waiting = controller.waiting
        self.cancel = controller.cancel

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def expire_sessions(self) -> None:
        """End every login session, as a restart of Jenkins does.

        A crumb is valid only in its session, so every crumb issued so far becomes invalid.
        """
        self._crumbs.clear()

    def _respond(self, request: Request) -> Answer:
        with self._controller.lock:
            try:
                return self._route(request, self._authenticate(request))
            except _Refused as refused:
                return refused.answer

    def _authenticate(self, request: Request) -> str:
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            name, _, token = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            raise _Refused(_error(401)) from None
        if scheme != "Basic" or self.users.get(name) != token:
            raise _Refused(_error(401))
        return name

    def _route(self, request: Request, user: str) -> Answer:
        if request.method == "POST" and self._crumb_required and not self._has_crumb(request):
            return _error(403, "No valid crumb was included in the request")
        match request.method, self._segments(request):
            case "GET", ["crumbIssuer", "api", "json"]:
                return self._issue_crumb(request)
            case "GET", [*segments, "api", "json"]:
                return _json(request, self._bean(segments, user))
            case "POST", ["queue", "cancelItem"]:
                self._controller.cancel(self._item(request.fields.get("id", "")))
                return Answer(204)
            case "POST", ["job", *_, "build" | "buildWithParameters" as verb] as segments:
                return self._schedule(request, self._job(segments[:-1], user), verb, user)
        raise _Refused(_error(404))

    def _segments(self, request: Request) -> list[str]:
        """Split the request's path, without the context path, at its slashes.

        Each segment is percent-decoded only once: a second decoding would turn a `%2F` in a job's name into a slash.

        Raises:
            _Refused: The path does not start with the context path; the answer is 404.
        """
        if not request.path.startswith(f"{self._prefix}/"):
            raise _Refused(_error(404))
        path = request.path.removeprefix(self._prefix)
        return [unquote(segment) for segment in path.split("/") if segment]

    def _bean(self, segments: list[str], user: str) -> Bean:
        match segments:
            case []:
                return self._beans.dashboard()
            case ["computer"]:
                return self._beans.computers()
            case ["queue"]:
                return self._beans.queue()
            case ["queue", "item", number]:
                return self._beans.item(self._item(number))
            case ["job", *_, number] if len(segments) % 2:
                return self._beans.build(_build(self._job(segments[:-1], user), number))
            case ["job", *_]:
                path = _full_name(segments)
                if path not in self._controller.jobs and self._controller.children(path):
                    return self._beans.folder(path)
                return self._beans.job(self._job(segments, user))
        raise _Refused(_error(404))

    def _job(self, segments: list[str], user: str) -> Job:
        job = self._controller.jobs.get(_full_name(segments))
        if job is None or user in job.hidden_from:
            raise _Refused(_error(404))
        return job

    def _item(self, number: str) -> QueueItem:
        item = self._controller.item(int(number)) if number.isdecimal() else None
        if item is None:
            raise _Refused(_error(404))
        return item

    def _schedule(self, request: Request, job: Job, verb: str, user: str) -> Answer:
        with_parameters = verb == "buildWithParameters"
        if user in self._read_only:
            return _error(403, f"{user} is missing the Job/Build permission")
        if job.disabled:
            return _error(409, f"{job.path} is not buildable")
        if with_parameters and job.parameters is None:
            return _error(400, f"{job.path} is not parameterized")
        if not with_parameters and job.parameters is not None:
            return _error(400, "Nothing is submitted")
        if job.refusing:
            # Jenkins redirects to `.`, and its web server sends that as the path of the job's own page.
            return Answer(302, headers={"Location": f"{self._prefix}/{url_path(job.path)}"})
        # Jenkins drops an undeclared parameter without an error, and uses the default of a parameter that is not sent.
        values = {p.name: request.fields.get(p.name, "") for p in job.parameters or ()}
        item, is_new = self._controller.schedule(job, values)
        # For `build`, Jenkins answers 201 even if an identical item is already in the queue.
        status = 201 if is_new or not with_parameters else 303
        return Answer(status, headers={"Location": f"{self.url}/queue/item/{item.id}/"})

    def _has_crumb(self, request: Request) -> bool:
        session = SimpleCookie(request.headers.get("Cookie", "")).get(_COOKIE)
        crumb = None if session is None else self._crumbs.get(session.value)
        return crumb is not None and request.headers.get(_CRUMB_FIELD) == crumb

    def _issue_crumb(self, request: Request) -> Answer:
        session, crumb = secrets.token_hex(8), secrets.token_hex(32)
        self._crumbs[session] = crumb
        fields = {"crumb": crumb, "crumbRequestField": _CRUMB_FIELD}
        cookie = f"{_COOKIE}={session}; Path={self._prefix or '/'}; HttpOnly"
        return _json(request, Bean("hudson.security.csrf.DefaultCrumbIssuer", fields), {"Set-Cookie": cookie})


def _build(job: Job, number: str) -> Build:
    for build in job.builds:
        if number == str(build.number):
            return build
    raise _Refused(_error(404))


def _full_name(segments: list[str]) -> str:
    """Return the full name of a job or folder: `tenants/scale-down` for the path `job/tenants/job/scale-down`.

    Raises:
        _Refused: The segments are not the path of a job or folder; the answer is 404.
    """
    names = segments[1::2]
    # Each name is one segment. A slash in a decoded segment was encoded in the URL, so it separates no folders.
    if segments[::2] != ["job"] * len(names) or any("/" in name for name in names):
        raise _Refused(_error(404))
    return "/".join(names)


def _json(request: Request, bean: Bean, headers: Mapping[str, str] | None = None) -> Answer:
    tree = request.fields.get("tree")
    if tree is None and request.fields.get("depth", "0") != "0":
        return _error(501, "this server supports only depth=0 and tree")
    try:
        shown = export(bean, None if tree is None else parse_tree(tree))
    except ValueError as error:
        return _error(500, f"Malformed tree expression: {error}")
    body = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return Answer(200, body, {"Content-Type": "application/json;charset=utf-8", **(headers or {})})


def _error(status: int, message: str = "") -> Answer:
    reason = html.escape(message or HTTPStatus(status).phrase)
    page = f"<html><body><h2>HTTP ERROR {status} {reason}</h2></body></html>"
    return Answer(status, page, {"Content-Type": "text/html;charset=utf-8"})
