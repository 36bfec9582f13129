"""Redriving events of the failure queue: the deployed function handles them, and only then they are deleted."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from orchestrator.aws.items import from_item
from orchestrator.local import sandbox
from tests.cli.conftest import SECRETS, TENANT_ID, Command, Deployment
from tests.smoke.account import client
from tests.support.events import changed, failed_invocation, sample, undelivered, with_metadata
from tests.template.stack import STACK

EVENT = sample("tenant-provisioning")
BROKEN = changed({**EVENT, "id": "broken"}, "detail.planConfig.tier", "UNKNOWN")
DETAIL = EVENT["detail"]


def lambda_record(payload: Any) -> dict[str, Any]:
    return failed_invocation(payload, "ConfigurationError", "job 'x' is missing")


@pytest.fixture
def invoked(stack: Deployment) -> list[Any]:
    """The payloads with which the function is invoked from now on."""
    seen: list[Any] = []
    handle = stack.account.handler

    def record(event: Any, context: Any) -> Any:
        seen.append(event)
        return handle(event, context)

    stack.account.handler = record
    return seen


@pytest.mark.parametrize(
    ("body", "attributes"),
    [
        (lambda_record(EVENT), {}),
        (EVENT, {"ERROR_CODE": "NO_PERMISSIONS", "ERROR_MESSAGE": "not permitted", "RULE_ARN": "r"}),
        (EVENT, {"ErrorCode": "JobRejected", "ErrorMessage": "job 'x' does not exist"}),
        (DETAIL, {"EventType": "TENANT_PROVISIONING", "EventId": "e7", "ErrorCode": "JobRejected"}),
        (EVENT, {}),
    ],
    ids=["Lambda's record", "a rule's dead letter", "moved by the function", "a moved detail", "moved by SQS"],
)
def test_an_event_of_each_source_is_handled_and_deleted(
    stack: Deployment, on_stack: Command, body: Any, attributes: dict[str, str]
) -> None:
    stack.fail(body, **attributes)

    result = on_stack("redrive", "--all", "--yes")

    assert result.code == 0, result
    assert len(stack.runs()) == 1
    assert stack.failed() == 0


@pytest.mark.parametrize("body", [lambda_record(EVENT), EVENT], ids=["Lambda's record", "a moved event"])
def test_the_function_recognises_a_redrive(stack: Deployment, on_stack: Command, body: Any) -> None:
    """A job whose failure to start was published is started by a redrive, and by no other delivery."""
    late = {**EVENT, "time": (datetime.now(UTC) - timedelta(minutes=5)).isoformat()}
    project = "premium-tenant-provisioning"
    client("codebuild").delete_project(name=project)
    stack.send(late)
    sandbox.create_project(client("codebuild"), project)
    stack.send(late)
    assert stack.runs() == []
    stack.fail(lambda_record(late) if "requestPayload" in body else late)

    on_stack("redrive", "--all", "--yes")

    assert len(stack.runs()) == 1


def test_an_event_that_was_handled_meanwhile_starts_no_second_job(stack: Deployment, on_stack: Command) -> None:
    stack.send(EVENT)
    stack.fail(lambda_record(EVENT))

    result = on_stack("redrive", "--all", "--yes")

    assert "already started" in result.out
    assert len(stack.runs()) == 1
    assert stack.failed() == 0


def test_what_fails_again_is_kept_and_visible(stack: Deployment, on_stack: Command) -> None:
    stack.fail(lambda_record(BROKEN))

    result = on_stack("redrive", "--all", "--yes")

    assert result.code == 1
    assert "kept      broken  ConfigurationError: tier 'UNKNOWN'" in result.out
    assert result.out.splitlines()[-1] == "0 redriven, 1 kept"
    assert stack.failed() == 1


def test_the_events_of_one_tenant_are_redriven(stack: Deployment, on_stack: Command) -> None:
    stack.fail(lambda_record(EVENT))
    stack.fail(lambda_record({**BROKEN, "detail": {"tenantId": "t9"}}))

    result = on_stack("redrive", "--tenant", TENANT_ID, "--yes", "--json").json

    assert [done["eventId"] for done in result["redriven"]] == [EVENT["id"]]
    assert result["kept"] == []


def test_a_quiet_script_gets_only_the_results(stack: Deployment, on_stack: Command) -> None:
    stack.fail(lambda_record(EVENT))

    result = on_stack("redrive", "--all", "--yes", "--quiet")

    assert result.err == ""
    assert [line.split()[0] for line in result.out.splitlines()] == ["redriven", "1"]


def test_a_terminal_has_a_progress_bar_while_events_are_handled(
    stack: Deployment, on_stack: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        stack.fail(lambda_record({**EVENT, "id": f"e{number}"}))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")

    result = on_stack("redrive", "--all", "--yes")

    assert "1/2" in result.err
    assert "━" not in result.out
    assert result.out.splitlines()[-1] == "2 redriven, 0 kept"


def test_a_failure_does_not_keep_the_others_from_being_redriven(stack: Deployment, on_stack: Command) -> None:
    stack.fail(lambda_record({**BROKEN, "time": "2026-01-01T00:00:00Z"}))
    stack.fail(lambda_record(EVENT))

    result = on_stack("redrive", "--all", "--yes", "--json").json

    assert [one["eventId"] for one in result["kept"]] == ["broken"]
    assert [one["eventId"] for one in result["redriven"]] == [EVENT["id"]]
    assert stack.failed() == 1


def test_the_oldest_event_is_sent_first(stack: Deployment, on_stack: Command, invoked: list[Any]) -> None:
    for number in (3, 1, 2):
        stack.fail(lambda_record({**BROKEN, "id": f"e{number}", "time": f"2026-01-0{number}T00:00:00Z"}))

    on_stack("redrive", "--all", "--yes")

    assert [payload["requestPayload"]["id"] for payload in invoked] == ["e1", "e2", "e3"]


def test_an_event_that_no_consumer_takes_is_kept(stack: Deployment, on_stack: Command) -> None:
    stack.fail({**EVENT, "detail-type": "TENANT_RENAMED"})

    result = on_stack("redrive", "--all", "--yes")

    assert "no consumer took it" in result.out
    assert stack.failed() == 1


def test_an_event_that_has_to_wait_now_waits_and_is_deleted(stack: Deployment, on_stack: Command) -> None:
    stack.send(EVENT)
    stack.fail(lambda_record(sample("tenant-deprovisioning")))

    result = on_stack("redrive", "--all", "--yes")

    assert "waiting" in result.out
    assert stack.failed() == 0
    assert waiting_for(stack) == "tenant busy"


def waiting_for(stack: Deployment) -> Any:
    table = stack.account.names["TenantRecordsTable"]
    item = boto3.client("dynamodb").get_item(TableName=table, Key={"tenantId": {"S": TENANT_ID}})["Item"]
    return from_item(item)["waitingFor"]


def test_a_message_without_an_event_is_kept(stack: Deployment, on_stack: Command, invoked: list[Any]) -> None:
    stack.fail("not JSON")

    result = on_stack("redrive", "--all", "--yes")

    assert "it holds no event" in result.out
    assert (invoked, stack.failed()) == ([], 1)


def test_a_function_that_cannot_be_invoked_keeps_everything(
    stack: Deployment, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILURE_QUEUE_URL", stack.account.names["FailureQueue"])
    stack.fail(lambda_record(EVENT))
    stack.fail(lambda_record({**EVENT, "id": "second"}))

    client("lambda").delete_function(FunctionName=stack.account.names["OrchestratorFunction"])
    result = command("redrive", "--all", "--yes", "--function", stack.account.names["OrchestratorFunction"])

    assert result.code == 1
    assert "not tried any more" in result.out
    assert stack.failed() == 2


def test_only_the_named_events_are_sent(stack: Deployment, on_stack: Command, invoked: list[Any]) -> None:
    stack.fail(lambda_record(EVENT))
    stack.fail(lambda_record(BROKEN))

    on_stack("redrive", EVENT["id"], "--yes")

    assert [payload["requestPayload"]["id"] for payload in invoked] == [EVENT["id"]]
    assert stack.failed() == 1


def test_a_message_can_be_named_by_its_own_id(stack: Deployment, on_stack: Command) -> None:
    message_id = stack.fail(lambda_record(EVENT))

    assert on_stack("redrive", message_id, "--yes").code == 0
    assert stack.failed() == 0


def test_only_events_with_the_reason_are_sent(stack: Deployment, on_stack: Command) -> None:
    stack.fail(lambda_record(EVENT))
    stack.fail(BROKEN, ErrorCode="JobRejected")

    on_stack("redrive", "--reason", "ConfigurationError", "--yes")

    assert len(stack.runs()) == 1
    assert stack.failed() == 1


def test_an_id_that_is_not_in_the_queue_is_an_error_and_nothing_is_sent(
    stack: Deployment, on_stack: Command, invoked: list[Any]
) -> None:
    stack.fail(lambda_record(EVENT))

    result = on_stack("redrive", EVENT["id"], "other", "--yes")

    assert result.code == 1
    assert "ConfigurationError: 'other': not found in the failure queue; nothing was sent" in result.last_error
    assert (invoked, stack.failed()) == ([], 1)


@pytest.mark.parametrize("arguments", [[], ["id", "--all"], ["--all", "--reason", "X"]], ids=["none", "ids", "reason"])
def test_one_choice_is_needed(stack: Deployment, on_stack: Command, arguments: list[str]) -> None:
    result = on_stack("redrive", *arguments)

    assert result.code == 1
    assert "name the events to send by one of these: their ids, --reason, --tenant, or --all" in result.err


def test_a_dry_run_only_shows_what_would_be_sent(stack: Deployment, on_stack: Command, invoked: list[Any]) -> None:
    stack.fail(lambda_record(EVENT))

    result = on_stack("redrive", "--all", "--dry-run")

    assert EVENT["id"] in result.out
    assert (result.code, invoked, stack.failed()) == (0, [], 1)
    plan = on_stack("redrive", "--all", "--dry-run", "--json").json
    assert [one["eventId"] for one in plan["wouldBeSent"]] == [EVENT["id"]]


def test_it_says_what_it_will_do_and_does_nothing_without_consent(
    stack: Deployment, on_stack: Command, invoked: list[Any]
) -> None:
    stack.fail(lambda_record(EVENT))

    result = on_stack("redrive", "--all")

    assert result.code == 1
    assert "1 event will be sent to arn:aws:lambda:eu-west-1:123456789012:function:" in result.err
    assert "nothing was done, for there is no terminal to ask on; add --yes to agree" in result.last_error
    assert (invoked, stack.failed()) == ([], 1)


def test_it_goes_on_when_the_person_agrees(
    stack: Deployment, on_stack: Command, answering: Callable[[str], None]
) -> None:
    stack.fail(lambda_record(EVENT))
    answering("yes")

    assert on_stack("redrive", "--all").code == 0
    assert stack.failed() == 0


def test_a_message_that_comes_while_the_person_thinks_is_not_sent(
    stack: Deployment, on_stack: Command, invoked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.fail(lambda_record(EVENT))

    def think() -> str:
        stack.fail(lambda_record(BROKEN))
        return "y\n"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdin.readline", think)
    on_stack("redrive", "--all")

    assert [payload["requestPayload"]["id"] for payload in invoked] == [EVENT["id"]]
    assert stack.failed() == 1


def test_without_a_stack_the_function_is_named_by_an_option(
    stack: Deployment, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.fail(lambda_record(EVENT))
    monkeypatch.setenv("FAILURE_QUEUE_URL", stack.account.names["FailureQueue"])

    without = command("redrive", "--all", "--yes")
    result = command("redrive", "--all", "--yes", "--function", stack.account.names["OrchestratorFunction"])

    assert "the function to invoke is unknown; name a deployed stack with --stack, or --function" in without.err
    assert (result.code, stack.failed()) == (0, 0)


def test_function_and_stack_exclude_each_other(stack: Deployment, command: Command) -> None:
    result = command("redrive", "--all", "--stack", STACK, "--function", "other")

    assert "leave one of the two out" in result.err


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_secrets_and_details_are_not_shown(stack: Deployment, on_stack: Command, form: list[str]) -> None:
    stack.fail(lambda_record(EVENT))
    stack.fail(lambda_record(BROKEN))

    result = on_stack("redrive", "--all", "--yes", *form)

    assert not [secret for secret in SECRETS if secret in result.out + result.err]
    assert form == [] or json.loads(result.out)


def array(*events: dict[str, Any]) -> dict[str, Any]:
    """The record of an array that a custom event bus has sent."""
    return lambda_record([with_metadata(event) for event in events])


def test_the_events_of_an_array_are_sent_one_by_one(stack: Deployment, on_stack: Command, invoked: list[Any]) -> None:
    stack.fail(array(BROKEN, EVENT))

    result = on_stack("redrive", "--all", "--yes")

    assert [payload["requestPayload"]["Data"]["id"] for payload in invoked] == ["broken", EVENT["id"]]
    assert result.out.splitlines()[-1] == "1 redriven, 1 kept"
    assert (result.code, len(stack.runs()), stack.failed()) == (1, 1, 1)


def test_an_array_is_deleted_when_all_its_events_were_handled(stack: Deployment, on_stack: Command) -> None:
    stack.fail(array(EVENT, {**EVENT, "id": "again"}))

    result = on_stack("redrive", "--all", "--yes")

    assert result.out.splitlines()[-1] == "2 redriven, 0 kept"
    assert (result.code, stack.failed()) == (0, 0)


def test_an_event_is_sent_with_the_others_of_its_array(stack: Deployment, on_stack: Command) -> None:
    stack.fail(array(BROKEN, EVENT))
    stack.fail(lambda_record({**EVENT, "id": "of another message"}))

    plan = on_stack("redrive", EVENT["id"], "--dry-run", "--json").json

    assert {one["eventId"] for one in plan["wouldBeSent"]} == {"broken", EVENT["id"]}


def test_a_tenants_event_is_sent_with_those_of_other_tenants_in_its_array(stack: Deployment, on_stack: Command) -> None:
    stack.fail(array(EVENT, changed({**EVENT, "id": "of another tenant"}, "detail.tenant.id", "another")))
    stack.fail(lambda_record(changed({**EVENT, "id": "of another message"}, "detail.tenant.id", "another")))

    plan = on_stack("redrive", "--tenant", TENANT_ID, "--dry-run", "--json").json

    assert {one["eventId"] for one in plan["wouldBeSent"]} == {EVENT["id"], "of another tenant"}


def test_what_the_bus_could_not_deliver_is_kept_and_the_answer_says_what_to_do(
    stack: Deployment, on_stack: Command, invoked: list[Any]
) -> None:
    stack.fail(undelivered(EVENT))

    result = on_stack("redrive", EVENT["id"], "--yes")

    assert "have the bus send it again, then delete the message" in result.out
    assert (result.code, invoked, stack.failed()) == (1, [], 1)
