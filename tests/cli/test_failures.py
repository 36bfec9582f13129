"""What is in the failure queue, from each of its sources."""

import json
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore import handlers

from tests.cli.conftest import SECRETS, TENANT_ID, Command, Deployment
from tests.support.events import failed_invocation, sample, undelivered, with_metadata

EVENT = sample("tenant-provisioning")


def lambda_record(error: str = "ConfigurationError", text: str = "tier 'X' is unknown") -> dict[str, Any]:
    return failed_invocation(EVENT, error, text)


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


ANOTHER = {**EVENT, "id": "another", "time": "2026-11-24T08:00:00Z"}


@pytest.mark.parametrize("enclosed", [lambda event: event, with_metadata], ids=["raw", "with metadata"])
def test_every_event_of_an_array_is_listed_with_its_id(stack: Deployment, on_stack: Command, enclosed: Any) -> None:
    message_id = stack.fail(failed_invocation([enclosed(EVENT), enclosed(ANOTHER)]))

    result = on_stack("failures", "--json").json

    listed = [(failure["eventId"], failure["tenantId"], failure["messageId"]) for failure in result["failures"]]
    assert listed == [("another", TENANT_ID, message_id), (EVENT["id"], TENANT_ID, message_id)]
    assert result["notRead"] == 0


def test_an_event_with_metadata_has_the_id_by_which_the_function_knows_it(stack: Deployment, on_stack: Command) -> None:
    stack.fail(failed_invocation(with_metadata(EVENT, **{"aws:EventId": "of the bus"})))

    assert only(on_stack)["eventId"] == "of the bus"


@pytest.mark.parametrize("attributes", [{}, {"ERROR_CODE": "THROTTLING", "ERROR_MESSAGE": "The delivery failed."}])
def test_events_that_a_custom_event_bus_could_not_deliver_are_listed_by_id(
    stack: Deployment, on_stack: Command, attributes: dict[str, str]
) -> None:
    stack.fail(undelivered(EVENT, ANOTHER), **attributes)

    failures = on_stack("failures", "--json").json["failures"]

    assert {failure["eventId"] for failure in failures} == {EVENT["id"], "another"}
    assert {(failure["reason"], failure["message"]) for failure in failures} == {("THROTTLING", "The delivery failed.")}


def test_a_record_of_the_bus_without_events_is_listed_by_the_message(stack: Deployment, on_stack: Command) -> None:
    message_id = stack.fail(undelivered())

    assert only(on_stack)["messageId"] == message_id
