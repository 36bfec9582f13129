"""Nothing is sent once another delivery may hold the lock, even if the environment was frozen meanwhile."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore import handlers

from orchestrator import Application, PublishEvent, Registry, SendCallback, StartJob, Unavailable, create_handler
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.control_plane import ControlPlane
from orchestrator.local.http_server import Answer, LocalServer
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.timing import clock
from tests.support.aws import Requests
from tests.support.events import invoke, sample

PROJECT = "premium-tenant-provisioning"


@pytest.fixture
def freeze(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Move the wall clock by a minute, as after a freeze by Lambda, during which the monotonic clock may stop."""

    def pass_by() -> None:
        monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + timedelta(minutes=1))

    return pass_by


@pytest.fixture
def frozen_after_claim(monkeypatch: pytest.MonkeyPatch, freeze: Callable[[], None]) -> None:
    claim = DynamoDBRecords.claim

    def claim_and_freeze(*arguments: Any, **options: Any) -> Any:
        claimed = claim(*arguments, **options)
        freeze()
        return claimed

    monkeypatch.setattr(DynamoDBRecords, "claim", claim_and_freeze)


@pytest.fixture
def codebuild(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeBuildServer]:
    with CodeBuildServer([PROJECT], now=datetime.now(UTC).timestamp()) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", server.url)
        yield server


def handler_of(action: Any) -> Application:
    registry = Registry()
    registry.consumer("TENANT_PROVISIONING", name="act")(lambda event: action)
    return create_handler(registry)


def assert_late(handler: Application) -> None:
    with pytest.raises(Unavailable, match=r"0\.0 s are left of this invocation"):
        invoke(handler, sample("tenant-provisioning"))


@pytest.mark.usefixtures("frozen_after_claim")
def test_no_build_is_started_late(codebuild: CodeBuildServer) -> None:
    assert_late(handler_of(StartJob(name=PROJECT)))

    assert codebuild.builds == []


def test_a_request_that_was_signed_in_time_is_not_sent_late(
    codebuild: CodeBuildServer, freeze: Callable[[], None]
) -> None:
    """The signature would be valid for minutes more."""
    entry = ("before-sign.codebuild", lambda **_: freeze())
    handlers.BUILTIN_HANDLERS.append(entry)
    try:
        assert_late(handler_of(StartJob(name=PROJECT)))
    finally:
        handlers.BUILTIN_HANDLERS.remove(entry)

    assert codebuild.builds == []


@pytest.mark.usefixtures("frozen_after_claim")
def test_no_jenkins_job_is_started_late(jenkins: JenkinsServer) -> None:
    assert_late(handler_of(StartJob(builder="JENKINS", name="tenants/enterprise-provisioning")))

    assert jenkins.waiting() == []


@pytest.mark.usefixtures("frozen_after_claim")
def test_no_callback_is_sent_late(aws: Requests, control_plane: ControlPlane) -> None:
    assert_late(handler_of(SendCallback(url=control_plane.url, body={}, secret="secret")))

    assert not control_plane.requests


@pytest.mark.usefixtures("frozen_after_claim")
def test_no_event_is_published_late(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}
    server = LocalServer(lambda request: Answer(200, json.dumps(taken)))
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", f"http://{server.address}")
    try:
        assert_late(handler_of(PublishEvent(type="X", detail={})))
    finally:
        server.stop()

    assert not server.requests
