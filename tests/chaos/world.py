"""The servers around the children: AWS, CodeBuild, Jenkins and a control plane, behind one faulty address."""

import base64
import itertools
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import urllib3

from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.http_server import Answer, LocalServer, Request
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.stores.tiers import JOB_ATTRIBUTES
from tests.chaos import aws_server, control_plane
from tests.chaos.aws_server import AwsServer, failure
from tests.chaos.child import Child
from tests.chaos.control_plane import ControlPlane, Received
from tests.chaos.faults import COUNTED, KILLING, Fault, Faults, Hold
from tests.chaos.history import History, JobStarted, Published, Webhook
from tests.chaos.lives import start_of

REGION = "eu-west-1"
PROJECTS = [tier[name] for tier in aws_server.TIERS.values() for name in JOB_ATTRIBUTES.values() if name in tier]
DEPROVISIONING_WEBHOOK = 1
_PARAMETERS = (
    "tier",
    "tenant",
    "secret",
    "context",
    "ORCHESTRATOR_RUN_ID",
    "ORCHESTRATOR_EVENT_ID",
    "ORCHESTRATOR_EVENT_TYPE",
    "ORCHESTRATOR_TENANT_ID",
)
_AWS_FAILURES = {500: "InternalServerError", 503: "ServiceUnavailable"}
# Share of an invocation's time limit: below the worker's read timeout, and longer than a usual delivery.
_SLOW = 0.25


class World:
    """The servers, faults and history of a run.

    Attributes:
        faults: Decides the fault of each request.
        history: The effects of the requests.
        met: How many requests met a fault other than a kill, by the sender's `busy_with`.
        kills: How many senders were killed, by the line of the request at which they were.
        webhook_address: The URL for status webhooks.
        surprises: Requests that the emulations could not answer; any of them invalidates the run.
        on_published: Called with each published event; set by the driver.
        on_late: Called for a request that will take effect late, with the id of its start event and the time when the
            sender's invocation ends; set by the driver.
    """

    def __init__(self, faults: Faults, *, room: int = 0, scale: float = 1.0) -> None:
        """Build the servers.

        Args:
            faults: Decides the fault of each request.
            room: Factor for the tiers' limits on jobs at the same time; 0: no limits.
            scale: Factor for the emulated durations, which are written for invocations of three seconds.
        """
        self.faults = faults
        self.history = History()
        self.aws = AwsServer(faults.strikes, scale)
        self.control_plane = ControlPlane()
        self.codebuild = CodeBuildServer(PROJECTS, now=time.time())
        self.jenkins = JenkinsServer(users={"nobody": "can-log-in"}, now=time.time())
        for project in PROJECTS:
            self.jenkins.add_job(project, _PARAMETERS)
        self.met: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()
        self.surprises: list[str] = []
        self.on_published: Callable[[Mapping[str, Any]], None] = lambda event: None
        self.on_late: Callable[[str, float], None] = lambda start, end: None
        self._children: dict[str, Child] = {}
        self._numbers = itertools.count(1)
        self._door = _Door(self)
        self._lock = threading.Lock()
        self._builds: set[str] = set()
        self._timers: list[threading.Timer] = []
        host = f"http://{self._door.address}"
        self.webhook_address = f"{host}/webhook"
        self.aws.add_tiers(host, room)
        self._backends = urllib3.PoolManager(maxsize=32, retries=False)

    def __enter__(self) -> Self:
        self.codebuild.__enter__()
        self.jenkins.start()
        self._door.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children.values():
            child.kill()
            child.close()
        self.await_late()
        self._door.stop()
        self._backends.clear()
        self.jenkins.stop()
        self.codebuild.__exit__(None, None, None)

    def spawn(self, timeout: float, ahead: float = 0.0) -> Child:
        """Start a child with this time limit and with its clock `ahead`, both in seconds."""
        name = f"CHILD{next(self._numbers)}"
        self.jenkins.users[name] = aws_server.JENKINS_TOKEN
        child = self._children[name] = Child(name, timeout, ahead, self._environment(name))
        return child

    def await_late(self) -> None:
        """Wait until every late request has taken effect."""
        for timer in self._timers:
            timer.join()

    def advance(self, seconds: float, *, token_speed: float = 1.0) -> None:
        """Move the builders' clocks; CodeBuild's, and so its tokens, move `token_speed` times as fast."""
        self.jenkins.advance(seconds)
        self.codebuild.advance(seconds * token_speed)

    def runs(self, builder: str) -> Iterator[Mapping[str, object]]:
        """Yield the variables of every run on a builder."""
        if builder == "CODE_BUILD":
            yield from map(self.codebuild.variables, list(self.codebuild.builds))
            return
        # The queue is read first: an item that leaves it meanwhile appears among the builds.
        yield from (item.values for item in self.jenkins.waiting())
        for project in PROJECTS:
            yield from (build.values for build in self.jenkins.builds(project))

    def handle(self, request: Request) -> Answer | None:
        """Answer a request, with its fault; `None` drops the connection."""
        if len(request.body) != int(request.headers.get("Content-Length") or 0):
            return None  # the sender died halfway through
        child = self._children[_caller(request)]
        began = child.began  # read now: the child may have its next delivery by the end of this method
        fault = self.faults.next(child.name, line(request))
        with self._lock:
            self.met[child.busy_with] += fault in COUNTED
            if fault in KILLING:
                self.kills[line(request).partition(" ")[0]] += 1
        match fault:
            case Hold():
                fault.wait()
            case Fault.SLOW:
                time.sleep(_SLOW * child.timeout)
            case Fault.BROKEN | Fault.THROTTLED | Fault.FULL:
                return self._refusal(request, fault)
            case Fault.KILLED_BEFORE:
                child.kill()
                return None
            case Fault.LATE:
                self._act_late(request, child, began)
                return None
        answer = self._act(request, child, began)
        if fault is Fault.KILLED_AFTER:
            child.kill()
        return None if fault in (Fault.ANSWER_LOST, Fault.KILLED_AFTER) else answer

    def _act_late(self, request: Request, child: Child, began: float) -> None:
        """Let a request take effect at a random, rather late moment before its sender's invocation times out."""
        end = began + child.timeout
        left = max(0.0, end - time.monotonic())
        share = max(self.faults.share(), self.faults.share())
        timer = threading.Timer(share * left, self._act, (request, child, began))
        self._timers.append(timer)
        timer.start()
        self.on_late(start_of(request.fields), end)

    def _act(self, request: Request, child: Child, began: float) -> Answer:
        service = request.headers.get("X-Amz-Target", "").partition(".")[0]
        if service.startswith("CodeBuild"):
            answer = self._forward(self.codebuild.url, request)
            self._note_build(request, answer, began)
            return answer
        if service:
            return self.aws.respond(request, child.name, partial(self._note_published, began))
        if request.path in control_plane.PATHS:
            return self.control_plane.respond(request, partial(self._note_webhook, began))
        answer = self._forward(self.jenkins.url, request)
        if answer.status == HTTPStatus.CREATED:
            self._note_job(request.fields, began)
        return answer

    def _note_build(self, request: Request, answer: Answer, began: float) -> None:
        if not line(request).startswith("StartBuild") or answer.status != HTTPStatus.OK:
            return
        build = json.loads(answer.body)["build"]
        with self._lock:
            is_new = build["id"] not in self._builds
            self._builds.add(build["id"])
        if is_new:
            self._note_job(self.codebuild.variables(build), began)

    def _note_job(self, variables: Mapping[str, str], began: float) -> None:
        event_type = variables["ORCHESTRATOR_EVENT_TYPE"]
        job = JobStarted(start=start_of(variables), began=began, at=time.monotonic(), event_type=event_type)
        self.history.jobs.append(job)

    def _note_webhook(self, began: float, received: Received) -> None:
        webhook = Webhook(
            start=received.start,
            began=began,
            at=time.monotonic(),
            succeeded=received.succeeded,
            is_accepted=received.is_accepted,
        )
        self.history.webhooks.append(webhook)

    def _note_published(self, began: float, event: Mapping[str, Any]) -> None:
        start, event_type = start_of(event["detail"]), event["detail-type"]
        self.history.published.append(Published(start=start, began=began, at=time.monotonic(), event_type=event_type))
        self.on_published(event)

    def _refusal(self, request: Request, fault: Fault) -> Answer:
        is_aws = "X-Amz-Target" in request.headers
        if fault is Fault.FULL:
            return failure("AccountLimitExceededException", 400) if is_aws else Answer(503)
        if fault is Fault.THROTTLED:
            return failure("ThrottlingException", 400) if is_aws else Answer(429)
        status = self.faults.pick(list(_AWS_FAILURES))
        return failure(_AWS_FAILURES[status], status) if is_aws else Answer(status)

    def _forward(self, url: str, request: Request) -> Answer:
        query = f"?{urlencode(request.query)}" if request.query else ""
        response = self._backends.request(
            request.method,
            url + request.path + query,
            body=request.body,
            headers=dict(request.headers.items()),
            redirect=False,
        )
        own = ("content-length", "date", "server")
        kept = {name: value for name, value in response.headers.items() if name.lower() not in own}
        return Answer(response.status, response.data.decode(), kept)

    def _environment(self, name: str) -> Mapping[str, str]:
        url = f"http://{self._door.address}"
        return {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SSL_CERT_FILE": os.devnull,  # nothing is encrypted here, and reading all certificates takes time
            "AWS_ACCESS_KEY_ID": name,
            "AWS_SECRET_ACCESS_KEY": "of-no-worth",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": url,
            "IDEMPOTENCY_TABLE": aws_server.IDEMPOTENCY_TABLE,
            "DATA_STORE_TABLE": aws_server.TENANTS_TABLE,
            "TIER_DETAILS_TABLE": aws_server.TIERS_TABLE,
            "DEPROVISIONING_WEBHOOK_TYPE": str(DEPROVISIONING_WEBHOOK),
            "WAITING_QUEUE_URL": f"{url}/123456789012/{aws_server.WAITING_QUEUE}",
            "FAILURE_QUEUE_URL": f"{url}/123456789012/{aws_server.FAILURE_QUEUE}",
            "JENKINS_URL": url,
            "JENKINS_CREDENTIALS_SECRET": "jenkins",
        }


class _Door(LocalServer):
    """The one address that all children use."""

    def __init__(self, world: World) -> None:
        super().__init__(lambda request: Answer(500))
        self._world = world

    def handle(self, request: Request) -> Answer | None:
        try:
            return self._world.handle(request)
        except Exception as error:
            self._world.surprises.append(f"{line(request)}: {error!r}")
            return failure("NotEmulated", 400)


def line(request: Request) -> str:
    """Name a request, as in `PutItem idempotency`, `StartBuild` or `POST /job/a/buildWithParameters`."""
    operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
    if not operation:
        return f"{request.method} {request.path}"
    return f"{operation} {json.loads(request.body).get('TableName', '')}".rstrip()


def _caller(request: Request) -> str:
    authorization = request.headers.get("Authorization", "")
    if authorization.startswith("Basic "):
        return base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")[0]
    credential = re.search(r"Credential=(\w+)/", authorization)
    # Callbacks carry no credentials; the worker sends its name as the user agent.
    return request.headers["User-Agent"] if credential is None else credential[1]
