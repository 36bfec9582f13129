"""What is in the failure queue, from each of its sources."""

import json
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore import handlers

from tests.cli.conftest import SECRETS, TENANT_ID, Command, Deployment
from tests.support.events import sample

EVENT = sample("tenant-provisioning")


def lambda_record(error: str = "ConfigurationError", text: str = "tier 'X' is unknown") -> dict[str, Any]:
    """The record that Lambda sends after the last try of an asynchronous invocation."""
    return {
        "version": "1.0",
        "requestContext": {"requestId": "r1", "condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": EVENT,
        "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        "responsePayload": {"errorType": error, "errorMessage": text, "stackTrace": ["do-not-tell"]},
    }


def only(on_stack: Command) -> dict[str, Any]:
    (failure,) = on_stack("failures", "--json").json["failures"]
    found: dict[str, Any] = failure
    return found


def test_a_failed_invocation_has_the_error_of_its_record(stack: Deployment, on_stack: Command) -> None:
    message_id = stack.fail(lambda_record())

    assert only(on_stack) == {
        "reason": "ConfigurationError",
        "eventId": EVENT["id"],
        "tenantId": TENANT_ID,
        "eventType": "TENANT_PROVISIONING",
        "time": EVENT["time"],
        "message": "tier 'X' is unknown",
        "messageId": message_id,
    }


def test_an_invocation_that_lambda_never_tried_has_the_condition_as_its_reason(
    stack: Deployment, on_stack: Command
) -> None:
    stack.fail({"requestContext": {"condition": "EventAgeExceeded"}, "requestPayload": EVENT})

    assert only(on_stack)["reason"] == "EventAgeExceeded"


def test_an_event_that_a_rule_could_not_deliver_has_the_rules_error(stack: Deployment, on_stack: Command) -> None:
    stack.fail(EVENT, ERROR_CODE="NO_PERMISSIONS", ERROR_MESSAGE="Lambda function does not permit it", RULE_ARN="r")

    failure = only(on_stack)

    assert (failure["reason"], failure["message"]) == ("NO_PERMISSIONS", "Lambda function does not permit it")
    assert (failure["eventId"], failure["tenantId"]) == (EVENT["id"], TENANT_ID)


def test_an_event_that_the_function_moved_has_the_functions_error(stack: Deployment, on_stack: Command) -> None:
    stack.fail(EVENT, ErrorCode="JobRejected", ErrorMessage="job 'x' does not exist")

    failure = only(on_stack)

    assert (failure["reason"], failure["message"]) == ("JobRejected", "job 'x' does not exist")
    assert failure["eventId"] == EVENT["id"]


def test_an_events_detail_that_the_function_moved_has_its_id_in_attributes(
    stack: Deployment, on_stack: Command
) -> None:
    stack.fail(EVENT["detail"], EventType="TENANT_PROVISIONING", EventId="e7", ErrorCode="InvalidEvent")

    failure = only(on_stack)

    assert (failure["eventId"], failure["eventType"], failure["tenantId"]) == ("e7", "TENANT_PROVISIONING", TENANT_ID)


def test_an_event_that_sqs_moved_has_no_known_reason(stack: Deployment, on_stack: Command) -> None:
    stack.fail(EVENT)

    failure = only(on_stack)

    assert (failure["reason"], failure["message"], failure["eventId"]) == ("unknown", None, EVENT["id"])


@pytest.mark.parametrize("body", ["not JSON", "[1]", "[" * 3000], ids=["text", "list", "deep"])
def test_a_message_without_an_event_is_listed_by_its_own_id(stack: Deployment, on_stack: Command, body: str) -> None:
    message_id = stack.fail(body)

    failure = only(on_stack)

    assert (failure["messageId"], failure["eventId"]) == (message_id, None)
    assert f"message {message_id}" in on_stack("failures").out


def test_the_text_of_a_foreign_error_is_not_shown(stack: Deployment, on_stack: Command) -> None:
    stack.fail(lambda_record("KeyError", "do-not-tell"))

    failure = only(on_stack)

    assert (failure["reason"], failure["message"]) == ("KeyError", "see the function's log")


def test_a_time_out_keeps_the_text_of_lambda(stack: Deployment, on_stack: Command) -> None:
    stack.fail(lambda_record("Sandbox.Timedout", "Task timed out after 60.00 seconds"))

    assert only(on_stack)["message"] == "Task timed out after 60.00 seconds"


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_secrets_and_details_are_not_shown(stack: Deployment, on_stack: Command, form: list[str]) -> None:
    stack.fail(lambda_record())
    stack.fail(EVENT, ErrorCode="JobRejected")

    result = on_stack("failures", *form)

    shown = result.out + result.err
    assert not [secret for secret in (*SECRETS, "do-not-tell") if secret in shown]


def test_the_messages_are_visible_again_when_the_command_has_ended(stack: Deployment, on_stack: Command) -> None:
    for _ in range(12):
        stack.fail(lambda_record())

    assert len(on_stack("failures", "--json").json["failures"]) == 12
    assert stack.failed() == 12


def test_the_command_says_that_it_hides_the_messages(stack: Deployment, on_stack: Command) -> None:
    stack.fail(EVENT)

    assert on_stack("failures").err == ("orchestrator: the messages are hidden from others until the command ends\n")
    assert on_stack("failures", "--quiet").err == ""


def test_nothing_is_said_to_be_hidden_before_the_queue_was_reached(
    stack: Deployment, on_stack: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.fail(EVENT)
    refuse(monkeypatch, "sqs.GetQueueAttributes")

    result = on_stack("failures")

    assert result.code == 1
    assert "hidden" not in result.err


def test_without_the_permission_to_show_them_again_they_are_listed_all_the_same(
    stack: Deployment, on_stack: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.fail(EVENT)
    refuse(monkeypatch, "sqs.ChangeMessageVisibilityBatch")

    result = on_stack("failures")

    assert EVENT["id"] in result.out
    assert "stay hidden for up to five minutes: AWS answered AccessDenied; allow ChangeMessage" in result.last_error


def refuse(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    """Remove the permission for an operation from every client that is created from now on."""
    parsed = {"Error": {"Code": "AccessDenied", "Message": "not authorized"}, "ResponseMetadata": {}}
    entry: Any = (f"before-call.{operation}", lambda **_: (SimpleNamespace(status_code=403), parsed))
    monkeypatch.setattr(handlers, "BUILTIN_HANDLERS", [*handlers.BUILTIN_HANDLERS, entry])


def test_messages_that_another_process_has_received_are_counted(stack: Deployment, on_stack: Command) -> None:
    stack.fail(EVENT)
    boto3.client("sqs").receive_message(QueueUrl=stack.account.names["FailureQueue"], VisibilityTimeout=600)

    assert "about 1 more were not read" in on_stack("failures").out


def test_no_more_messages_are_read_than_the_limit(stack: Deployment, on_stack: Command) -> None:
    for _ in range(3):
        stack.fail(EVENT)

    found = on_stack("failures", "--json", "--limit", "2").json

    assert (len(found["failures"]), found["notRead"]) == (2, 1)


def test_only_messages_of_the_reason_are_listed(stack: Deployment, on_stack: Command) -> None:
    stack.fail(EVENT, ErrorCode="JobRejected")
    stack.fail(EVENT, ErrorCode="InvalidEvent")

    found = on_stack("failures", "--json", "--reason", "InvalidEvent").json["failures"]

    assert [failure["reason"] for failure in found] == ["InvalidEvent"]


def test_only_messages_of_the_tenant_are_listed(stack: Deployment, on_stack: Command) -> None:
    stack.fail(EVENT, ErrorCode="JobRejected")
    stack.fail({**EVENT, "id": "other", "detail": {"tenantId": "t9"}}, ErrorCode="JobRejected")

    found = on_stack("failures", "--json", "--tenant", "t9").json["failures"]

    assert [failure["eventId"] for failure in found] == ["other"]
    assert on_stack("failures", "--tenant", "t8").out == "no message of tenant t8 was found in the failure queue\n"


def test_the_reasons_are_counted(stack: Deployment, on_stack: Command) -> None:
    stack.fail(EVENT, ErrorCode="JobRejected")
    stack.fail({**EVENT, "id": "other"}, ErrorCode="JobRejected")

    assert on_stack("failures").out.splitlines()[-1].split() == ["2", "JobRejected"]


def test_an_empty_queue_is_said_to_be_empty(stack: Deployment, on_stack: Command) -> None:
    assert on_stack("failures").out == "no message was found in the failure queue\n"
    assert json.loads(on_stack("failures", "--json").out) == {"failures": [], "notRead": 0}
