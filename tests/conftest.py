"""Shared fixtures: an AWS emulated in this process, and a record of the requests sent to it."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from moto import mock_aws

from orchestrator import Application, Registry, create_handler
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.control_plane import ControlPlane
from orchestrator.local.dynamodb import one_request_at_a_time
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.timing import clock
from tests.support.aws import REGION, Requests, recorded
from tests.support.emulated import filled
from tests.support.once import make_once

_PROJECTS = [
    value for tier in sandbox.TIERS.values() for name, value in tier.items() if name.lower().endswith("jobname")
]

# No test is timed: the machine may be busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _made_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        make_once(patch)
        yield


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the shell's AWS settings, so that no test can reach a real account."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


@pytest.fixture
def requests() -> Iterator[Requests]:
    """Record every AWS request of a JSON protocol (not those of S3 and CloudFormation) as the SDK sends it."""
    with recorded() as sent:
        yield sent


@pytest.fixture
def aws(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> Iterator[Requests]:
    """Emulate AWS with the sandbox's tiers and projects; returns the requests sent from now on."""
    monkeypatch.setenv("TIER_DETAILS_TABLE", "tiers")
    monkeypatch.setenv("DATA_STORE_TABLE", "tenants")
    monkeypatch.setenv("IDEMPOTENCY_TABLE", "idempotency")
    with mock_aws(), one_request_at_a_time():
        filled("sandbox", sandbox.fill)
        requests.clear()
        yield requests


@pytest.fixture
def codebuild(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeBuildServer]:
    """Run a CodeBuild server with the sandbox's projects; unlike moto's, it keeps variables."""
    projects = [
        name for tier in sandbox.TIERS.values() for key, name in tier.items() if key.lower().endswith("jobname")
    ]
    with CodeBuildServer(projects, now=datetime.now(UTC).timestamp()) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", server.url)
        yield server


@pytest.fixture
def jenkins(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> Iterator[JenkinsServer]:
    """Run the sandbox's Jenkins, with the settings to use it."""
    with sandbox.jenkins() as server:
        monkeypatch.setenv("JENKINS_URL", server.url)
        monkeypatch.setenv("JENKINS_CREDENTIALS_SECRET", sandbox.JENKINS_SECRET)
        yield server


@pytest.fixture
def side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jobs of several operations of a tenant run at the same time."""
    monkeypatch.setenv("TENANT_SERIALIZATION", "false")


@pytest.fixture
def handler(aws: Requests) -> Application:
    """Create a handler with the built-in consumers."""
    registry = Registry()
    registry.include(lifecycle)
    return create_handler(registry)


@pytest.fixture
def control_plane(monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlPlane]:
    """Run a control plane with the sample events' secret and context, and allow callbacks to it."""
    monkeypatch.setenv("CALLBACK_ALLOWED_HOSTS", "127.0.0.1")
    with ControlPlane(sandbox.CALLBACK_SECRET, sandbox.CALLBACK_CONTEXT) as plane:
        yield plane


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Return a function that moves the clock."""

    def move(by: timedelta) -> None:
        monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + by)

    return move
