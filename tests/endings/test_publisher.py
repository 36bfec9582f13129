"""A build's ending is published once, whether by a state change or by the build itself."""

import json

import boto3
import pytest

from orchestrator import (
    Application,
    Event,
    InvalidEvent,
    Registry,
    StartJob,
    Unavailable,
    create_handler,
)
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.control_plane import ControlPlane
from tests.support.aws import Requests, published, stored
from tests.support.endings import (
    PROJECT,
    SECRET,
    TENANT_ID,
    as_report,
    assert_ignored,
    open_records,
    outcome,
    provisioned,
)
from tests.support.events import as_event, changed, invoke, sample, state_change


@pytest.mark.parametrize(
    ("status", "event_type"),
    [
        ("SUCCEEDED", "TENANT_PROVISIONING_SUCCESS"),
        ("FAILED", "TENANT_PROVISIONING_FAILURE"),
        ("FAULT", "TENANT_PROVISIONING_FAILURE"),
        ("TIMED_OUT", "TENANT_PROVISIONING_FAILURE"),
        ("STOPPED", "TENANT_PROVISIONING_FAILURE"),
    ],
)
def test_an_ended_build_is_published_with_its_variables_and_exports(
    handler: Application, codebuild: CodeBuildServer, aws: Requests, status: str, event_type: str
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build, status, API_ENDPOINT="https://plane.example.com/hook", instanceSize="exported")

    answer = invoke(handler, state_change(build))

    (entry,) = published(aws)
    assert (entry["DetailType"], entry["Source"]) == (event_type, "saas.tenant.provisioning.codebuild")
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


def test_an_export_does_not_change_the_run_id_or_the_tenant(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    run_id = codebuild.variables(build)["ORCHESTRATOR_RUN_ID"]
    codebuild.finish(build, ORCHESTRATOR_RUN_ID="another", ORCHESTRATOR_TENANT_ID="another")

    invoke(handler, state_change(build))

    detail = json.loads(published(aws)[0]["Detail"])
    assert (detail["ORCHESTRATOR_RUN_ID"], detail["ORCHESTRATOR_TENANT_ID"]) == (run_id, TENANT_ID)


def test_variables_from_secret_stores_are_not_published(
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


def test_a_build_that_codebuild_no_longer_has_is_published_from_its_event(
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


def test_a_state_change_that_arrives_before_the_build_has_ended_is_retried(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)

    message = f"the ending of job '{PROJECT}' was not published: the run has not ended in its build system"
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
def test_builds_that_this_function_did_not_start_are_ignored(
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


@pytest.mark.parametrize("field", ["build-status", "project-name", "build-id"])
def test_a_name_of_a_state_change_that_would_fill_the_log_is_refused(
    handler: Application, aws: Requests, field: str
) -> None:
    event = changed(sample("codebuild-build-state-change"), f"detail.{field}", "x" * 1025)

    with pytest.raises(InvalidEvent, match=f"detail.{field} is wrong: string should have at most 1024"):
        invoke(handler, event)


@pytest.mark.parametrize(
    "variable", [{"value": "x"}, {"name": []}, {"name": "x", "value": 1}, {"name": "x", "type": {}}]
)
def test_a_state_change_with_a_malformed_variable_is_refused(
    handler: Application, aws: Requests, variable: dict[str, object]
) -> None:
    path = "detail.additional-information.environment.environment-variables"
    event = changed(sample("codebuild-build-state-change"), path, [variable])

    with pytest.raises(InvalidEvent) as caught:
        invoke(handler, event)

    assert f"{path}[0]." in str(caught.value)


def test_a_build_in_progress_publishes_nothing(handler: Application, codebuild: CodeBuildServer, aws: Requests) -> None:
    build = provisioned(handler, codebuild)
    aws.clear()

    assert outcome(invoke(handler, state_change(build)), "publish_build_ending") is None
    assert aws == []


def test_endings_are_not_published_if_that_is_turned_off(
    codebuild: CodeBuildServer, aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBLISH_BUILD_ENDINGS", "false")
    handler = create_handler(lifecycle)
    build = provisioned(handler, codebuild)
    codebuild.finish(build)

    assert outcome(invoke(handler, state_change(build)), "publish_build_ending") is None
    assert published(aws) == []


def test_a_job_that_is_not_followed_is_not_reported(codebuild: CodeBuildServer, aws: Requests) -> None:
    registry = Registry()
    registry.include(lifecycle)
    registry.consumer("TENANT_SUSPENDED", name="notify")(lambda event: StartJob(name=PROJECT, follow=False))
    handler = create_handler(registry)
    build = provisioned(handler, codebuild, **{"detail-type": "TENANT_SUSPENDED"})
    codebuild.finish(build)

    assert outcome(invoke(handler, state_change(build)), "publish_build_ending")["status"] == "ignored"
    report = as_report(codebuild, build, "TENANT_SUSPENDED_SUCCESS")
    assert_ignored(handler, aws, report, "was started with follow=False")
    assert open_records() == []


def test_an_ending_that_the_build_and_its_state_change_report_counts_once(
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


def test_the_environment_of_a_build_is_not_logged(
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
    """Only the buildspec has the address, as in the reference infrastructure."""
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
    events = [state_change(build), report]
    seen = 0
    for event in events if state_change_first else reversed(events):
        invoke(handler, event)
        while seen < len(published(aws)):  # deliver what was published
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


def test_a_build_that_fails_after_reporting_a_success_corrects_the_record(
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
    assert_ignored(handler, aws, report, "an earlier event said that this run failed")
    codebuild.finish(build)
    assert outcome(invoke(handler, state_change(build)), "publish_build_ending")["status"] == "already published"

    assert stored()["status"] == "PROVISIONING_FAILED"
    assert published(aws) == []


def test_a_failure_that_was_reported_but_not_handled_is_published(codebuild: CodeBuildServer, aws: Requests) -> None:
    def fail(event: Event) -> None:
        raise Unavailable("out of order")

    registry = Registry()
    registry.include(lifecycle)
    registry.consumer("TENANT_PROVISIONING_FAILURE", name="broken")(fail)
    handler = create_handler(registry)
    build = provisioned(handler, codebuild)
    invoke(handler, as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS"))
    with pytest.raises(Unavailable, match="out of order"):
        invoke(handler, as_report(codebuild, build, "TENANT_PROVISIONING_FAILURE"))
    codebuild.finish(build, "FAILED")

    assert outcome(invoke(handler, state_change(build)), "publish_build_ending")["status"] == "published"

    assert published(aws)[-1]["DetailType"] == "TENANT_PROVISIONING_FAILURE"


def test_a_state_change_that_comes_twice_leaves_the_run_followed_until_the_ending_is_handled(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build)

    invoke(handler, state_change(build))
    invoke(handler, {**state_change(build), "id": "again"})

    (entry,) = published(aws)
    assert len(open_records()) == 1
    invoke(handler, as_event(entry))
    assert open_records() == []
