"""Which events about endings are accepted, and which are ignored."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from orchestrator import (
    Application,
    ConfigurationError,
    InvalidEvent,
    Unavailable,
    create_handler,
)
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.control_plane import ControlPlane
from orchestrator.local.jenkins import JenkinsServer
from tests.support.aws import Requests, published, stored
from tests.support.endings import PROJECT, TENANT_ID, as_report, assert_ignored, open_records, outcome, provisioned
from tests.support.events import as_event, changed, invoke, json_lines, sample, state_change


def test_a_report_of_an_unknown_run_is_ignored(handler: Application, codebuild: CodeBuildServer, aws: Requests) -> None:
    build = provisioned(handler, codebuild)
    report = as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS", ORCHESTRATOR_RUN_ID="unknown")

    assert_ignored(handler, aws, report, "the ledger has no record of that run")


@pytest.mark.parametrize("event_type", ["TENANT_PROVISIONING_SUCCESS", "TENANT_PROVISIONING_FAILURE"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tenant": '{"id": "another"}'}, "that run belongs to another tenant"),
        ({"CODEBUILD_BUILD_ID": "other-project:1"}, "is another build than the event names"),
        ({"CODEBUILD_BUILD_ID": f"{PROJECT}:another"}, "is another build than the event names"),
    ],
)
def test_a_report_that_contradicts_the_ledger_is_ignored(
    handler: Application,
    codebuild: CodeBuildServer,
    aws: Requests,
    event_type: str,
    changes: Mapping[str, str],
    reason: str,
) -> None:
    build = provisioned(handler, codebuild)

    assert_ignored(handler, aws, as_report(codebuild, build, event_type, **changes), reason)

    assert len(open_records()) == 1


def test_a_report_by_another_builder_or_job_is_ignored(jenkins: JenkinsServer, aws: Requests) -> None:
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    run_id = open_records()[0]["id"]["S"]
    report = changed(sample("tenant-provisioning-success"), "detail", {"ORCHESTRATOR_RUN_ID": run_id})

    for name, value in (("CODEBUILD_BUILD_ID", "p:1"), ("JOB_NAME", "another/job")):
        assert_ignored(handler, aws, changed(report, f"detail.{name}", value), "that run is one of Jenkins job")


def test_type_and_tenant_of_a_report_come_from_the_ledger(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    """The report of a job that declares only its run id as a parameter."""
    build = provisioned(handler, codebuild)
    own = {
        "ORCHESTRATOR_RUN_ID": codebuild.variables(build)["ORCHESTRATOR_RUN_ID"],
        "ORCHESTRATOR_TENANT_ID": "another",
    }

    invoke(handler, changed(sample("tenant-provisioning-success"), "detail", own))

    assert (stored()["status"], stored()["statusRun"]) == ("PROVISIONED", own["ORCHESTRATOR_RUN_ID"])
    detail = json.loads(published(aws)[-1]["Detail"])
    assert json.loads(detail["tenant"]) == {"id": TENANT_ID}
    assert (detail["ORCHESTRATOR_TENANT_ID"], detail["ORCHESTRATOR_EVENT_TYPE"]) == (TENANT_ID, "TENANT_PROVISIONING")


@pytest.mark.parametrize(
    ("project", "variables"),
    [
        ("somebody-elses", {}),
        (PROJECT, {"ORCHESTRATOR_TENANT_ID": "another"}),
        (PROJECT, {"ORCHESTRATOR_RUN_ID": "unknown"}),
    ],
)
def test_a_state_change_of_an_unknown_run_is_ignored(
    handler: Application,
    codebuild: CodeBuildServer,
    aws: Requests,
    capsys: pytest.CaptureFixture[str],
    project: str,
    variables: Mapping[str, str],
) -> None:
    """A forged build, started to make a tenant count as provisioned."""
    build = provisioned(handler, codebuild)
    forged = {**codebuild.variables(build), "APP_PLANE_REDIRECT_URL": "https://evil.example.com", **variables}
    event = state_change(
        {
            **build,
            "arn": build["arn"].replace(PROJECT, project),
            "projectName": project,
            "environment": {
                "environmentVariables": [
                    {"name": name, "value": value, "type": "PLAINTEXT"} for name, value in forged.items()
                ]
            },
            "buildStatus": "SUCCEEDED",
        }
    )

    answer = outcome(invoke(handler, event), "publish_build_ending")

    assert (answer["action"], answer["status"]) == ("PublishEnding", "ignored")
    assert published(aws) == []
    assert '"EndingIgnored":[1.0]' in capsys.readouterr().out


def test_the_end_of_a_manually_repeated_build_is_ignored(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build, "FAILED")
    again = {**build, "arn": build["arn"] + "-again", "buildStatus": "SUCCEEDED"}

    assert outcome(invoke(handler, state_change(again)), "publish_build_ending")["status"] == "ignored"

    assert published(aws) == []


def test_a_state_change_from_another_source_is_ignored(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build)

    assert invoke(handler, state_change(build) | {"source": "my.codebuild"})["consumers"] == []


def test_without_a_table_state_changes_are_ignored_and_a_warning_is_logged_once(
    codebuild: CodeBuildServer, aws: Requests, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("IDEMPOTENCY_TABLE")
    handler = create_handler(lifecycle)
    build = provisioned(handler, codebuild)
    codebuild.finish(build)

    answers = [outcome(invoke(handler, state_change(build)), "publish_build_ending") for _ in range(2)]

    assert [answer["status"] for answer in answers] == ["skipped", "skipped"]
    assert capsys.readouterr().out.count("state changes of builds are ignored: IDEMPOTENCY_TABLE is not set") == 1
    assert published(aws) == []


def test_without_a_table_a_report_is_accepted_unchecked(
    codebuild: CodeBuildServer, aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IDEMPOTENCY_TABLE")
    build = provisioned(create_handler(lifecycle), codebuild)

    invoke(create_handler(lifecycle), as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS"))

    assert stored()["status"] == "PROVISIONED"


def test_a_report_without_a_run_id_can_be_refused(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_RUN_ID", "true")
    handler = create_handler(lifecycle)
    report = sample("tenant-provisioning-success")
    forged = report | {"source": "orchestrator", "resources": ["urn:orchestrator:run:unknown"]}

    for event in (report, forged):
        with pytest.raises(InvalidEvent, match=r"detail\.ORCHESTRATOR_RUN_ID is missing, and REQUIRE_RUN_ID is set"):
            invoke(handler, event)

    assert [name for name in aws.operations if name != "GetItem"] == []


def test_a_failed_start_is_handled_without_a_run_id_even_if_run_ids_are_required(
    aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUIRE_RUN_ID", "true")
    handler = create_handler(lifecycle)
    with pytest.raises(ConfigurationError):
        invoke(handler, changed(sample("tenant-provisioning"), "detail.planConfig.tier", "GOLD"))

    invoke(handler, as_event(published(aws)[0]))

    assert stored()["status"] == "PROVISIONING_FAILED"


def test_a_report_that_cannot_be_looked_up_fails_and_is_counted(
    handler: Application,
    codebuild: CodeBuildServer,
    aws: Requests,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    build = provisioned(handler, codebuild)
    boto3.client("dynamodb").delete_table(TableName="idempotency")

    with pytest.raises(Unavailable, match="the ledger's record in table idempotency could not be read or written"):
        invoke(handler, as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS"))

    lines = json_lines(capsys.readouterr().out)
    assert [line["EventFailed"] for line in lines if "EventFailed" in line] == [[1.0]]
    assert [line["FailedEvents"] for line in lines if "FailedEvents" in line] == [[1.0]]


def test_a_run_id_cannot_be_required_without_a_table(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_RUN_ID", "true")
    monkeypatch.delenv("IDEMPOTENCY_TABLE")

    with pytest.raises(ConfigurationError, match="REQUIRE_RUN_ID is wrong: it needs IDEMPOTENCY_TABLE"):
        create_handler(lifecycle)


@pytest.mark.parametrize("run_id", ["x" * 3000, "unknown"])
def test_a_report_with_an_unknown_run_id_of_any_length_is_ignored(
    handler: Application, aws: Requests, run_id: str
) -> None:
    event = changed(sample("tenant-provisioning-success"), "detail.ORCHESTRATOR_RUN_ID", run_id)

    assert_ignored(handler, aws, event, "the ledger has no record of that run")


def test_a_report_that_its_consumer_refuses_leaves_the_job_open(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    report = as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS", CODEBUILD_BUILD_SUCCEEDING=0)

    with pytest.raises(InvalidEvent, match="CODEBUILD_BUILD_SUCCEEDING"):
        invoke(handler, report)

    assert len(open_records()) == 1


def test_a_deployment_without_a_successful_run_is_ignored(
    codebuild: CodeBuildServer, aws: Requests, control_plane: ControlPlane
) -> None:
    """A forged event, published to activate a tenant, with the forger's own address."""
    handler = create_handler(lifecycle)
    build = provisioned(handler, codebuild)
    address = {"API_ENDPOINT": control_plane.url}
    forged = as_report(codebuild, build, "TENANT_DEPLOYMENT", **address) | {"source": "somebody"}

    assert_ignored(handler, aws, forged, "that run has not succeeded")
    assert_ignored(
        handler, aws, changed(forged, "detail.tenant", '{"id": "another"}'), "that run belongs to another tenant"
    )
    unknown = changed(forged, "detail.ORCHESTRATOR_RUN_ID", "unknown")
    assert_ignored(handler, aws, unknown, "the ledger has no record of that run")

    invoke(handler, as_report(codebuild, build, "TENANT_PROVISIONING_FAILURE", **address))
    assert [body["data"]["status"] for body in control_plane.accepted] == [0]


@pytest.mark.usefixtures("side_by_side")
def test_a_redelivered_event_does_not_undo_a_later_one(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    """The sender's clock is ahead, so the first event does not look older than the second."""
    ahead = (datetime.now(UTC) + timedelta(minutes=10)).isoformat(timespec="seconds")
    first = sample("tenant-provisioning", id="first", time=ahead)
    invoke(handler, first)
    codebuild.projects.add("premium-tenant-deprovisioning")
    invoke(handler, sample("tenant-deprovisioning", id="second", time=ahead))

    answer = invoke(handler, first)

    assert [entry["status"] for entry in answer["consumers"][0]["outcomes"]] == ["skipped", "already started"]
    assert (stored()["status"], stored()["startedBy"]) == ("DEPROVISIONING", "second")


@pytest.mark.usefixtures("side_by_side")
def test_a_superseded_success_is_not_followed_by_a_deployment(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    invoke(handler, sample("tenant-provisioning", id="second"))

    answer = invoke(handler, as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS"))

    assert [entry["status"] for entry in answer["consumers"][0]["outcomes"]] == ["superseded"]
    assert published(aws) == []
    assert stored()["status"] == "PROVISIONING"


@pytest.mark.usefixtures("side_by_side")
def test_a_superseded_failure_sends_no_webhook(
    codebuild: CodeBuildServer, aws: Requests, control_plane: ControlPlane
) -> None:
    handler = create_handler(lifecycle)
    build = provisioned(handler, codebuild)
    invoke(handler, sample("tenant-provisioning", id="second"))

    invoke(handler, as_report(codebuild, build, "TENANT_PROVISIONING_FAILURE", API_ENDPOINT=control_plane.url))

    assert not control_plane.requests
    assert stored()["status"] == "PROVISIONING"


@pytest.mark.usefixtures("side_by_side")
def test_the_deployment_of_an_older_start_is_superseded(
    codebuild: CodeBuildServer, aws: Requests, control_plane: ControlPlane
) -> None:
    handler = create_handler(lifecycle)
    build = provisioned(handler, codebuild)
    report = as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS", API_ENDPOINT=control_plane.url)
    invoke(handler, report)
    invoke(handler, sample("tenant-provisioning", id="second"))

    (entry,) = published(aws)
    invoke(handler, as_event(entry))

    assert entry["Time"] == datetime.fromisoformat(report["time"]).timestamp()
    assert not control_plane.requests
    assert stored()["status"] == "PROVISIONING"
