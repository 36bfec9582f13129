"""An invocation stops before Lambda's time limit, and uses its time."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from orchestrator import (
    Application,
    Event,
    PublishEvent,
    Registry,
    SendCallback,
    StartJob,
    Unavailable,
    create_handler,
    wiring,
)
from orchestrator.aws import clients as sdk
from orchestrator.builders.jenkins import connection as jenkins_connection
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.control_plane import ControlPlane
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.local.lambda_context import LocalContext
from orchestrator.performers import callbacks
from orchestrator.timing import clock, deadline
from tests.support.aws import Requests
from tests.support.builder import Recorder
from tests.support.dripping import DrippingServer
from tests.support.events import json_lines, sample

LAMBDA_DEFAULT_SECONDS = 3
JENKINS_JOB = "tenants/enterprise-provisioning"


def event(**changes: Any) -> dict[str, Any]:
    return sample("tenant-provisioning", **changes) | {"detail-type": "X"}


def deciding(decision: Any) -> Application:
    registry = Registry()
    registry.consumer("X", name="x")(lambda event: decision)
    return create_handler(registry)


def outcome(handler: Application, event: dict[str, Any], timeout: float = LAMBDA_DEFAULT_SECONDS) -> Any:
    return handler(event, LocalContext(timeout=timeout))["consumers"][0]["outcomes"][-1]


@pytest.fixture
def drip() -> Iterator[DrippingServer]:
    """A dripping server, and a check that the test took less than ten seconds."""
    with DrippingServer() as server:
        begun = time.monotonic()
        yield server
        assert time.monotonic() - begun < 10
    assert server.requests


# At Lambda's default time limit.


@pytest.mark.usefixtures("side_by_side")
def test_a_codebuild_job_is_started_at_the_default_time_limit(handler: Application, aws: Requests) -> None:
    assert outcome(handler, sample("tenant-provisioning", id="warm"), 60)["status"] == "started"

    assert outcome(handler, sample("tenant-provisioning"))["status"] == "started"


@pytest.mark.usefixtures("side_by_side")
def test_a_jenkins_job_is_started_at_the_default_time_limit(jenkins: JenkinsServer, aws: Requests) -> None:
    handler = deciding(StartJob(builder="JENKINS", name=JENKINS_JOB))
    assert outcome(handler, event(id="warm"), 60)["status"] == "started"

    assert outcome(handler, event())["status"] == "started"


def test_a_callback_is_sent_at_the_default_time_limit(aws: Requests, control_plane: ControlPlane) -> None:
    failure = sample("tenant-provisioning-failure")
    failure["detail"]["API_ENDPOINT"] = control_plane.url

    assert outcome(create_handler(lifecycle), failure)["status"] == "sent"


def test_an_event_is_published_at_the_default_time_limit(aws: Requests) -> None:
    handler = deciding(PublishEvent(type="Y", detail={}))
    assert outcome(handler, event(id="warm"), 60)["status"] == "published"

    assert outcome(handler, event())["status"] == "published"


def test_the_sweep_reports_at_the_default_time_limit(handler: Application, aws: Requests) -> None:
    sandbox.leave_jobs_open()

    swept = outcome(handler, sample("scheduled-sweep"))

    assert (swept["status"], swept["checked"], swept["published"]) == ("swept", 1, 1)


def test_a_batch_is_handled_at_the_default_time_limit(handler: Application, aws: Requests) -> None:
    assert outcome(handler, sample("tenant-provisioning", id="warm"), 60)["status"] == "started"

    answer = handler(sample("sqs-batch"), LocalContext(timeout=LAMBDA_DEFAULT_SECONDS))

    assert answer == {"batchItemFailures": []}


# In the last half second.


@pytest.mark.parametrize("timeout", [0, deadline.MARGIN_SECONDS + deadline.LEAST_SECONDS - 0.05])
def test_aws_is_not_called_in_the_last_half_second(aws: Requests, timeout: float) -> None:
    handler = deciding(StartJob(name="premium-tenant-provisioning"))

    with pytest.raises(Unavailable, match=r"s are left of this invocation.* raise the function's timeout"):
        outcome(handler, event(), timeout)
    assert "StartBuild" not in aws.operations


def test_jenkins_is_not_called_in_the_last_half_second(
    jenkins: JenkinsServer, aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = deciding(StartJob(builder="JENKINS", name=JENKINS_JOB))
    outcome(handler, event(id="warm"))
    jenkins.requests.clear()
    monkeypatch.delenv("IDEMPOTENCY_TABLE")  # otherwise AWS would be called first, and refused

    with pytest.raises(Unavailable, match="s are left of this invocation"):
        outcome(deciding(StartJob(builder="JENKINS", name=JENKINS_JOB)), event(), 1.4)
    assert jenkins.requests == []


# Slow answers.


def test_a_dripping_answer_of_aws_is_cut_off(drip: DrippingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", drip.url)

    with pytest.raises(Unavailable, match="AWS was not reached") as caught:
        outcome(deciding(StartJob(name="any-job")), event(), 2)
    assert caught.value.ambiguous


def test_a_dripping_answer_of_jenkins_is_cut_off(
    jenkins: JenkinsServer, drip: DrippingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JENKINS_URL", drip.url)

    with pytest.raises(Unavailable, match="gave no answer") as caught:
        outcome(deciding(StartJob(builder="JENKINS", name=JENKINS_JOB)), event(), 3)
    assert caught.value.ambiguous


def test_a_dripping_answer_to_a_callback_is_cut_off(
    aws: Requests, drip: DrippingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBACK_ALLOWED_HOSTS", "127.0.0.1")
    send = SendCallback(url=drip.url, body={}, secret="s", context="c")

    with pytest.raises(Unavailable, match="gave no answer") as caught:
        outcome(deciding(send), event(), 3)
    assert caught.value.ambiguous


@pytest.mark.usefixtures("side_by_side")
def test_a_job_whose_start_was_cut_off_is_found_by_the_next_delivery(
    aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CodeBuildServer(["slow"], now=time.time()) as codebuild:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", codebuild.url)
        handler, twice = deciding(StartJob(name="slow")), event()
        assert outcome(handler, event(id="warm"), 60)["status"] == "started"
        codebuild.next.stall(on="StartBuild", after_acting=True)

        with pytest.raises(Unavailable, match="AWS was not reached"):
            outcome(handler, twice)
        monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + timedelta(minutes=1))  # the lock has ended
        second = outcome(handler, twice, 10)

        assert second["status"] == "already started"
        assert len(codebuild.builds) == 2


def test_the_sdk_pauses_no_longer_than_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", paused.append)
    with CodeBuildServer(["busy"]) as codebuild:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", codebuild.url)
        codebuild.next.answer(
            400, '{"__type": "ThrottlingException"}', {"Content-Type": "application/x-amz-json-1.1"}, times=9
        )
        client = sdk.Clients().get("codebuild", "eu-west-1")

        with deadline.within(1.2), pytest.raises(client.exceptions.ClientError, match="ThrottlingException"):
            client.batch_get_builds(ids=["x"])
        assert (len(codebuild.requests), paused) == (1, [])
        with deadline.within(60), pytest.raises(client.exceptions.ClientError, match="ThrottlingException"):
            client.batch_get_builds(ids=["x"])
        assert (len(codebuild.requests), len(paused)) == (4, 2)


def test_the_sdk_tries_three_times_if_its_pauses_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    with CodeBuildServer(["shaky"]) as codebuild:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", codebuild.url)
        codebuild.next.answer(500, times=2)

        with deadline.within(2):
            assert sdk.Clients().get("codebuild", "eu-west-1").batch_get_builds(ids=["x"])["builds"] == []
        assert len(codebuild.requests) == 3


def test_a_dripping_answer_with_credentials_is_cut_off(drip: DrippingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With SnapStart, Lambda provides credentials over HTTP."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{drip.url}/credentials")
    monkeypatch.setenv("IDEMPOTENCY_TABLE", "any")

    with pytest.raises(Unavailable):
        outcome(deciding(StartJob(name="any-job")), event(), 3)


def test_a_refusal_of_aws_is_raised_even_if_the_time_is_nearly_up(handler: Application) -> None:
    client = boto3.client("codebuild")
    own = sdk.Clients().get("codebuild", "eu-west-1")

    with deadline.within(0.9), pytest.raises(client.exceptions.ClientError, match="ResourceNotFoundException"):
        own.start_build(projectName="none")


# A time limit that is too short.


@pytest.mark.parametrize(("timeout", "url", "warned"), [(3, "", 1), (9, "", 0), (9, "https://j.example", 1)])
def test_a_time_limit_that_is_too_short_is_logged_at_the_first_event(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, timeout: int, url: str, warned: int
) -> None:
    monkeypatch.setenv("JENKINS_URL", url)
    handler = deciding(None)

    for _ in range(2):
        handler(event(), LocalContext(timeout=timeout))

    lines = [line for line in json_lines(capsys.readouterr().out) if line.get("level") == "WARNING"]
    assert [f"timeout is about {timeout} s" in line["message"] for line in lines] == [True] * warned


def test_the_time_of_a_call_matches_the_time_limits_of_the_clients() -> None:
    assert wiring.AWS_CALL_SECONDS == sdk.CONNECT_TIMEOUT_SECONDS + sdk.READ_TIMEOUT_SECONDS
    assert wiring.AWS_CALL_SECONDS == callbacks.CONNECT_TIMEOUT_SECONDS + callbacks.READ_TIMEOUT_SECONDS
    assert (
        wiring.JENKINS_CALL_SECONDS
        == jenkins_connection.CONNECT_TIMEOUT_SECONDS + jenkins_connection.READ_TIMEOUT_SECONDS
    )


# The deadline itself.


def test_parallel_consumers_have_the_same_deadline(aws: Requests) -> None:
    registry = Registry()
    left: list[float] = []
    for name in ("a", "b"):
        registry.consumer("X", name=name)(lambda event: left.append(deadline.seconds_left()))

    create_handler(registry)(event(), LocalContext(timeout=30))

    assert [28 < seconds <= 29 for seconds in left] == [True, True]


@pytest.mark.parametrize("context", [None, object()])
def test_without_lambdas_context_there_is_no_deadline(context: Any) -> None:
    registry, builder = Registry(), Recorder()

    @registry.consumer("X")
    def start(event: Event) -> StartJob:
        assert deadline.seconds_left() == float("inf")
        return StartJob(name="x")

    create_handler(registry, builders={"CODE_BUILD": builder})(event(), context)

    assert len(builder.jobs) == 1


def test_an_earlier_deadline_stays() -> None:
    with deadline.within(5), deadline.within(60):
        assert deadline.seconds_left() <= 5
    assert deadline.seconds_left() == float("inf")
