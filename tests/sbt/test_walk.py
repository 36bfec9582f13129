"""From the request of an SBT control plane to the answer, and what the control plane makes of it."""

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from orchestrator import Application, Registry, StaticTierDetails, TierDetails, Unavailable, create_handler
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.local.messages import status_change
from orchestrator.local.step_functions import StepFunctionsServer
from orchestrator.sbt import ScriptJob, registry, script_jobs
from tests.support.aws import Requests, published, stored
from tests.support.endings import open_records, outcome
from tests.support.events import as_event, invoke, json_lines, sample, state_change
from tests.support.sbt import SbtControlPlane

PROJECT = "basic-tenant-provisioning"
TENANT = {"tenantName": "Zebra", "email": "a@zebra.example.com", "tier": "BASIC", "prices": [{"id": "p", "metric": 1}]}
JOBS = script_jobs(
    ScriptJob(
        string_variables=["tenantId", "tier"],
        json_variables=["prices"],
        tenant_data=["tenantS3Bucket", "tenantConfig", "prices", "neverExported"],
        tenant_registration_data=["registrationStatus", "stackName"],
    ),
    ScriptJob(string_variables=["tenantId"]),
)


def handler_of(jobs: Registry = JOBS, tiers: TierDetails | None = None) -> Application:
    both = Registry()
    both.include(lifecycle)
    both.include(jobs)
    return create_handler(both, tiers=tiers)


class Bus:
    """The bus that the function shares with the control plane; it delivers every event twice, as EventBridge may."""

    def __init__(self, plane: SbtControlPlane, handler: Application, aws: Requests) -> None:
        self.handler = handler
        self._plane = plane
        self._aws = aws
        self._numbers = itertools.count(1)
        self._delivered = 0

    def put(self, event: dict[str, Any]) -> None:
        for _ in range(2):
            invoke(self.handler, event)
        self.deliver()

    def deliver(self) -> None:
        """Deliver what the function has published, to the control plane and back to the function."""
        while len(published(self._aws)) > self._delivered:
            entry = published(self._aws)[self._delivered]
            self._delivered += 1
            for _ in range(2):
                self._plane.take(entry)
            self.put(as_event(entry, f"published-{next(self._numbers)}"))


@pytest.fixture
def plane(aws: Requests) -> SbtControlPlane:
    return SbtControlPlane()


@pytest.fixture
def bus(plane: SbtControlPlane, codebuild: CodeBuildServer, aws: Requests) -> Bus:
    return Bus(plane, handler_of(), aws)


def finish(bus: Bus, codebuild: CodeBuildServer, status: str = "SUCCEEDED", **exported: str) -> None:
    build = codebuild.builds[-1]
    codebuild.finish(build, status, **exported)
    bus.put(state_change(build))


@pytest.mark.parametrize("prefix", ["sbt_aws_", ""])
def test_a_tenants_life(prefix: str, codebuild: CodeBuildServer, aws: Requests) -> None:
    plane = SbtControlPlane(prefix)
    bus = Bus(plane, handler_of(), aws)

    bus.put(plane.register(**TENANT))

    variables = codebuild.variables(codebuild.builds[0])
    assert (variables["tenantId"], variables["tier"]) == ("tenant-1", "BASIC")
    assert variables["prices"] == '[{"id":"p","metric":1}]'
    assert variables["instanceSize"] == "small"  # of the tier
    assert "email" not in variables
    assert stored("tenant-1")["status"] == "PROVISIONING"

    finish(bus, codebuild, registrationStatus="created", tenantS3Bucket="b-1", tenantConfig='{"a":1}', stackName="s-1")

    registration = plane.registration("registration-1")
    assert (registration["registrationStatus"], registration["stackName"]) == ("created", "s-1")
    tenant = plane.tenant("tenant-1")
    assert (tenant["tenantS3Bucket"], tenant["tenantConfig"]) == ("b-1", '{"a":1}')
    assert tenant["prices"] == variables["prices"]
    assert stored("tenant-1")["status"] == "PROVISIONED"
    assert open_records() == []

    bus.put(plane.delete("registration-1"))
    finish(bus, codebuild)

    registration = plane.registration("registration-1")
    assert (registration["registrationStatus"], registration["sbtaws_active"]) == ("deleted", False)
    assert stored("tenant-1")["status"] == "DEPROVISIONED"
    assert [build["projectName"] for build in codebuild.builds] == [PROJECT] * 2
    assert [entry["DetailType"] for entry in plane.answers[::2]] == [
        f"{prefix}provisionSuccess",
        f"{prefix}deprovisionSuccess",
    ]
    assert open_records() == []


def test_the_answer_has_the_named_variables_and_no_others(
    bus: Bus, plane: SbtControlPlane, codebuild: CodeBuildServer
) -> None:
    bus.put(plane.register(**TENANT))

    finish(bus, codebuild, tenantS3Bucket="b-1", SECRET="do-not-tell")

    entry = plane.answers[0]
    assert entry["Source"] == "sbt.application.plane"
    detail = json.loads(entry["Detail"])
    assert {name: detail[name] for name in ("tenantRegistrationId", "jobOutput")} == {
        "tenantRegistrationId": "registration-1",
        "jobOutput": {
            "tenantData": {"tenantS3Bucket": "b-1", "prices": '[{"id":"p","metric":1}]'},
            "tenantRegistrationData": {"registrationStatus": "created"},
        },
    }
    assert "do-not-tell" not in entry["Detail"]


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "STOPPED"])
def test_a_failed_build_ends_the_registration_as_failed(
    bus: Bus, plane: SbtControlPlane, codebuild: CodeBuildServer, status: str
) -> None:
    bus.put(plane.register(**TENANT))

    finish(bus, codebuild, status, registrationStatus="created")

    assert plane.registration("registration-1")["registrationStatus"] == "failed"
    assert plane.answers[0]["DetailType"] == "sbt_aws_provisionFailure"
    record = stored("tenant-1")
    assert (record["status"], record["statusReason"].split()[-4:]) == (
        "PROVISIONING_FAILED",
        [status, "in", "phase", "BUILD"],
    )


def test_a_failed_off_boarding_is_reported(bus: Bus, plane: SbtControlPlane, codebuild: CodeBuildServer) -> None:
    bus.put(plane.register(**TENANT))
    finish(bus, codebuild)
    bus.put(plane.delete("registration-1"))

    finish(bus, codebuild, "FAILED")

    assert plane.answers[-1]["DetailType"] == "sbt_aws_deprovisionFailure"
    assert plane.registration("registration-1")["registrationStatus"] == "failed"
    assert stored("tenant-1")["status"] == "DEPROVISIONING_FAILED"


@pytest.mark.parametrize(
    ("tier", "reason"), [({"tier": "GOLD"}, "tier 'GOLD' is not in table"), ({"tier": ...}, "detail.tier is missing")]
)
def test_a_job_that_cannot_be_started_ends_the_registration_as_failed(
    bus: Bus, plane: SbtControlPlane, codebuild: CodeBuildServer, tier: dict[str, Any], reason: str
) -> None:
    data = {name: value for name, value in {**TENANT, **tier}.items() if value is not ...}
    event = plane.register(**data)

    with pytest.raises(Exception, match=reason):
        invoke(bus.handler, event)
    bus.deliver()

    assert plane.registration("registration-1")["registrationStatus"] == "failed"
    assert reason in stored("tenant-1")["statusReason"]
    assert codebuild.builds == []


def test_a_request_that_is_sent_again_after_the_tier_was_added_is_answered_again(
    bus: Bus, plane: SbtControlPlane, codebuild: CodeBuildServer
) -> None:
    event = plane.register(**{**TENANT, "tier": "gold"})
    with pytest.raises(Exception, match="gold"):
        invoke(bus.handler, event)
    bus.deliver()
    tier = {"tier": {"S": "gold"}, "jobName": {"S": PROJECT}}
    boto3.client("dynamodb").put_item(TableName="tiers", Item=tier)

    bus.put({**event, "replay-name": "by-hand"})
    finish(bus, codebuild)

    assert plane.registration("registration-1")["registrationStatus"] == "created"
    assert stored("tenant-1")["status"] == "PROVISIONED"


def test_a_request_without_a_registration_is_refused_and_not_answered(
    bus: Bus, plane: SbtControlPlane, aws: Requests, capsys: pytest.CaptureFixture[str]
) -> None:
    event = plane.register(**TENANT)
    del event["detail"]["tenantRegistrationId"]

    with pytest.raises(Exception, match=r"detail\.tenantRegistrationId is missing"):
        invoke(bus.handler, event)

    assert published(aws) == []
    errors = [line["message"] for line in json_lines(capsys.readouterr().out) if line.get("level") == "ERROR"]
    assert any(error.startswith("the control plane cannot be told") for error in errors)


def test_a_sweep_answers_if_no_state_change_arrives(
    bus: Bus, plane: SbtControlPlane, codebuild: CodeBuildServer, later: Callable[[timedelta], None]
) -> None:
    bus.put(plane.register(**TENANT))
    codebuild.finish(codebuild.builds[0], tenantS3Bucket="b-1")
    later(timedelta(minutes=6))

    bus.put(sample("scheduled-sweep"))

    assert plane.registration("registration-1")["registrationStatus"] == "created"
    assert plane.tenant("tenant-1")["tenantS3Bucket"] == "b-1"


def test_a_build_that_codebuild_has_deleted_ends_the_registration_as_failed(
    bus: Bus, plane: SbtControlPlane, codebuild: CodeBuildServer, later: Callable[[timedelta], None]
) -> None:
    bus.put(plane.register(**TENANT))
    codebuild.builds.clear()
    later(timedelta(days=2))

    bus.put(sample("scheduled-sweep"))

    assert plane.registration("registration-1")["registrationStatus"] == "failed"


def test_a_jenkins_job_is_answered_though_it_declares_no_parameter_for_the_registration(
    jenkins: JenkinsServer, aws: Requests, plane: SbtControlPlane, later: Callable[[timedelta], None]
) -> None:
    bus = Bus(plane, handler_of(), aws)
    bus.put(plane.register(**{**TENANT, "tier": "ENTERPRISE"}))
    (build,) = jenkins.run_queue()
    jenkins.finish(build.job.path, build.number, "SUCCESS")
    later(timedelta(minutes=6))

    bus.put(sample("scheduled-sweep"))

    assert plane.registration("registration-1")["registrationStatus"] == "created"


def test_an_execution_is_answered_with_its_output(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    with StepFunctionsServer(sandbox.state_machines(), now=datetime.now(UTC).timestamp()) as machines:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", machines.url)
        plane = SbtControlPlane()
        bus = Bus(plane, handler_of(), aws)
        bus.put(plane.register(**{**TENANT, "tier": "DEDICATED"}))
        (execution,) = machines.executions

        machines.finish(execution, output={"tenantS3Bucket": "b-1", "stackName": "s-1"})
        bus.put(status_change(execution))

    registration = plane.registration("registration-1")
    assert (registration["registrationStatus"], registration["stackName"]) == ("created", "s-1")
    assert plane.tenant("tenant-1")["tenantS3Bucket"] == "b-1"


def test_an_off_boarding_waits_until_the_onboarding_has_ended(
    bus: Bus, plane: SbtControlPlane, codebuild: CodeBuildServer
) -> None:
    bus.put(plane.register(**TENANT))
    removal = plane.delete("registration-1")

    with pytest.raises(Exception, match="tenant"):
        invoke(bus.handler, removal)
    finish(bus, codebuild)
    bus.put(removal)

    assert len(codebuild.builds) == 2


def test_the_limit_of_a_tier_holds_for_its_jobs(
    plane: SbtControlPlane, codebuild: CodeBuildServer, aws: Requests
) -> None:
    limited = StaticTierDetails({"BASIC": {"jobName": PROJECT, "maxConcurrent": 1}})
    bus = Bus(plane, handler_of(tiers=limited), aws)
    bus.put(plane.register(**TENANT))
    second = plane.register(**TENANT)

    with pytest.raises(Unavailable, match="slot 'tier BASIC' is full"):
        invoke(bus.handler, second)
    finish(bus, codebuild)
    bus.put(second)

    assert len(codebuild.builds) == 2


def test_a_tenant_that_another_job_has_onboarded_can_be_off_boarded(
    bus: Bus, plane: SbtControlPlane, codebuild: CodeBuildServer
) -> None:
    plane.register(**TENANT)

    bus.put(plane.delete("registration-1"))
    finish(bus, codebuild)

    assert plane.registration("registration-1")["registrationStatus"] == "deleted"


def test_answers_of_other_jobs_on_the_bus_are_left_alone(
    bus: Bus, plane: SbtControlPlane, codebuild: CodeBuildServer
) -> None:
    event = sample("sbt-onboarding-request", source="sbt.application.plane")
    detail = {"tenantRegistrationId": "registration-9", "jobOutput": {"tenantData": {}}}

    answer = invoke(bus.handler, {**event, "detail-type": "sbt_aws_provisionSuccess", "detail": detail})

    assert answer["consumers"] == []


def test_sources_of_ones_own(codebuild: CodeBuildServer, aws: Requests) -> None:
    plane = SbtControlPlane(source="my.control", expects="my.application")
    bus = Bus(plane, handler_of(script_jobs(source="my.application")), aws)

    bus.put(plane.register(**TENANT))
    finish(bus, codebuild)

    assert plane.registration("registration-1")["registrationStatus"] == "created"
    assert open_records() == []


def test_the_ready_made_registry_passes_the_usual_members(
    plane: SbtControlPlane, codebuild: CodeBuildServer, aws: Requests
) -> None:
    bus = Bus(plane, handler_of(registry), aws)

    bus.put(plane.register(**TENANT, **{"a-name": "no variable", "data": {"nested": True}}))
    finish(bus, codebuild)

    variables = codebuild.variables(codebuild.builds[0])
    passed = ("tenantId", "tenantRegistrationId", "tenantName", "email", "tier", "prices")
    assert {name: variables[name] for name in passed} == {
        "tenantId": "tenant-1",
        "tenantRegistrationId": "registration-1",
        "tenantName": "Zebra",
        "email": "a@zebra.example.com",
        "tier": "BASIC",
        "prices": '[{"id":"p","metric":1}]',
    }
    assert plane.registration("registration-1")["registrationStatus"] == "created"


@pytest.mark.parametrize("name", ["sbt-onboarding-request", "sbt-offboarding-request"])
def test_the_samples_start_a_job_with_the_ready_made_handler(codebuild: CodeBuildServer, name: str) -> None:
    answer = invoke(handler_of(registry), sample(name))

    (consumer,) = answer["consumers"]
    assert [step["status"] for step in consumer["outcomes"]] == ["saved", "started"]
    assert outcome(answer, consumer["name"])["name"] == "c7a2f0d8-51e6-4b39-a4d7-0e9b3f6c8a25"
