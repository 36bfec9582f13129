"""The world in which a mutated event is handled: the handlers, and what they talk to, the same for each event."""

import contextlib
import io
import itertools
import json
import os
import random
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from orchestrator import Application, Registry, create_handler
from orchestrator.aws.items import to_item
from orchestrator.lifecycle import app_plane
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import messages, sandbox
from orchestrator.local.control_plane import ControlPlane, standing_in
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.local.lambda_context import LocalContext
from orchestrator.sbt import registry as sbt
from orchestrator.timing import clock
from tests.mutations import aws
from tests.mutations.samples import CONTEXT, SECRET, enveloped, files, not_delivered, planted, sample
from tests.mutations.tree import Node, tree_of, written

_BEGIN = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
_LATER = _BEGIN + timedelta(hours=2)
_CODEBUILD, _JENKINS, _STEP_FUNCTIONS = (
    "tenant-provisioning",
    "tenant-provisioning-jenkins",
    "tenant-provisioning-step-functions",
)
_PARAMETERS = (
    *("tier", "tenant", "secret", "context", "NOTE", "ORCHESTRATOR_RUN_ID", "ORCHESTRATOR_EVENT_ID"),
    *("ORCHESTRATOR_EVENT_TYPE", "ORCHESTRATOR_TENANT_ID"),
)


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What came of an event.

    Attributes:
        answer: The handler's answer; `None` if it raised.
        error: What it raised.
        output: What it logged, and its metrics.
        surprises: What AWS would not have accepted.
        requests: How many requests AWS got, by operation.
        seconds: How long it took.
    """

    answer: Any
    error: Exception | None
    output: str
    surprises: list[str]
    requests: Mapping[str, int]
    seconds: float


class World:
    """Delivers events, each to the same world.

    Attributes:
        samples: What can be mutated, with a name each: the event, and which handler takes it.
    """

    def __init__(self, server: aws.Aws, jenkins: JenkinsServer, plane: ControlPlane) -> None:
        self._aws = server
        self._jenkins = jenkins
        self._plane = plane
        self._now = _BEGIN
        self._handlers = {name: create_handler(_with(*parts)) for name, parts in _REGISTRIES.items()}
        self.samples: list[tuple[str, str, Node]] = []

    def now(self) -> datetime:
        return self._now

    def fill(self) -> None:
        """Store tiers and a tenant, start runs, let some of them end, and collect the samples."""
        for tier, details in sandbox.TIERS.items():
            limits: dict[str, Any] = {"PREMIUM": {"maxConcurrent": 5}}.get(tier, {})
            self._store(aws.TIERS, tier, {"tier": tier, **details, **limits})
        tenant = json.loads(written(planted(dict(sandbox.TENANT))))
        self._store(aws.TENANTS, tenant["tenantId"], tenant)
        events = dict(files())
        endings = [*self._run_jobs(events), self._busy(events)]
        self._now = _LATER
        self._aws.now = _LATER.timestamp()
        self._aws.save()
        self._seeded = self._jenkins.waiting()
        for name, event in (*events.items(), *endings):
            handler = "sbt" if name.startswith("sbt") else "app plane" if "app-plane" in name else "lifecycle"
            forms = enveloped(name, event) if isinstance(event, dict) and "detail" in event else [(name, event)]
            self.samples += [(form, handler, planted(value)) for form, value in forms]
        name, record = not_delivered()
        self.samples.append((name, "lifecycle", tree_of(record)))

    def deliver(self, handler: str, payload: str) -> Delivered:
        """Hand a payload, which is JSON, to a handler as Lambda does, in the world as `fill` has left it."""
        self._aws.restore()
        for item in self._jenkins.waiting():
            if item not in self._seeded:
                self._jenkins.cancel(item)
        self._jenkins.requests.clear()
        self._plane.requests.clear()
        self._plane.accepted.clear()
        random.seed(0)
        return self._deliver(self._handlers[handler], json.loads(payload))

    def _deliver(self, handler: Application, event: Any) -> Delivered:
        output = io.StringIO()
        answer, error = None, None
        began = time.perf_counter()
        with contextlib.redirect_stdout(output):
            try:
                answer = handler(event, LocalContext(aws_request_id="request-1"))
            except Exception as raised:
                error = raised
        return Delivered(
            answer=answer,
            error=error,
            output=output.getvalue(),
            surprises=list(self._aws.surprises),
            requests=dict(self._aws.requests),
            seconds=time.perf_counter() - began,
        )

    def _run_jobs(self, events: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Start jobs for tenants of their own, and yield the events that could report how their runs end."""
        for place, name in enumerate(
            (_CODEBUILD, _CODEBUILD, "tenant-provisioning-enveloped", _STEP_FUNCTIONS, _JENKINS)
        ):
            event = _for_tenant(events[name], f"tenant-{place}", f"start-{place}")
            self._must(event)
            builds, executions = self._aws.builds, self._aws.executions
            if name == _JENKINS:
                variables, build = (
                    dict(self._jenkins.waiting()[-1].values),
                    {"BUILD_URL": "https://jenkins.example.com/job/x/1/"},
                )
            elif name == _STEP_FUNCTIONS:
                execution = executions[-1]
                execution.update(status="SUCCEEDED", stopDate=self._aws.now, output=execution["input"])
                yield "execution status change", messages.status_change(execution)
                variables, build = json.loads(execution["input"]), {"BUILD_URL": execution["executionArn"]}
            else:
                ended = builds[-1]
                variables = {one["name"]: one["value"] for one in ended["environment"]["environmentVariables"]}
                build = {"CODEBUILD_BUILD_ID": ended["id"]}
                ended["buildStatus"] = "FAILED" if place == 1 else "SUCCEEDED"
                yield f"build state change {place}", messages.state_change(ended)
            detail = {**variables, **build, "API_ENDPOINT": "https://control-plane.example.com/webhook"}
            success = sample("tenant-provisioning-success", id=f"success-{place}", detail=detail)
            yield f"{name} success {place}", success
            yield f"{name} failure {place}", sample("tenant-provisioning-failure", id=f"failure-{place}", detail=detail)
            if place in (0, 2):
                self._must(success)
                yield f"{name} deployment {place}", sample("tenant-deployment-job", id=f"deploy-{place}", detail=detail)

    def _busy(self, events: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return an event that has to wait for another job of its tenant."""
        return "tenant-provisioning busy", _for_tenant(events[_CODEBUILD], "tenant-1", "busy")

    def _must(self, event: dict[str, Any]) -> None:
        delivered = self._deliver(self._handlers["lifecycle"], json.loads(written(planted(event))))
        assert delivered.error is None, delivered.error
        assert not delivered.surprises, delivered.surprises

    def _store(self, table: str, key: str, item: Mapping[str, Any]) -> None:
        stored: Any = to_item(item)
        self._aws.tables[table][key] = stored


_REGISTRIES = {"lifecycle": (lifecycle,), "sbt": (lifecycle, sbt), "app plane": (lifecycle, app_plane.registry)}


def _with(*parts: Registry) -> Registry:
    registry = Registry()
    for part in parts:
        for consumer in part:
            if consumer.name in registry:
                registry.remove(consumer.name)
        registry.include(part)
    return registry


def _for_tenant(event: dict[str, Any], tenant: str, event_id: str) -> dict[str, Any]:
    own = (event["detail"].get("data") or event["detail"])["tenant"]["id"]
    changed: dict[str, Any] = json.loads(json.dumps(event).replace(own, tenant))
    return {**changed, "id": event_id, "time": "2026-11-24T08:59:00Z"}


@contextmanager
def world() -> Iterator[World]:
    """Create a world, and stop its servers at the end."""
    server = aws.Aws()
    with ExitStack() as stack:
        jenkins = stack.enter_context(JenkinsServer(users={aws.JENKINS_USER: aws.TOKEN}, now=_BEGIN.timestamp()))
        for tier in sandbox.TIERS.values():
            for name, job in tier.items():
                if name.lower().endswith("jobname") and ":" not in job:
                    jenkins.add_job(job, _PARAMETERS)
        plane = stack.enter_context(ControlPlane(SECRET, CONTEXT, settles=False))
        stack.enter_context(standing_in(plane))
        stack.enter_context(mock.patch.dict(os.environ, _environment(jenkins.url), clear=True))
        stack.enter_context(server.answering())
        stack.enter_context(mock.patch.object(uuid, "uuid4", map(_uuid, itertools.count()).__next__))
        made = World(server, jenkins, plane)
        stack.enter_context(mock.patch.object(clock, "now", made.now))
        made.fill()
        yield made


def _uuid(number: int) -> uuid.UUID:
    """Make an id that is the same in each world, and for which the system need not be asked."""
    return uuid.UUID(int=number, version=4)


def _environment(jenkins_url: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": aws.REGION,
        "AWS_DEFAULT_REGION": aws.REGION,
        "IDEMPOTENCY_TABLE": aws.LEDGER,
        "DATA_STORE_TABLE": aws.TENANTS,
        "TIER_DETAILS_TABLE": aws.TIERS,
        "WAITING_QUEUE_URL": f"{aws.QUEUES}/orchestrator-waiting",
        "FAILURE_QUEUE_URL": f"{aws.QUEUES}/orchestrator-failures",
        "CALLBACK_URL": "https://control-plane.example.com/webhook",
        "CALLBACK_ALLOWED_HOSTS": ".example.com",
        "DEPROVISIONING_WEBHOOK_TYPE": "2",
        "JENKINS_URL": jenkins_url,
        "JENKINS_CREDENTIALS_SECRET": "jenkins",
    }
