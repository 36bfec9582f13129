"""What the function publishes fits the committed contract."""

import json

import pytest

from orchestrator import Application, EndingEvent, Event, Registry, StartJob, create_handler
from orchestrator.cli.asyncapi import document
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.lifecycle.endings import ENDINGS
from orchestrator.local.codebuild import CodeBuildServer
from tests.support.aws import Requests, published
from tests.support.contract import problems
from tests.support.events import as_event, changed, invoke, sample, state_change


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED"])
def test_the_ending_of_a_build(handler: Application, codebuild: CodeBuildServer, aws: Requests, status: str) -> None:
    invoke(handler, sample("tenant-provisioning"))
    (build,) = codebuild.builds
    codebuild.finish(build, status)
    invoke(handler, state_change(build))

    (entry,) = published(aws)
    assert problems(document(lifecycle, "a:handler"), as_event(entry), entry["DetailType"]) == []
    assert problems(document(lifecycle, "a:handler"), as_event(entry), ENDINGS) == []


def test_the_event_after_a_success(handler: Application, aws: Requests) -> None:
    invoke(handler, sample("tenant-provisioning"))
    invoke(handler, sample("tenant-provisioning-success"))

    (entry,) = published(aws)
    assert problems(document(lifecycle, "a:handler"), as_event(entry), "TENANT_DEPLOYMENT") == []


def test_a_failure_to_start(handler: Application, aws: Requests) -> None:
    with pytest.raises(Exception, match="tier 'GOLD' is not in table"):
        invoke(handler, changed(sample("tenant-provisioning"), "detail.planConfig.tier", "GOLD"))

    (entry,) = published(aws)
    assert problems(document(lifecycle, "a:handler"), as_event(entry), "TENANT_PROVISIONING_FAILURE") == []


def test_the_failure_of_an_own_consumer_that_nobody_takes(aws: Requests) -> None:
    registry = Registry()

    @registry.consumer("TENANT_SUSPENDED", ending=EndingEvent(failure="TENANT_SUSPENSION_REFUSED"))
    def suspend(event: Event) -> StartJob:
        return StartJob(name="no-such-project")

    event = sample("tenant-provisioning", **{"detail-type": "TENANT_SUSPENDED"}, detail={"tenantId": "t1"})
    with pytest.raises(Exception, match="no-such-project"):
        invoke(create_handler(registry), event)

    (entry,) = published(aws)
    assert problems(document(registry, "a:handler"), as_event(entry), "TENANT_SUSPENSION_REFUSED") == []
    assert json.loads(entry["Detail"])["ORCHESTRATOR_TENANT_ID"] == "t1"
