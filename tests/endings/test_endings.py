"""How jobs ended becomes known: by state changes, by builds themselves, and by the sweep that misses none."""

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from orchestrator import (
    Application,
    ConfigurationError,
    InvalidEvent,
    Job,
    Registry,
    Run,
    StartJob,
    Unavailable,
    create_handler,
    telemetry,
)
from orchestrator.job import Ending, StartedJob
from orchestrator.ledger import dynamodb
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.lifecycle import endings
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.control_plane import ControlPlane
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.local.jenkins.state import EPOCH
from orchestrator.local.lambda_context import LocalContext
from orchestrator.timing import clock, deadline
from tests.support.aws import Requests, published, stored
from tests.support.codebuild_server import CodeBuildServer
from tests.support.events import as_event, changed, invoke, json_lines, sample, state_change

PROJECT = "premium-tenant-provisioning"
TENANT_ID = sandbox.TENANT["tenantId"]
SECRET = "do-not-tell"


@pytest.fixture
def codebuild(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeBuildServer]:
    """A CodeBuild that keeps variables, which moto's does not."""
    with CodeBuildServer([PROJECT], now=datetime.now(UTC).timestamp()) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", server.url)
        yield server


@pytest.fixture
def handler(codebuild: CodeBuildServer) -> Application:
    return create_handler(lifecycle)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Move the time of day."""

    def move(by: timedelta) -> None:
        monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + by)

    return move


HOUR = timedelta(hours=1)


def as_report(codebuild: CodeBuildServer, build: dict[str, Any], kind: str, **changes: Any) -> dict[str, Any]:
    """Make what a buildspec publishes by itself, with its whole environment."""
    own = {
        "HOME": "/root",
        "CODEBUILD_BUILD_ID": build["id"],
        "CODEBUILD_BUILD_SUCCEEDING": "1" if kind.endswith("_SUCCESS") else "0",
    }
    detail = {**codebuild.variables(build), **own, **changes}
    return sample("tenant-provisioning-success", id=f"by-the-buildspec-{kind}", **{"detail-type": kind}, detail=detail)


def assert_ignored(handler: Application, aws: Requests, event: dict[str, Any], reason: str) -> None:
    """Deliver a report that is none, which changes nothing."""
    before, operations = stored(), len(aws)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        answer = invoke(handler, event)
    assert answer["consumers"] == []
    assert [name for name in aws.operations[operations:] if name != "GetItem"] == []
    assert stored() == before
    lines = json_lines(out.getvalue())
    (line,) = [line for line in lines if line.get("level") == "WARNING"]
    assert line["message"].startswith(f"{event['detail-type']} is ignored: ")
    assert reason in line["message"]
    assert [line["EndingIgnored"] for line in lines if "EndingIgnored" in line] == [[1.0]]


def open_records() -> list[dict[str, Any]]:
    return boto3.client("dynamodb").scan(TableName="idempotency", IndexName="open-jobs")["Items"]


def outcome(answer: Mapping[str, Any], consumer: str) -> Any:
    (found,) = [entry["outcomes"] for entry in answer["consumers"] if entry["name"] == consumer]
    return found[0] if found else None


def provisioned(handler: Application, codebuild: CodeBuildServer, **changes: Any) -> dict[str, Any]:
    """Provision a tenant, and give its build."""
    invoke(handler, sample("tenant-provisioning", **changes))
    return codebuild.builds[-1]


# Builds report for themselves.


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("SUCCEEDED", "TENANT_PROVISIONING_SUCCESS"),
        ("FAILED", "TENANT_PROVISIONING_FAILURE"),
        ("FAULT", "TENANT_PROVISIONING_FAILURE"),
        ("TIMED_OUT", "TENANT_PROVISIONING_FAILURE"),
        ("STOPPED", "TENANT_PROVISIONING_FAILURE"),
    ],
)
def test_a_build_that_ended_is_published_with_its_variables_and_exports(
    handler: Application, codebuild: CodeBuildServer, aws: Requests, status: str, kind: str
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build, status, API_ENDPOINT="https://plane.example.com/hook", instanceSize="exported")

    answer = invoke(handler, state_change(build))

    (entry,) = published(aws)
    assert (entry["DetailType"], entry["Source"]) == (kind, "saas.tenant.provisioning.codebuild")
    detail = json.loads(entry["Detail"])
    assert outcome(answer, "publish_build_ending")["status"] == "published"
    sent = codebuild.variables(build)
    expected = {
        **sent,
        "API_ENDPOINT": "https://plane.example.com/hook",
        "instanceSize": "exported",
        "CODEBUILD_BUILD_ID": build["id"],
        "CODEBUILD_BUILD_SUCCEEDING": "1" if status == "SUCCEEDED" else "0",
    }
    if status != "SUCCEEDED":
        expected["reason"] = f"CodeBuild build {build['id']} ended {status} in phase BUILD"
    assert detail == expected


def test_an_export_does_not_change_whose_job_it_is(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    run_id = codebuild.variables(build)["ORCHESTRATOR_RUN_ID"]
    codebuild.finish(build, ORCHESTRATOR_RUN_ID="another", ORCHESTRATOR_TENANT_ID="another")

    invoke(handler, state_change(build))

    detail = json.loads(published(aws)[0]["Detail"])
    assert (detail["ORCHESTRATOR_RUN_ID"], detail["ORCHESTRATOR_TENANT_ID"]) == (run_id, TENANT_ID)


def test_names_of_stored_secrets_are_not_taken_for_values(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    build["environment"]["environmentVariables"] += [
        {"name": "PASSWORD", "value": "/prod/password", "type": "PARAMETER_STORE"},
        {"name": "TOKEN", "value": "prod/token", "type": "SECRETS_MANAGER"},
    ]
    codebuild.finish(build)

    invoke(handler, state_change(build))

    assert not {"PASSWORD", "TOKEN"} & json.loads(published(aws)[0]["Detail"]).keys()


def test_a_build_that_codebuild_has_forgotten_is_published_from_its_event(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build, "TIMED_OUT")
    codebuild.builds.clear()

    invoke(handler, state_change(build))

    (entry,) = published(aws)
    detail = json.loads(entry["Detail"])
    assert entry["DetailType"] == "TENANT_PROVISIONING_FAILURE"
    assert detail["reason"] == f"CodeBuild build {build['id']} ended TIMED_OUT"
    assert detail["secret"] == sandbox.CALLBACK_SECRET


def test_a_build_that_has_not_ended_for_codebuild_yet_is_asked_after_again(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)

    message = f"the ending of job '{PROJECT}' was not published: its build system says that it is still running"
    with pytest.raises(Unavailable, match=message):
        invoke(handler, changed(state_change(build), "detail.build-status", "SUCCEEDED"))

    assert published(aws) == []


@pytest.mark.parametrize(
    "variables",
    [
        [],
        [{"name": "ORCHESTRATOR_EVENT_TYPE", "value": "TENANT_PROVISIONING"}],
        [{"name": "ORCHESTRATOR_RUN_ID", "type": "PLAINTEXT"}, {"name": "ORCHESTRATOR_EVENT_TYPE", "value": "X"}],
    ],
)
def test_builds_of_other_people_are_ignored(
    handler: Application, codebuild: CodeBuildServer, aws: Requests, variables: list[dict[str, str]]
) -> None:
    event = changed(
        sample("codebuild-build-state-change"),
        "detail.additional-information.environment.environment-variables",
        variables,
    )

    assert outcome(invoke(handler, event), "publish_build_ending") is None
    assert (
        outcome(invoke(handler, changed(event, "detail.additional-information", ...)), "publish_build_ending") is None
    )
    assert aws == []


def test_a_build_that_has_begun_is_no_end(handler: Application, codebuild: CodeBuildServer, aws: Requests) -> None:
    build = provisioned(handler, codebuild)
    aws.clear()

    assert outcome(invoke(handler, state_change(build)), "publish_build_ending") is None
    assert aws == []


def test_builds_that_publish_for_themselves_are_left_to_it(
    codebuild: CodeBuildServer, aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBLISH_BUILD_ENDINGS", "false")
    handler = create_handler(lifecycle)
    build = provisioned(handler, codebuild)
    codebuild.finish(build)

    assert outcome(invoke(handler, state_change(build)), "publish_build_ending") is None
    assert published(aws) == []


def test_a_job_that_runs_beside_another_is_not_reported(codebuild: CodeBuildServer, aws: Requests) -> None:
    registry = Registry()
    registry.include(lifecycle)
    registry.consumer("TENANT_SUSPENDED", name="notify")(lambda event: StartJob(name=PROJECT, follow=False))
    handler = create_handler(registry)
    build = provisioned(handler, codebuild, **{"detail-type": "TENANT_SUSPENDED"})
    codebuild.finish(build)

    assert outcome(invoke(handler, state_change(build)), "publish_build_ending")["status"] == "ignored"
    report = as_report(codebuild, build, "TENANT_SUSPENDED_SUCCESS")
    assert_ignored(handler, aws, report, "runs beside another")
    assert open_records() == []


def test_an_end_that_both_the_build_and_its_state_change_tell_counts_once(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build)
    invoke(handler, state_change(build))
    environment = {**codebuild.variables(build), "HOME": "/root"}

    first = invoke(handler, as_event(published(aws)[0]))
    second = invoke(handler, sample("tenant-provisioning-success", id="by-the-buildspec", detail=environment))

    assert [entry["status"] for entry in first["consumers"][0]["outcomes"]] == ["updated", "published"]
    assert [entry["status"] for entry in second["consumers"][0]["outcomes"]] == ["updated", "already published"]


def test_a_state_change_that_is_delivered_twice_is_published_once(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build)

    answers = [invoke(handler, state_change(build) | {"id": name}) for name in ("first", "second")]

    assert [outcome(answer, "publish_build_ending")["status"] for answer in answers] == [
        "published",
        "already published",
    ]
    assert len(published(aws)) == 1


def test_nothing_of_a_builds_environment_is_logged(
    handler: Application, codebuild: CodeBuildServer, capsys: pytest.CaptureFixture[str]
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build, "FAILED", CLIENT_SECRET=SECRET)

    invoke(handler, state_change(build))

    logged = capsys.readouterr().out
    assert SECRET not in logged
    assert sandbox.CALLBACK_SECRET not in logged


def test_a_state_change_without_a_status_is_named(handler: Application, aws: Requests) -> None:
    with pytest.raises(InvalidEvent, match=r"detail\.build-status is missing"):
        invoke(handler, changed(sample("codebuild-build-state-change"), "detail.build-status", ...))


# A report is believed only of a run that is ours.


def test_a_report_of_an_unknown_run_is_ignored(handler: Application, codebuild: CodeBuildServer, aws: Requests) -> None:
    build = provisioned(handler, codebuild)
    report = as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS", ORCHESTRATOR_RUN_ID="unknown")

    assert_ignored(handler, aws, report, "the ledger knows no such run")


@pytest.mark.parametrize("kind", ["TENANT_PROVISIONING_SUCCESS", "TENANT_PROVISIONING_FAILURE"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tenant": '{"id": "another"}'}, "that run is another tenant's"),
        ({"CODEBUILD_BUILD_ID": "other-project:1"}, "that run is another build of CodeBuild project"),
        ({"CODEBUILD_BUILD_ID": f"{PROJECT}:another"}, "that run is another build of CodeBuild project"),
    ],
)
def test_a_report_that_knows_something_else_of_a_run_is_ignored(
    handler: Application,
    codebuild: CodeBuildServer,
    aws: Requests,
    kind: str,
    changes: Mapping[str, str],
    reason: str,
) -> None:
    build = provisioned(handler, codebuild)

    assert_ignored(handler, aws, as_report(codebuild, build, kind, **changes), reason)

    assert len(open_records()) == 1


def test_a_report_of_codebuild_is_none_of_a_jenkins_job(jenkins: JenkinsServer, aws: Requests) -> None:
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    run_id = open_records()[0]["id"]["S"]
    report = changed(sample("tenant-provisioning-success"), "detail", {"ORCHESTRATOR_RUN_ID": run_id})

    for name, value in (("CODEBUILD_BUILD_ID", "p:1"), ("JOB_NAME", "another/job")):
        assert_ignored(handler, aws, changed(report, f"detail.{name}", value), "that run is one of Jenkins job")


def test_type_and_tenant_of_a_report_come_from_the_ledger(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    """As of a job that declares its run id and nothing else."""
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
def test_a_state_change_of_a_run_that_is_not_ours_is_ignored(
    handler: Application,
    codebuild: CodeBuildServer,
    aws: Requests,
    capsys: pytest.CaptureFixture[str],
    project: str,
    variables: Mapping[str, str],
) -> None:
    """As of a build that somebody started who wants a tenant to count as provisioned."""
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


def test_a_build_that_somebody_started_again_does_not_tell_how_ours_ended(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build, "FAILED")
    again = {**build, "arn": build["arn"] + "-again", "buildStatus": "SUCCEEDED"}

    assert outcome(invoke(handler, state_change(again)), "publish_build_ending")["status"] == "ignored"

    assert published(aws) == []


def test_state_changes_come_from_codebuild_alone(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build)

    assert invoke(handler, state_change(build) | {"source": "my.codebuild"})["consumers"] == []


def test_without_a_table_state_changes_are_ignored_and_the_log_says_so_once(
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


def test_without_a_table_a_report_is_believed_of_its_source(
    codebuild: CodeBuildServer, aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IDEMPOTENCY_TABLE")
    build = provisioned(create_handler(lifecycle), codebuild)

    invoke(create_handler(lifecycle), as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS"))

    assert stored()["status"] == "PROVISIONED"


def test_a_report_that_names_no_run_can_be_refused(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_RUN_ID", "true")
    handler = create_handler(lifecycle)
    report = sample("tenant-provisioning-success")
    forged = report | {"source": "orchestrator", "resources": ["urn:orchestrator:run:unknown"]}

    for event in (report, forged):
        with pytest.raises(InvalidEvent, match=r"detail\.ORCHESTRATOR_RUN_ID is missing, and REQUIRE_RUN_ID is set"):
            invoke(handler, event)

    assert [name for name in aws.operations if name != "GetItem"] == []


def test_what_could_not_be_started_is_told_without_a_run_all_the_same(
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

    with pytest.raises(Unavailable, match="its record in table idempotency could not be kept"):
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
def test_no_text_for_a_run_id_is_too_long_to_be_ignored(handler: Application, aws: Requests, run_id: str) -> None:
    event = changed(sample("tenant-provisioning-success"), "detail.ORCHESTRATOR_RUN_ID", run_id)

    assert_ignored(handler, aws, event, "the ledger knows no such run")


def test_a_report_that_its_consumer_refuses_leaves_the_job_open(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    report = as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS", CODEBUILD_BUILD_SUCCEEDING=0)

    with pytest.raises(InvalidEvent, match="CODEBUILD_BUILD_SUCCEEDING"):
        invoke(handler, report)

    assert len(open_records()) == 1


def test_a_deployment_follows_from_a_run_that_has_succeeded_or_is_ignored(
    codebuild: CodeBuildServer, aws: Requests, control_plane: ControlPlane
) -> None:
    """As somebody would publish it who wants a tenant active that is not, with an address of his own."""
    handler = create_handler(lifecycle)
    build = provisioned(handler, codebuild)
    address = {"API_ENDPOINT": control_plane.url}
    forged = as_report(codebuild, build, "TENANT_DEPLOYMENT", **address) | {"source": "somebody"}

    assert_ignored(handler, aws, forged, "that run has not succeeded")
    assert_ignored(handler, aws, changed(forged, "detail.tenant", '{"id": "another"}'), "that run is another tenant's")
    unknown = changed(forged, "detail.ORCHESTRATOR_RUN_ID", "unknown")
    assert_ignored(handler, aws, unknown, "the ledger knows no such run")

    invoke(handler, as_report(codebuild, build, "TENANT_PROVISIONING_FAILURE", **address))
    assert [body["data"]["status"] for body in control_plane.accepted] == [0]


# One end a run.


@pytest.mark.parametrize("state_change_first", [True, False])
@pytest.mark.parametrize("has_deployment_job", [True, False])
def test_either_order_of_state_change_and_buildspec_leads_to_one_webhook(
    codebuild: CodeBuildServer,
    aws: Requests,
    control_plane: ControlPlane,
    *,
    has_deployment_job: bool,
    state_change_first: bool,
) -> None:
    """The address is known to the buildspec alone, as in the reference infrastructure."""
    handler = create_handler(lifecycle)
    if has_deployment_job:
        boto3.client("dynamodb").update_item(
            TableName="tiers",
            Key={"tier": {"S": "PREMIUM"}},
            UpdateExpression="SET deploymentJobName = :job",
            ExpressionAttributeValues={":job": {"S": PROJECT}},
        )
    build = provisioned(handler, codebuild)
    codebuild.finish(build)
    report = as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS", API_ENDPOINT=control_plane.url)
    told = [state_change(build), report]
    seen = 0
    for event in told if state_change_first else reversed(told):
        invoke(handler, event)
        while seen < len(published(aws)):  # and what that publishes comes back
            invoke(handler, as_event(published(aws)[seen], event_id=f"published-{seen}"))
            seen += 1
    if has_deployment_job:
        _, build = codebuild.builds
        codebuild.finish(build)
        invoke(handler, state_change(build))
        invoke(handler, as_event(published(aws)[-1], event_id="deployed"))

    assert [body["data"]["status"] for body in control_plane.accepted] == [1]
    record = stored()
    assert (record["status"], record["statusBuild"]) == ("DEPLOYED", build["id"])
    assert "statusWebhook" not in record


def test_a_build_that_fails_after_it_told_of_a_success_corrects_the_record(
    codebuild: CodeBuildServer, aws: Requests, control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = create_handler(lifecycle)
    build = provisioned(handler, codebuild)
    codebuild.finish(build, "FAILED")
    invoke(handler, as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS", API_ENDPOINT=control_plane.url))
    invoke(handler, as_event(published(aws)[0]))
    assert stored()["status"] == "DEPLOYED"

    invoke(handler, state_change(build))
    failure = as_event(published(aws)[-1], event_id="failure")
    answer = invoke(handler, changed(failure, "detail.API_ENDPOINT", control_plane.url))

    assert stored()["status"] == "PROVISIONING_FAILED"
    assert [entry["status"] for entry in answer["consumers"][0]["outcomes"]] == ["updated", "already sent"]
    assert [body["data"]["status"] for body in control_plane.accepted] == [1]
    assert "failed after it had published a success" in capsys.readouterr().out


def test_a_success_after_a_failure_is_ignored(handler: Application, codebuild: CodeBuildServer, aws: Requests) -> None:
    build = provisioned(handler, codebuild)
    invoke(handler, as_report(codebuild, build, "TENANT_PROVISIONING_FAILURE"))

    report = as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS")
    assert_ignored(handler, aws, report, "that run has failed, by an event")
    codebuild.finish(build)
    assert outcome(invoke(handler, state_change(build)), "publish_build_ending")["status"] == "ignored"

    assert stored()["status"] == "PROVISIONING_FAILED"
    assert published(aws) == []


# An older start


def test_an_event_that_comes_again_does_not_begin_anew_what_a_later_one_has_ended(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    """Its sender's clock is ahead, so that it seems to be younger than the later event."""
    ahead = (datetime.now(UTC) + timedelta(minutes=10)).isoformat(timespec="seconds")
    first = sample("tenant-provisioning", id="first", time=ahead)
    invoke(handler, first)
    codebuild.projects.add("premium-tenant-deprovisioning")
    invoke(handler, sample("tenant-deprovisioning", id="second", time=ahead))

    answer = invoke(handler, first)

    assert [entry["status"] for entry in answer["consumers"][0]["outcomes"]] == ["skipped", "already started"]
    assert (stored()["status"], stored()["startedBy"]) == ("DEPROVISIONING", "second")


def test_an_old_success_is_not_followed_by_a_deployment(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    invoke(handler, sample("tenant-provisioning", id="second"))

    answer = invoke(handler, as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS"))

    assert [entry["status"] for entry in answer["consumers"][0]["outcomes"]] == ["superseded"]
    assert published(aws) == []
    assert stored()["status"] == "PROVISIONING"


def test_a_late_failure_sends_no_webhook(
    codebuild: CodeBuildServer, aws: Requests, control_plane: ControlPlane
) -> None:
    handler = create_handler(lifecycle)
    build = provisioned(handler, codebuild)
    invoke(handler, sample("tenant-provisioning", id="second"))

    invoke(handler, as_report(codebuild, build, "TENANT_PROVISIONING_FAILURE", API_ENDPOINT=control_plane.url))

    assert not control_plane.requests
    assert stored()["status"] == "PROVISIONING"


def test_the_deployment_that_follows_from_an_older_start_is_superseded(
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


# No tenant is forgotten.


def sweep(handler: Application, **changes: Any) -> Any:
    return outcome(invoke(handler, sample("scheduled-sweep", **changes)), "sweep_runs")


def test_a_start_keeps_the_job_at_no_request_of_its_own(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)

    assert [name for name in aws.operations if name != "GetItem"] == [
        "PutItem",
        "UpdateItem",
        "StartBuild",
        "UpdateItem",
    ]
    (item,) = open_records()
    assert item["id"]["S"] == codebuild.variables(build)["ORCHESTRATOR_RUN_ID"]
    assert build["id"] == item["outcome"]["M"]["id"]["S"]
    assert sandbox.CALLBACK_SECRET not in str(item)


def test_an_end_that_nobody_told_is_found_and_published(
    handler: Application, codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build, "FAILED", REASON="exported")
    later(HOUR)

    assert sweep(handler) == {"action": "SweepRuns", "status": "swept", "checked": 1, "published": 1}

    (entry,) = published(aws)
    detail = json.loads(entry["Detail"])
    assert entry["DetailType"] == "TENANT_PROVISIONING_FAILURE"
    assert detail["REASON"] == "exported"
    assert detail["secret"] == sandbox.CALLBACK_SECRET
    assert open_records() == []
    assert sweep(handler, id="next")["checked"] == 0


def test_the_sweep_finds_its_work_by_a_query(
    handler: Application, codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    provisioned(handler, codebuild)
    later(HOUR)
    aws.clear()

    sweep(handler)

    assert aws.operations == ["Query", "UpdateItem", "BatchGetBuilds"]
    assert aws.of("Query")[0]["IndexName"] == "open-jobs"


def test_a_job_is_left_alone_for_a_while(handler: Application, codebuild: CodeBuildServer, aws: Requests) -> None:
    codebuild.finish(provisioned(handler, codebuild))

    assert sweep(handler)["checked"] == 0


@pytest.mark.parametrize(
    ("age", "pause"),
    [(timedelta(minutes=6), 5), (timedelta(minutes=40), 10), (timedelta(hours=3), 45), (timedelta(days=9), 60)],
)
def test_the_longer_a_job_runs_the_later_it_is_asked_after_again(
    handler: Application, codebuild: CodeBuildServer, later: Callable[[timedelta], None], age: timedelta, pause: int
) -> None:
    provisioned(handler, codebuild)
    later(age)
    assert sweep(handler)["checked"] == 1

    later(age + timedelta(minutes=pause - 1))
    assert sweep(handler, id="too-early")["checked"] == 0
    later(age + timedelta(minutes=pause + 1))
    assert sweep(handler, id="in-time")["checked"] == 1


def test_a_job_whose_end_was_told_is_not_asked_after(
    handler: Application, codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    build = provisioned(handler, codebuild)
    invoke(handler, sample("tenant-provisioning-success", detail=codebuild.variables(build)))
    later(HOUR)

    assert open_records() == []
    assert sweep(handler)["checked"] == 0


def test_what_another_job_is_told_of_leaves_a_job_open(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)

    assert_ignored(
        handler, aws, as_report(codebuild, build, "TENANT_DEPLOYMENT_SUCCESS"), "was started for 'TENANT_PROVISIONING'"
    )

    assert len(open_records()) == 1


def test_a_start_that_ended_in_doubt_is_looked_for(
    codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.aws.clients.READ_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr("time.sleep", lambda _: None)
    handler = create_handler(lifecycle)
    codebuild.next.drop(on="StartBuild", after_acting=True, times=3)
    with pytest.raises(Unavailable):
        provisioned(handler, codebuild)
    codebuild.finish(codebuild.builds[0])
    later(HOUR)
    assert sweep(handler)["published"] == 0  # it is found, and asked after when its turn comes next
    later(HOUR * 2)

    assert sweep(handler, id="next")["published"] == 1
    assert [entry["DetailType"] for entry in published(aws)] == ["TENANT_PROVISIONING_SUCCESS"]


def test_a_start_in_doubt_whose_ending_no_consumer_could_handle_is_looked_for(
    codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ending is known by then, so that the start is done, but nobody has acted on it."""
    monkeypatch.setattr("orchestrator.aws.clients.READ_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr("time.sleep", lambda _: None)
    handler = create_handler(lifecycle)
    codebuild.next.drop(on="StartBuild", after_acting=True, times=3)
    with pytest.raises(Unavailable):
        provisioned(handler, codebuild)
    (build,) = codebuild.builds
    codebuild.finish(build)
    with monkeypatch.context() as broken:
        broken.setenv("DATA_STORE_TABLE", "none-there")
        with pytest.raises(ConfigurationError):
            invoke(create_handler(lifecycle), as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS"))
    later(HOUR)
    assert sweep(handler)["published"] == 0
    later(HOUR * 2)

    assert sweep(handler, id="next")["published"] == 1


def test_a_start_in_doubt_that_never_was_is_given_up_in_the_end(
    codebuild: CodeBuildServer,
    aws: Requests,
    later: Callable[[timedelta], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    handler = create_handler(lifecycle)
    codebuild.next.drop(on="StartBuild", times=3)
    with pytest.raises(Unavailable):
        provisioned(handler, codebuild)

    later(timedelta(minutes=30))
    sweep(handler)
    assert len(open_records()) == 1
    later(timedelta(minutes=90))
    sweep(handler, id="next")

    assert open_records() == []
    assert published(aws) == []
    assert "was never started; its event" in capsys.readouterr().out


def test_a_job_that_is_certainly_not_started_is_not_kept(handler: Application, codebuild: CodeBuildServer) -> None:
    codebuild.projects.clear()

    with pytest.raises(Exception, match="there is no such project"):
        provisioned(handler, codebuild)

    assert open_records() == []


def test_a_jenkins_job_is_followed_by_the_sweep_alone(
    jenkins: JenkinsServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    (build,) = jenkins.run_queue()
    later(HOUR)
    assert sweep(handler)["published"] == 0
    jenkins.finish("tenants/enterprise-provisioning", build.number, "UNSTABLE")
    later(HOUR * 3)

    assert sweep(handler, id="next")["published"] == 1

    (entry,) = published(aws)
    detail = json.loads(entry["Detail"])
    assert (entry["DetailType"], entry["Source"]) == ("TENANT_PROVISIONING_FAILURE", "saas.tenant.provisioning.jenkins")
    assert detail["reason"] == "build 1 of Jenkins job tenants/enterprise-provisioning ended UNSTABLE"
    assert detail["BUILD_URL"] == f"{jenkins.url}/job/tenants/job/enterprise-provisioning/1/"
    assert json.loads(detail["tenant"])["name"] == "Globex Energy"
    assert detail["secret"] == "example-callback-secret"


def test_a_jenkins_job_that_declares_nothing_is_followed_by_its_queue_item(
    jenkins: JenkinsServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    jenkins.add_job("tenants/enterprise-provisioning", ["unrelated"])
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    (build,) = jenkins.run_queue()
    jenkins.finish("tenants/enterprise-provisioning", build.number)
    later(HOUR)

    assert sweep(handler)["published"] == 1

    detail = json.loads(published(aws)[0]["Detail"])
    assert json.loads(detail["tenant"]) == {"id": detail["ORCHESTRATOR_TENANT_ID"]}
    assert detail["ORCHESTRATOR_EVENT_TYPE"] == "TENANT_PROVISIONING"


def test_a_jenkins_build_that_names_its_run_is_no_other_run_for_its_queue_number(
    jenkins: JenkinsServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    """Jenkins counts its items from 1 again where its own files are lost."""
    name = "tenants/enterprise-provisioning"
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    jenkins.cancel(jenkins.waiting()[0])
    jenkins.enqueue(name, {"ORCHESTRATOR_RUN_ID": "another"}).id = int(open_records()[0]["outcome"]["M"]["id"]["S"])
    (build,) = jenkins.run_queue()
    jenkins.finish(name, build.number)
    later(HOUR)

    assert sweep(handler)["published"] == 1

    (entry,) = published(aws)
    assert entry["DetailType"] == "TENANT_PROVISIONING_FAILURE"
    assert "was cancelled while it waited" in json.loads(entry["Detail"])["reason"]


def test_a_cancelled_jenkins_item_is_a_failure(
    jenkins: JenkinsServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    jenkins.cancel(jenkins.waiting()[0])
    later(HOUR)

    assert sweep(handler)["published"] == 1

    assert "was cancelled while it waited" in json.loads(published(aws)[0]["Detail"])["reason"]


def test_a_jenkins_run_that_may_have_been_discarded_is_not_called_failed_before_a_day_has_passed(
    jenkins: JenkinsServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    jenkins.advance(datetime.now(UTC).timestamp() - EPOCH)
    name = "tenants/enterprise-provisioning"
    job = jenkins.add_job(name, ["tenant", "ORCHESTRATOR_RUN_ID"])
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    jenkins.run_queue()
    jenkins.finish(name, 1)
    jenkins.enqueue(name, {"ORCHESTRATOR_RUN_ID": "younger"})
    jenkins.run_queue()
    del job.builds[0]  # the job keeps its youngest build alone

    later(HOUR)
    assert sweep(handler)["published"] == 0
    later(HOUR * 25)
    assert sweep(handler, id="next")["published"] == 1

    assert "is not there any more, nor are older builds" in json.loads(published(aws)[0]["Detail"])["reason"]


def test_a_jenkins_job_that_was_deleted_is_reported_after_a_day(
    jenkins: JenkinsServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    jenkins.next.answer(404, on="GET /job/", times=2)
    later(HOUR)
    assert sweep(handler)["published"] == 0
    later(HOUR * 25)

    assert sweep(handler, id="next")["published"] == 1
    assert published(aws)[0]["DetailType"] == "TENANT_PROVISIONING_FAILURE"


class Builds:
    """A build system whose runs end when they are told to, and which can be told to fail."""

    def __init__(self) -> None:
        self.ended: dict[str, bool] = {}
        self.failing: set[str] = set()
        self.asked: list[int] = []
        self.error: Exception = Unavailable("other is out of order")

    def start(self, job: Job) -> Run:
        return Run(id=job.run_id)

    def find(self, job: Job) -> Run | None:
        return None

    def endings(self, jobs: Sequence[StartedJob]) -> dict[str, Ending]:
        assert len({job.name for job in jobs}) == 1
        self.asked.append(len(jobs))
        if jobs[0].name in self.failing:
            raise self.error
        return {
            job.run_id: Ending(succeeded=True, reason="done", variables={"tenant": '{"id": "t"}', "secret": SECRET})
            for job in jobs
            if self.ended.get(job.tenant_id or "")
        }


def many(builds: Builds, count: int) -> Application:
    """Start jobs for as many tenants, named t0, t1, ..., of which every third is of another job."""
    registry = Registry()
    registry.include(endings.registry)
    registry.consumer("TENANT_UPGRADE", name="upgrade")(
        lambda event: StartJob(builder="MINE", name=event.detail["job"], tenant_id=event.detail["id"])
    )
    handler = create_handler(registry, builders={"MINE": builds})
    for number in range(count):
        detail = {"id": f"t{number}", "job": "other" if number % 3 == 0 else "job"}
        invoke(
            handler, sample("tenant-provisioning", id=str(number), **{"detail-type": "TENANT_UPGRADE"}, detail=detail)
        )
    return handler


class Passing:
    """Stands before a builder and passes on by `__getattr__` what it does not have itself."""

    def __init__(self, builder: Builds) -> None:
        self._builder = builder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)


def test_the_runs_of_a_builder_that_passes_calls_on_are_followed(
    aws: Requests, later: Callable[[timedelta], None]
) -> None:
    builds = Builds()
    wrapper: Any = Passing(builds)
    handler = many(wrapper, 1)
    builds.ended = {"t0": True}
    later(HOUR)

    assert sweep(handler)["published"] == 1


def test_a_run_that_was_found_without_an_id_is_looked_up_by_its_run_id(
    aws: Requests, later: Callable[[timedelta], None]
) -> None:
    class Nameless(Builds):
        def start(self, job: Job) -> Run:
            raise Unavailable("the answer got lost")

        def find(self, job: Job) -> Run | None:
            return Run()

    builds = Nameless()
    with pytest.raises(Unavailable, match="the answer got lost"):
        many(builds, 1)
    handler = create_handler(endings.registry, builders={"MINE": builds})
    builds.ended = {"t0": True}
    later(HOUR)
    assert sweep(handler)["published"] == 0  # it is found
    later(HOUR * 2)

    assert sweep(handler, id="next")["published"] == 1


@pytest.mark.parametrize("error", [Unavailable("other is out of order"), KeyError(SECRET)])
def test_a_build_system_that_fails_keeps_no_other_from_being_asked(
    aws: Requests, later: Callable[[timedelta], None], capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    builds = Builds()
    builds.error = error
    handler = many(builds, 6)
    builds.ended = {f"t{number}": True for number in range(6)}
    builds.failing = {"other"}
    later(HOUR)

    assert sweep(handler) == {"action": "SweepRuns", "status": "swept", "checked": 6, "published": 4}
    logged = capsys.readouterr().out
    assert "other is out of order" in logged or "builder 'MINE' raised KeyError in endings" in logged
    assert SECRET not in logged

    builds.failing = set()
    later(HOUR * 2)
    assert sweep(handler, id="next")["published"] == 2
    assert {entry["DetailType"] for entry in published(aws)} == {"TENANT_UPGRADE_SUCCESS"}
    assert len(published(aws)) == 6


def test_a_record_of_another_version_is_passed_over(
    aws: Requests, later: Callable[[timedelta], None], capsys: pytest.CaptureFixture[str]
) -> None:
    builds = Builds()
    handler = many(builds, 3)
    builds.ended = {f"t{number}": True for number in range(3)}
    dynamodb = boto3.client("dynamodb")
    for key, job in (("newer", {"M": {"builder": {"S": "MINE"}}}), ("odd", {"S": "text"})):
        item = {"id": {"S": key}, "openJob": {"S": "open"}, "checkAt": {"S": "2026"}, "job": job}
        dynamodb.put_item(TableName="idempotency", Item=item)
    later(HOUR)

    assert sweep(handler)["published"] == 3
    assert capsys.readouterr().out.count("is not followed: its record") == 2
    assert sweep(handler, id="next")["checked"] == 0  # they are out of the way for a while


def test_a_job_that_cannot_be_postponed_keeps_no_other_from_being_asked(
    aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = Builds()
    handler = many(builds, 3)
    builds.ended = {f"t{number}": True for number in range(3)}
    later(HOUR)

    def fail(*_: Any) -> None:
        raise Unavailable("not now")

    monkeypatch.setattr(DynamoDBRecords, "postpone", fail)

    assert sweep(handler)["published"] == 3


def test_many_jobs_are_asked_after_in_steps(
    aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamodb, "_PAGE", 4)
    builds = Builds()
    handler = many(builds, 10)
    builds.ended = {f"t{number}": True for number in range(5)}
    later(HOUR)

    swept = sweep(handler)

    assert (swept["checked"], swept["published"]) == (10, 5)
    assert max(builds.asked) <= 4


def test_a_sweep_stops_in_time_and_the_next_one_goes_on(
    aws: Requests, later: Callable[[timedelta], None], capsys: pytest.CaptureFixture[str]
) -> None:
    class Slow(Builds):
        def endings(self, jobs: Sequence[StartedJob]) -> dict[str, Ending]:
            if not self.asked:
                time_is_up.setattr(deadline, "has_time", lambda pause=0.0: False)
            return super().endings(jobs)

    handler = many(Slow(), 3)
    later(HOUR)

    with pytest.MonkeyPatch.context() as time_is_up:
        assert sweep(handler)["checked"] == 2  # both of the first job
    assert "sweep stops here" in capsys.readouterr().out
    assert sweep(handler, id="next")["checked"] == 1


def test_a_sweep_in_a_short_invocation_asks_after_as_many_jobs_as_it_can_report(
    aws: Requests, later: Callable[[timedelta], None]
) -> None:
    builds = Builds()
    handler = many(builds, 40)
    later(HOUR)

    answer = handler(sample("scheduled-sweep"), LocalContext(timeout=3))

    assert outcome(answer, "sweep_runs")["checked"] > 0
    assert max(builds.asked) <= 14  # seven for each of the two seconds in which it may act


def test_two_sweeps_at_once_publish_each_end_once(
    aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have read which jobs are open before either has put them off."""
    monkeypatch.setattr(DynamoDBRecords, "postpone", lambda *_: None)
    builds = Builds()
    handler = many(builds, 8)
    builds.ended = {f"t{number}": True for number in range(8)}
    later(HOUR)
    ask = builds.endings
    swept: list[Any] = []

    def ask_during_another_sweep(jobs: Sequence[StartedJob]) -> dict[str, Ending]:
        found = ask(jobs)
        if not swept:
            swept.append(None)
            swept[0] = sweep(handler, id="two")
        return found

    builds.endings = ask_during_another_sweep  # type: ignore[method-assign]
    sweep(handler, id="one")

    assert swept[0]["published"] == 8
    assert len(published(aws)) == 8
    assert open_records() == []


def test_a_sweep_that_was_killed_after_publishing_does_not_publish_again(
    aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = Builds()
    handler = many(builds, 1)
    builds.ended = {"t0": True}
    later(HOUR)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(DynamoDBRecords, "close", die)
        with pytest.raises(KeyboardInterrupt):
            sweep(handler)

    later(HOUR * 2)
    assert sweep(handler, id="next")["published"] == 1
    assert len(published(aws)) == 1
    assert open_records() == []


def test_jobs_without_an_end_after_a_day_are_counted(
    aws: Requests, later: Callable[[timedelta], None], capsys: pytest.CaptureFixture[str]
) -> None:
    handler = many(Builds(), 2)
    later(timedelta(hours=25))
    sweep(handler)

    counts = [line["RunsWithoutEnding"] for line in json_lines(capsys.readouterr().out) if "RunsWithoutEnding" in line]
    assert counts == [[2.0]]


@pytest.mark.parametrize("level", ["INFO", "WARNING", "ERROR"])
def test_a_sweep_that_finds_no_job_is_counted_at_every_log_level(
    handler: Application, capsys: pytest.CaptureFixture[str], level: str
) -> None:
    before = telemetry.logger.log_level
    telemetry.logger.setLevel(level)
    try:
        sweep(handler)
    finally:
        telemetry.logger.setLevel(before)

    lines = json_lines(capsys.readouterr().out)
    assert [line["RunsWithoutEnding"] for line in lines if "RunsWithoutEnding" in line] == [[0.0]]


def test_a_build_system_that_cannot_tell_is_not_followed(aws: Requests) -> None:
    class Mute:
        def start(self, job: Job) -> Run:
            return Run(id="1")

        def find(self, job: Job) -> Run | None:
            return None

    registry = Registry()
    registry.consumer("TENANT_PROVISIONING", name="start")(lambda event: StartJob(builder="MUTE", name="job"))

    invoke(create_handler(registry, builders={"MUTE": Mute()}), sample("tenant-provisioning"))

    assert open_records() == []


def test_without_a_table_the_sweep_says_once_that_it_is_off(
    aws: Requests, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("IDEMPOTENCY_TABLE")
    handler = create_handler(lifecycle)

    answers = [sweep(handler, id=name) for name in ("one", "two")]

    assert [answer["status"] for answer in answers] == ["skipped", "skipped"]
    assert capsys.readouterr().out.count("no sweep: IDEMPOTENCY_TABLE is not set") == 1
    assert aws == []


def test_without_the_index_each_sweep_fails_and_names_it(
    aws: Requests, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boto3.client("dynamodb").create_table(
        TableName="plain",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    monkeypatch.setenv("IDEMPOTENCY_TABLE", "plain")
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning"))

    answers = [sweep(handler, id=name) for name in ("one", "two")]

    lines = json_lines(capsys.readouterr().out)
    (reason,) = {answer["reason"] for answer in answers}
    assert reason.startswith("open jobs could not be read from table plain; it needs the index open-jobs")
    assert [line["message"] for line in lines if line.get("level") == "ERROR"] == [reason, reason]
    assert [line["SweepFailed"] for line in lines if "SweepFailed" in line] == [[1.0], [1.0]]
    assert "Scan" not in aws.operations


@pytest.mark.parametrize("changes", [{}, {"source": "aws.events", "detail": {}}])
def test_both_kinds_of_schedules_start_a_sweep(handler: Application, changes: dict[str, Any]) -> None:
    assert sweep(handler, **changes)["status"] == "swept"


def test_a_schedule_of_somebody_else_starts_none(handler: Application, aws: Requests) -> None:
    assert invoke(handler, sample("scheduled-sweep", source="somebody", detail={}))["consumers"] == []


def test_the_record_of_the_tenant_says_what_the_sweep_found(
    handler: Application, codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build, "STOPPED")
    later(HOUR)
    sweep(handler)

    invoke(handler, as_event(published(aws)[0]))

    record = stored()
    assert (record["status"], record["statusBuild"]) == ("PROVISIONING_FAILED", build["id"])
    assert record["statusReason"] == f"CodeBuild build {build['id']} ended STOPPED in phase BUILD"


def test_a_sweep_that_cannot_read_the_table_leaves_it_to_the_next(
    handler: Application, aws: Requests, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise Unavailable("open jobs could not be read")

    monkeypatch.setattr(DynamoDBRecords, "due", fail)

    assert sweep(handler) == {
        "action": "SweepRuns",
        "status": "swept",
        "checked": 0,
        "published": 0,
        "reason": "open jobs could not be read",
    }
    lines = json_lines(capsys.readouterr().out)
    assert [line["SweepFailed"] for line in lines if "SweepFailed" in line] == [[1.0]]
