"""A consumer that fails after its job was started is not published as a job that was not started."""

from collections.abc import Callable
from datetime import timedelta

import boto3
import pytest

from orchestrator import (
    Action,
    ConfigurationError,
    Context,
    EndingEvent,
    Event,
    OrchestratorError,
    Registry,
    SendCallback,
    StartJob,
    UpdateTenant,
    create_handler,
    lifecycle,
)
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.control_plane import ControlPlane
from tests.support.aws import Requests, published
from tests.support.endings import PROJECT
from tests.support.events import invoke, sample

JOB = StartJob(name=PROJECT)


def test_a_duplicate_whose_tier_is_gone_does_not_publish_a_failure(
    codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    event = sample("tenant-provisioning")
    invoke(create_handler(lifecycle.registry), event)
    boto3.client("dynamodb").delete_item(TableName="tiers", Key={"tier": {"S": "PREMIUM"}})
    later(timedelta(minutes=10))

    with pytest.raises(OrchestratorError):
        invoke(create_handler(lifecycle.registry), event)

    assert published(aws) == []


def test_an_action_that_fails_after_the_start_does_not_publish_a_failure(
    codebuild: CodeBuildServer, aws: Requests, control_plane: ControlPlane
) -> None:
    registry = Registry()
    callback = SendCallback(url=control_plane.url, body={}, secret="secret")
    control_plane.next.answer(404)

    @registry.consumer("TENANT_PROVISIONING", ending=EndingEvent())
    def start(event: Event) -> list[Action]:
        return [JOB, callback]

    with pytest.raises(ConfigurationError, match="the host answered 404"):
        invoke(create_handler(registry), sample("tenant-provisioning"))

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
