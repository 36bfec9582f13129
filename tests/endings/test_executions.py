"""The ending of a Step Functions execution is published once, after its status change or by the sweep."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator import Application, InvalidEvent, Unavailable, create_handler
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.messages import status_change
from orchestrator.local.step_functions import StepFunctionsServer
from tests.support.aws import Requests, published, stored
from tests.support.endings import SECRET, open_records, outcome
from tests.support.events import as_event, changed, invoke, sample

MACHINE = sandbox.TIERS["DEDICATED"]["jobName"]
PROVISIONING = sample("tenant-provisioning-step-functions")
TENANT_ID = PROVISIONING["detail"]["tenant"]["id"]


@pytest.fixture
def machines(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> Iterator[StepFunctionsServer]:
    """Run a Step Functions server with the sandbox's state machines."""
    with StepFunctionsServer(sandbox.state_machines(), now=datetime.now(UTC).timestamp()) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", server.url)
        yield server


@pytest.fixture
def handler(machines: StepFunctionsServer) -> Application:
    return create_handler(lifecycle)


def provisioned(handler: Application, machines: StepFunctionsServer, **changes: Any) -> dict[str, Any]:
    """Provision a tenant and return its execution."""
    invoke(handler, {**PROVISIONING, **changes})
    return machines.executions[-1]


@pytest.mark.parametrize(
    ("status", "event_type"),
    [
        ("SUCCEEDED", "TENANT_PROVISIONING_SUCCESS"),
        ("FAILED", "TENANT_PROVISIONING_FAILURE"),
        ("TIMED_OUT", "TENANT_PROVISIONING_FAILURE"),
        ("ABORTED", "TENANT_PROVISIONING_FAILURE"),
    ],
)
def test_an_ended_execution_is_published_with_its_input_and_output(
    handler: Application, machines: StepFunctionsServer, aws: Requests, status: str, event_type: str
) -> None:
    execution = provisioned(handler, machines)
    machines.finish(execution, status, output={"API_ENDPOINT": "https://plane.example.com/hook", "size": 3})

    answer = invoke(handler, status_change(execution))

    (entry,) = published(aws)
    assert outcome(answer, "publish_execution_ending")["status"] == "published"
    assert (entry["DetailType"], entry["Source"]) == (event_type, "saas.tenant.provisioning.stepfunctions")
    expected = {**machines.variables(execution), "BUILD_URL": link(execution)}
    if status == "SUCCEEDED":
        expected |= {"API_ENDPOINT": "https://plane.example.com/hook", "size": "3"}
    else:
        expected["reason"] = f"Step Functions execution {name(execution)} ended {status}"
    assert json.loads(entry["Detail"]) == expected


def link(execution: dict[str, Any]) -> str:
    page = f"home?region=us-east-1#/v2/executions/details/{execution['executionArn']}"
    return f"https://us-east-1.console.aws.amazon.com/states/{page}"


def name(execution: dict[str, Any]) -> str:
    return f"dedicated-tenant-provisioning:{execution['name']}"


def test_the_tenant_record_gets_the_link_to_the_execution(
    handler: Application, machines: StepFunctionsServer, aws: Requests
) -> None:
    execution = provisioned(handler, machines)
    machines.finish(execution)
    invoke(handler, status_change(execution))

    invoke(handler, as_event(published(aws)[0]))

    record = stored(TENANT_ID)
    assert (record["status"], record["statusBuild"]) == ("PROVISIONED", link(execution))


def test_an_output_does_not_change_the_run_id_or_the_tenant(
    handler: Application, machines: StepFunctionsServer, aws: Requests
) -> None:
    execution = provisioned(handler, machines)
    output = {"ORCHESTRATOR_RUN_ID": "another", "ORCHESTRATOR_TENANT_ID": "another"}
    machines.finish(execution, output=output)

    invoke(handler, status_change(execution))

    detail = json.loads(published(aws)[0]["Detail"])
    assert (detail["ORCHESTRATOR_RUN_ID"], detail["ORCHESTRATOR_TENANT_ID"]) == (execution["name"], TENANT_ID)


def test_an_execution_of_an_alias_is_published(
    handler: Application, machines: StepFunctionsServer, aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = {**sandbox.TIERS["DEDICATED"], "jobName": f"{MACHINE}:PROD"}
    monkeypatch.setattr("orchestrator.stores.tiers.DynamoDBTierDetails.get", lambda self, name: {"tier": name, **tier})
    execution = provisioned(handler, machines)
    machines.finish(execution)

    invoke(handler, status_change(execution))

    assert [entry["DetailType"] for entry in published(aws)] == ["TENANT_PROVISIONING_SUCCESS"]


def test_a_change_that_is_delivered_twice_is_published_once(
    handler: Application, machines: StepFunctionsServer, aws: Requests
) -> None:
    execution = provisioned(handler, machines)
    machines.finish(execution)

    answers = [invoke(handler, status_change(execution)) for _ in range(2)]

    statuses = [outcome(answer, "publish_execution_ending")["status"] for answer in answers]
    assert statuses == ["published", "already published"]
    assert len(published(aws)) == 1


def test_a_change_that_arrives_before_the_execution_has_ended_is_retried(
    handler: Application, machines: StepFunctionsServer, aws: Requests
) -> None:
    execution = provisioned(handler, machines)

    with pytest.raises(Unavailable, match="the run has not ended in its build system"):
        invoke(handler, changed(status_change(execution), "detail.status", "SUCCEEDED"))

    assert published(aws) == []


def test_an_execution_that_is_gone_is_published_from_its_event(
    handler: Application, machines: StepFunctionsServer, aws: Requests
) -> None:
    execution = provisioned(handler, machines)
    machines.finish(execution, "TIMED_OUT")
    machines.executions.clear()

    invoke(handler, status_change(execution))

    (entry,) = published(aws)
    assert entry["DetailType"] == "TENANT_PROVISIONING_FAILURE"
    assert json.loads(entry["Detail"])["reason"] == f"Step Functions execution {name(execution)} ended TIMED_OUT"


@pytest.mark.parametrize(
    "sent",
    [None, "{}", "not JSON", '{"ORCHESTRATOR_RUN_ID": "another"}'],
    ids=["too large for the event", "another's", "another's too", "a nested execution"],
)
def test_executions_that_this_function_did_not_start_are_ignored(
    handler: Application, machines: StepFunctionsServer, aws: Requests, sent: str | None
) -> None:
    execution = provisioned(handler, machines)
    machines.finish(execution)
    aws.clear()

    answer = invoke(handler, changed(status_change(execution), "detail.input", sent))

    assert outcome(answer, "publish_execution_ending") is None
    assert aws == []


def test_an_execution_whose_run_is_of_another_tenant_is_ignored(
    handler: Application, machines: StepFunctionsServer, aws: Requests
) -> None:
    execution = provisioned(handler, machines)
    machines.finish(execution)
    sent = json.dumps({**machines.variables(execution), "ORCHESTRATOR_TENANT_ID": "another"})

    answer = invoke(handler, changed(status_change(execution), "detail.input", sent))

    assert outcome(answer, "publish_execution_ending")["status"] == "ignored"
    assert published(aws) == []


@pytest.mark.parametrize("setting", ["true", "false"])
def test_a_running_execution_publishes_nothing(
    machines: StepFunctionsServer, aws: Requests, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("PUBLISH_BUILD_ENDINGS", setting)
    handler = create_handler(lifecycle)
    execution = provisioned(handler, machines)
    if setting == "false":
        machines.finish(execution)

    assert outcome(invoke(handler, status_change(execution)), "publish_execution_ending") is None
    assert published(aws) == []


def test_only_step_functions_can_say_that_an_execution_has_ended(
    handler: Application, machines: StepFunctionsServer, aws: Requests
) -> None:
    execution = provisioned(handler, machines)
    machines.finish(execution)

    answer = invoke(handler, status_change(execution) | {"source": "saas.control.plane"})

    assert answer["consumers"] == []


def test_a_change_without_a_status_is_named(handler: Application, machines: StepFunctionsServer) -> None:
    execution = provisioned(handler, machines)

    with pytest.raises(InvalidEvent, match=r"detail\.status is missing"):
        invoke(handler, changed(status_change(execution), "detail.status", ...))


def test_a_change_of_something_that_is_no_execution_is_named(
    handler: Application, machines: StepFunctionsServer
) -> None:
    execution = provisioned(handler, machines)
    machines.finish(execution)

    with pytest.raises(InvalidEvent, match=r"detail\.executionArn is wrong"):
        invoke(handler, changed(status_change(execution), "detail.executionArn", "run-1"))


def test_the_input_the_output_and_the_cause_are_not_logged(
    handler: Application, machines: StepFunctionsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    execution = provisioned(handler, machines)
    machines.finish(execution, "FAILED", error="Broken", cause=SECRET)

    invoke(handler, status_change(execution) | {"id": "failed"})

    logged = capsys.readouterr().out
    assert "Broken" not in logged
    assert SECRET not in logged
    assert sandbox.CALLBACK_SECRET not in logged


def test_the_sweep_publishes_what_no_event_reported(
    handler: Application,
    machines: StepFunctionsServer,
    aws: Requests,
    later: Callable[[timedelta], None],
) -> None:
    first = provisioned(handler, machines)
    provisioned(handler, machines, id="another", detail=other_tenant())
    machines.finish(first)
    later(timedelta(minutes=30))

    answer = invoke(handler, sample("scheduled-sweep"))

    swept = outcome(answer, "sweep_runs")
    assert (swept["checked"], swept["published"]) == (2, 1)
    assert [entry["DetailType"] for entry in published(aws)] == ["TENANT_PROVISIONING_SUCCESS"]
    assert len(open_records()) == 2  # the first one is followed until the published event is handled


def other_tenant() -> dict[str, Any]:
    detail: dict[str, Any] = json.loads(json.dumps(PROVISIONING["detail"]))
    detail["tenant"]["id"] = "other"
    return detail
