"""What the tests share: an AWS emulated in the process, and the requests that left for it."""

import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import boto3
import pytest
from botocore import handlers, session
from moto import mock_aws

from orchestrator import Application, Registry, create_handler
from orchestrator.aws.items import from_item, plain
from orchestrator.builders.jenkins.credentials import Credentials
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.control_plane import ControlPlane
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.local.lambda_context import LocalContext

EVENTS = Path(__file__).parent.parent / "events"
SAMPLES = sorted(EVENTS.glob("tenant-*.json"))
REGION = "eu-west-1"


@pytest.fixture(autouse=True, scope="session")
def _service_models_read_once() -> None:
    """Let all SDK sessions share one loader: each test has sessions of its own, but the files never change."""
    loader = session.create_loader()
    session.create_loader = lambda search_path_string=None: loader


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave nothing of the caller's AWS set-up, so that no test can reach a real account."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


class Requests(list[tuple[str, dict[str, Any]]]):
    """The requests that left the process: the operation and its decoded body, in order."""

    def of(self, operation: str) -> list[dict[str, Any]]:
        return [body for name, body in self if name == operation]

    @property
    def operations(self) -> list[str]:
        return [name for name, _ in self]

    @property
    def besides_reports(self) -> list[str]:
        """The operations without those that report a failure on the bus and remember that."""
        return [name for name, body in self if name != "PutEvents" and body.get("TableName") != "idempotency"]


@pytest.fixture
def requests() -> Iterator[Requests]:
    """Record every AWS request as it goes out on the wire, below the SDK."""
    sent = Requests()

    def record(request: Any, **_: Any) -> None:
        target = request.headers.get("X-Amz-Target", b"").decode()
        sent.append((target.rpartition(".")[2], json.loads(request.body)))

    entry = ("before-send", record)
    handlers.BUILTIN_HANDLERS.insert(0, entry)
    try:
        yield sent
    finally:
        handlers.BUILTIN_HANDLERS.remove(entry)


@pytest.fixture
def aws(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> Iterator[Requests]:
    """Emulate AWS with the sandbox's tiers and projects; gives the requests that are sent from here on."""
    monkeypatch.setenv("TIER_DETAILS_TABLE", "tiers")
    monkeypatch.setenv("DATA_STORE_TABLE", "tenants")
    monkeypatch.setenv("IDEMPOTENCY_TABLE", "idempotency")
    with mock_aws():
        sandbox.fill()
        requests.clear()
        yield requests


@pytest.fixture
def jenkins(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> Iterator[JenkinsServer]:
    """Run the sandbox's Jenkins, with the settings that lead there."""
    with sandbox.jenkins() as server:
        monkeypatch.setenv("JENKINS_URL", server.url)
        monkeypatch.setenv("JENKINS_CREDENTIALS_SECRET", sandbox.JENKINS_SECRET)
        yield server


@pytest.fixture
def handler(aws: Requests) -> Application:
    """Give the ready-made function, made anew."""
    registry = Registry()
    registry.include(lifecycle)
    return create_handler(registry)


@pytest.fixture
def control_plane(monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlPlane]:
    """Run a control plane that knows the samples' secret and context, and allow callbacks to it."""
    monkeypatch.setenv("CALLBACK_ALLOWED_HOSTS", "127.0.0.1")
    with ControlPlane(sandbox.CALLBACK_SECRET, sandbox.CALLBACK_CONTEXT) as plane:
        yield plane


def stored(tenant_id: str = sandbox.TENANT["tenantId"]) -> dict[str, Any]:
    """Read a tenant's record out of the emulated table."""
    item = boto3.client("dynamodb").get_item(TableName="tenants", Key={"tenantId": {"S": tenant_id}}).get("Item")
    record: dict[str, Any] = plain(from_item(item or {}))
    return record


def published(aws: Requests) -> list[dict[str, Any]]:
    """Give what was published on the bus, in order."""
    return [entry for request in aws.of("PutEvents") for entry in request["Entries"]]


def as_event(entry: Mapping[str, Any], event_id: str = "published") -> dict[str, Any]:
    """Make what a rule sends of what was published."""
    return {
        "version": "0",
        "id": event_id,
        "detail-type": entry["DetailType"],
        "source": entry["Source"],
        "account": "123456789012",
        "time": datetime.fromtimestamp(int(entry["Time"]), UTC).isoformat(),
        "region": REGION,
        "resources": entry["Resources"],
        "detail": json.loads(entry["Detail"]),
    }


def state_change(build: Mapping[str, Any]) -> dict[str, Any]:
    """Make what CodeBuild tells the default bus of a build."""
    return sample(
        "codebuild-build-state-change",
        id=f"{build['id']} {build['buildStatus']}",
        detail={
            "build-status": build["buildStatus"],
            "project-name": build["projectName"],
            "build-id": build["arn"],
            "additional-information": {
                "environment": {"environment-variables": build["environment"]["environmentVariables"]}
            },
        },
    )


def no_pause(seconds: float) -> None:
    """Stand for `time.sleep`."""


class Secrets:
    """Stands for the client of Secrets Manager, with the secret that opens a Jenkins for tests."""

    USERS: ClassVar[dict[str, str]] = {"admin": "s3cret-token"}

    def __init__(self, secret: str | bytes = json.dumps({"username": "admin", "token": "s3cret-token"})) -> None:
        self.secret = secret
        self.reads: list[str] = []

    @property
    def credentials(self) -> Credentials:
        client: Any = self
        return Credentials("jenkins", lambda: client)

    def get_secret_value(self, SecretId: str) -> dict[str, str | bytes]:  # noqa: N803 (the SDK's name)
        self.reads.append(SecretId)
        return {"SecretString" if isinstance(self.secret, str) else "SecretBinary": self.secret}


def sample(name: str, **changes: Any) -> dict[str, Any]:
    """Read a sample event that happens now, with some of its top-level fields changed."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {**json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8")), "time": now, **changes}


def changed(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Copy an event with the value at a dotted path replaced, or removed where the value is `...`."""
    event = copy.deepcopy(event)
    *parents, last = path.split(".")
    target: Any = event
    for part in parents:
        target = target[int(part) if isinstance(target, list) else part]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return event


def invoke(handler: Callable[[Any, Any], Any], event: Any) -> Any:
    """Call a handler as Lambda does: with JSON in, and an answer that must be JSON."""
    answer = handler(json.loads(json.dumps(event)), LocalContext())
    assert json.loads(json.dumps(answer)) == answer
    return answer


def variables(start_build: Mapping[str, Any]) -> dict[str, str]:
    """Read the variables of a StartBuild request."""
    sent = start_build["environmentVariablesOverride"]
    assert all(set(variable) == {"name", "value", "type"} for variable in sent)
    assert {variable["type"] for variable in sent} == {"PLAINTEXT"}
    return {variable["name"]: variable["value"] for variable in sent}


def json_lines(text: str) -> list[dict[str, Any]]:
    """Read what was logged."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
