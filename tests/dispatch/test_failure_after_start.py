"""A consumer that fails after its job was started is not published as a job that was not started."""

import json
from collections.abc import Callable
from datetime import timedelta

import boto3
import pytest

from orchestrator import (
    Action,
    Application,
    ConfigurationError,
    Context,
    EndingEvent,
    Event,
    Job,
    JobRejected,
    OrchestratorError,
    Registry,
    Run,
    SendCallback,
    StartJob,
    Unavailable,
    UpdateTenant,
    create_handler,
    lifecycle,
)
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.control_plane import ControlPlane
from tests.support.aws import Requests, published
from tests.support.endings import PROJECT
from tests.support.events import invoke, sample

TEN_MINUTES = timedelta(minutes=10)
JOB = StartJob(name=PROJECT)
SIDE = StartJob(name=PROJECT, follow=False)
MISSING = StartJob(name="no-such-project")
MISSING_SIDE = StartJob(name="no-such-project", follow=False)


def deciding(*actions: Action) -> Application:
    registry = Registry()

    @registry.consumer("TENANT_PROVISIONING", name="start", ending=EndingEvent())
    def start(event: Event) -> list[Action]:
        return list(actions)

    return create_handler(registry)


def once(job: StartJob) -> Registry:
    """Return a consumer that starts the job for the first delivery, and fails for the next ones."""
    registry, decisions = Registry(), [job]

    @registry.consumer("TENANT_PROVISIONING", ending=EndingEvent())
    def start(event: Event) -> StartJob:
        if not decisions:
            raise ConfigurationError("the tier is gone")
        return decisions.pop()

    return registry


def without_tier() -> Application:
    """Return the built-in function after the tenant's tier was deleted."""
    boto3.client("dynamodb").delete_item(TableName="tiers", Key={"tier": {"S": "PREMIUM"}})
    return create_handler(lifecycle.registry)


def start_in_doubt(codebuild: CodeBuildServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Start a build of which every answer is lost, and return the event."""
    monkeypatch.setattr("orchestrator.aws.clients.READ_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr("time.sleep", lambda _: None)
    event = sample("tenant-provisioning")
    codebuild.next.drop(on="StartBuild", after_acting=True, times=3)
    with pytest.raises(Unavailable):
        invoke(create_handler(lifecycle.registry), event)
    return event


def test_a_duplicate_whose_tier_is_gone_does_not_publish_a_failure(
    codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    event = sample("tenant-provisioning")
    invoke(create_handler(lifecycle.registry), event)
    later(TEN_MINUTES)

    with pytest.raises(OrchestratorError):
        invoke(without_tier(), event)

    assert published(aws) == []


def test_a_retry_of_a_start_in_doubt_whose_tier_is_gone_does_not_publish_a_failure(
    codebuild: CodeBuildServer,
    aws: Requests,
    later: Callable[[timedelta], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = start_in_doubt(codebuild, monkeypatch)
    later(TEN_MINUTES)

    with pytest.raises(Unavailable, match="an earlier delivery may have started the job"):
        invoke(without_tier(), event)

    assert published(aws) == []


def test_a_run_that_a_sweep_has_found_counts_as_started(
    codebuild: CodeBuildServer,
    aws: Requests,
    later: Callable[[timedelta], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = start_in_doubt(codebuild, monkeypatch)
    later(timedelta(hours=1))
    invoke(create_handler(lifecycle.registry), sample("scheduled-sweep"))

    with pytest.raises(ConfigurationError, match="tier"):
        invoke(without_tier(), event)

    assert published(aws) == []


@pytest.mark.parametrize(
    ("actions", "is_published"),
    [
        ([SIDE, MISSING], True),
        ([JOB, MISSING], True),
        ([JOB, MISSING_SIDE], False),
        ([SIDE, MISSING_SIDE], True),
    ],
    ids=["only the side job", "one of two", "all but the side job", "one of two side jobs"],
)
def test_a_failure_is_published_unless_all_followed_jobs_were_started(
    codebuild: CodeBuildServer, aws: Requests, actions: list[Action], is_published: bool
) -> None:
    with pytest.raises(JobRejected):
        invoke(deciding(*actions), sample("tenant-provisioning"))

    assert len(codebuild.builds) == 1
    assert [entry["DetailType"] for entry in published(aws)] == ["TENANT_PROVISIONING_FAILURE"] * is_published


class Forgetful:
    """A builder that cannot look up endings, and whose first answer gets lost."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def start(self, job: Job) -> Run:
        self.jobs.append(job)
        raise Unavailable("no answer")

    def find(self, job: Job) -> Run | None:
        return None


def test_a_start_in_doubt_of_a_run_that_is_not_followed_is_in_doubt_while_lambda_retries(
    aws: Requests, later: Callable[[timedelta], None]
) -> None:
    handler, event = create_handler(once(JOB), builders={"CODE_BUILD": Forgetful()}), sample("tenant-provisioning")
    with pytest.raises(Unavailable):
        invoke(handler, event)

    later(TEN_MINUTES)
    with pytest.raises(Unavailable, match="an earlier delivery may have started the job"):
        invoke(handler, event)
    assert published(aws) == []
    later(timedelta(hours=2))
    with pytest.raises(ConfigurationError):
        invoke(handler, event)
    assert len(published(aws)) == 1


def test_a_side_job_that_was_started_counts_if_the_consumer_has_no_other(
    codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    handler, event = create_handler(once(SIDE)), sample("tenant-provisioning")
    invoke(handler, event)
    later(TEN_MINUTES)

    with pytest.raises(ConfigurationError):
        invoke(handler, event)

    assert published(aws) == []


def test_a_refusal_after_a_start_in_doubt_is_published_if_no_run_is_found(
    codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    event = start_in_doubt(codebuild, monkeypatch)
    codebuild.builds.clear()
    codebuild.projects.discard(PROJECT)
    later(TEN_MINUTES)

    for _ in range(2):
        with pytest.raises(JobRejected):
            invoke(create_handler(lifecycle.registry), event)

    (entry,) = published(aws)
    assert json.loads(entry["Detail"])["error"] == "JobRejected"


def test_an_action_that_fails_after_the_start_does_not_publish_a_failure(
    codebuild: CodeBuildServer, aws: Requests, control_plane: ControlPlane
) -> None:
    control_plane.next.answer(404)
    callback = SendCallback(url=control_plane.url, body={}, secret="secret")

    with pytest.raises(ConfigurationError, match="the host answered 404"):
        invoke(deciding(JOB, callback), sample("tenant-provisioning"))

    assert len(codebuild.builds) == 1
    assert published(aws) == []


def test_a_job_is_the_same_whatever_comes_before_it(codebuild: CodeBuildServer, aws: Requests) -> None:
    registry, note = Registry(), UpdateTenant(tenant_id="t1", changes={"note": "x"}, create=True)
    decisions: list[list[Action]] = [[note, JOB], [JOB]]

    @registry.consumer("TENANT_PROVISIONING", name="start")
    def start(event: Event, context: Context) -> list[Action]:
        return decisions.pop(0)

    handler, event = create_handler(registry), sample("tenant-provisioning")
    answers = [invoke(handler, event) for _ in range(2)]

    assert [answer["consumers"][0]["outcomes"][-1]["status"] for answer in answers] == ["started", "already started"]
    assert len(codebuild.builds) == 1
