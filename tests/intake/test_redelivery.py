"""Failed messages: temporary failures come back with growing waits, permanent ones go to the failure queue."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from botocore.exceptions import ClientError

from orchestrator import (
    Application,
    ConfigurationError,
    Event,
    InvalidEvent,
    JobRejected,
    Registry,
    StartJob,
    Unavailable,
    create_handler,
)
from orchestrator.errors import WaitReason
from orchestrator.intake import message
from orchestrator.intake.message import Queue
from orchestrator.intake.redelivery import LONGEST_WAIT_SECONDS, Failed, Redelivery, wait_seconds
from orchestrator.lifecycle import registry as lifecycle
from tests.support.aws import REGION, Requests
from tests.support.builder import Recorder
from tests.support.events import invoke, json_lines, sample
from tests.support.messages import connector_record, deliver, fifo, record

Queues = dict[str, str]
FAILURES = "https://sqs.example.com/123456789012/failures"


@pytest.fixture
def queues(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> Queues:
    """Create a queue, a failure queue and the setting; return the queues' URLs."""
    sqs = boto3.client("sqs")
    urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("events", "failures")}
    monkeypatch.setenv("FAILURE_QUEUE_URL", urls["failures"])
    aws.clear()
    return urls


def failing(error: Callable[[], Exception]) -> Application:
    registry = Registry()

    @registry.consumer("X")
    def fail(event: Event) -> None:
        raise error()

    return create_handler(registry)


def received(queue: str, tries: int, *, number: int = 1, sent: datetime | None = None) -> dict[str, Any]:
    """Send a message through the emulated queue, and return its record as Lambda delivers it."""
    sqs = boto3.client("sqs")
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps({"number": number}))
    (message,) = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=360)["Messages"]
    made = connector_record("X", {"number": number}, number)
    timestamp = str(round((sent or datetime.now(UTC)).timestamp() * 1000))
    made["receiptHandle"] = message["ReceiptHandle"]
    made["attributes"] = {"SentTimestamp": timestamp, "ApproximateReceiveCount": str(tries)}
    return made


def waits(aws: Requests) -> list[int]:
    return [
        entry["VisibilityTimeout"] for request in aws.of("ChangeMessageVisibilityBatch") for entry in request["Entries"]
    ]


def in_failure_queue(queues: Queues) -> list[dict[str, Any]]:
    answer = boto3.client("sqs").receive_message(
        QueueUrl=queues["failures"], MessageAttributeNames=["All"], MaxNumberOfMessages=10
    )
    return [dict(message) for message in answer.get("Messages", [])]


def unavailable() -> Exception:
    return Unavailable(
        "CodeBuild's queue is full; a retry may succeed", ambiguous=False, waits_for=WaitReason.BUILD_QUEUE_FULL
    )


def rejected() -> Exception:
    return JobRejected("there is no such project; create it")


@pytest.mark.parametrize(
    ("tries", "longest"),
    [(1, 75), (2, 150), (3, 300), (6, 2400), (7, LONGEST_WAIT_SECONDS), (400, LONGEST_WAIT_SECONDS)],
)
def test_a_temporary_failure_comes_back_ever_later_and_never_goes_to_the_failure_queue(
    queues: Queues, aws: Requests, tries: int, longest: int
) -> None:
    message = received(queues["events"], tries)

    assert deliver(failing(unavailable), message) == ["message-1"]

    (wait,) = waits(aws)
    assert longest * 0.75 <= wait <= longest
    assert in_failure_queue(queues) == []


@pytest.mark.parametrize("error", [rejected, lambda: RuntimeError("do-not-tell")])
def test_a_permanent_failure_goes_to_the_failure_queue_after_the_third_try(
    queues: Queues, aws: Requests, error: Callable[[], Exception]
) -> None:
    handler = failing(error)

    assert deliver(handler, received(queues["events"], 1)) == ["message-1"]
    assert deliver(handler, received(queues["events"], 2)) == ["message-1"]
    assert len(waits(aws)) == 2
    assert in_failure_queue(queues) == []
    assert deliver(handler, received(queues["events"], 3)) == []

    (message,) = in_failure_queue(queues)
    attributes = {name: attribute["StringValue"] for name, attribute in message["MessageAttributes"].items()}
    event = json.loads(message["Body"])
    assert (event["id"], event["detail-type"], event["detail"]) == ("message-1", "X", {"number": 1})
    assert set(attributes) == {"ErrorCode", "ErrorMessage"}
    assert attributes["ErrorCode"] in ("JobRejected", "ConsumerFailed")
    assert "do-not-tell" not in attributes["ErrorMessage"]
    assert len(waits(aws)) == 2


def test_a_message_in_the_failure_queue_has_the_error(queues: Queues) -> None:
    deliver(failing(rejected), received(queues["events"], 3))

    (message,) = in_failure_queue(queues)
    assert message["MessageAttributes"]["ErrorCode"]["StringValue"] == "JobRejected"
    assert message["MessageAttributes"]["ErrorMessage"]["StringValue"] == "there is no such project; create it"


def test_a_message_in_the_failure_queue_can_be_sent_back_unchanged(queues: Queues, aws: Requests) -> None:
    event = sample("tenant-provisioning")
    broken = {**event, "detail": {**event["detail"], "planConfig": {"tier": "GOLD"}}}
    attributes = {"SentTimestamp": record(event)["attributes"]["SentTimestamp"], "ApproximateReceiveCount": "3"}

    assert deliver(create_handler(lifecycle), record(broken, attributes=attributes)) == []

    (message,) = in_failure_queue(queues)
    boto3.client("dynamodb").put_item(
        TableName="tiers", Item={"tier": {"S": "GOLD"}, "jobName": {"S": "premium-tenant-provisioning"}}
    )
    assert deliver(create_handler(lifecycle), record(message["Body"])) == []
    assert len(aws.of("StartBuild")) == 1


def test_a_message_of_the_reference_connector_that_is_sent_back_is_the_same_event(
    queues: Queues, aws: Requests
) -> None:
    builder, registry = Recorder(), Registry()
    registry.consumer("X", name="start")(lambda event: StartJob(name="job"))

    @registry.consumer("X")
    def fail(event: Event) -> None:
        raise rejected()

    handler = create_handler(registry, builders={"CODE_BUILD": builder})
    assert deliver(handler, received(queues["events"], 3)) == []
    (message,) = in_failure_queue(queues)

    deliver(handler, record(message["Body"], 7))
    with pytest.raises(JobRejected):
        invoke(handler, json.loads(message["Body"]))

    assert len(builder.jobs) == 1


def test_an_event_with_several_failures_is_retried_while_one_of_them_is_temporary(
    queues: Queues, aws: Requests
) -> None:
    registry = Registry()

    def fail(error: Exception) -> Callable[[Event], None]:
        def consumer(event: Event) -> None:
            raise error

        return consumer

    registry.consumer("X", name="one")(fail(rejected()))
    registry.consumer("X", name="two")(fail(unavailable()))
    both = create_handler(registry)
    assert deliver(both, received(queues["events"], 9)) == ["message-1"]
    assert in_failure_queue(queues) == []

    registry.remove("two")
    registry.consumer("X", name="two")(fail(ConfigurationError("no such table; create it")))
    assert deliver(both, received(queues["events"], 10)) == []
    (message,) = in_failure_queue(queues)
    assert message["MessageAttributes"]["ErrorCode"]["StringValue"] == "ExceptionGroup"
    assert (
        "JobRejected: there is no such project; create it"
        in message["MessageAttributes"]["ErrorMessage"]["StringValue"]
    )


def test_a_message_close_to_the_end_of_its_retention_goes_to_the_failure_queue(queues: Queues) -> None:
    young = datetime.now(UTC) - timedelta(days=13, minutes=-5)
    assert deliver(failing(unavailable), received(queues["events"], 300, sent=young)) == ["message-1"]
    assert in_failure_queue(queues) == []

    old = datetime.now(UTC) - timedelta(days=13, minutes=5)
    assert deliver(failing(unavailable), received(queues["events"], 300, sent=old)) == []

    (message,) = in_failure_queue(queues)
    assert message["MessageAttributes"]["ErrorCode"]["StringValue"] == "Unavailable"


def test_successful_messages_are_left_unchanged(queues: Queues, aws: Requests) -> None:
    registry = Registry()
    registry.consumer("X", name="x")(lambda event: None)

    assert deliver(create_handler(registry), received(queues["events"], 5)) == []

    assert waits(aws) == []
    assert in_failure_queue(queues) == []


def test_failures_beyond_the_limit_of_one_request_take_several_requests(queues: Queues, aws: Requests) -> None:
    messages = [received(queues["events"], 1, number=number) for number in range(23)]

    assert len(deliver(failing(unavailable), *messages)) == 23

    assert [len(request["Entries"]) for request in aws.of("ChangeMessageVisibilityBatch")] == [10, 10, 3]
    counts = boto3.client("sqs").get_queue_attributes(
        QueueUrl=queues["events"], AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )
    assert counts["Attributes"] == {"ApproximateNumberOfMessagesNotVisible": "23"}


def test_without_the_setting_the_queues_own_redelivery_applies(
    queues: Queues, aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAILURE_QUEUE_URL")

    assert deliver(failing(rejected), received(queues["events"], 9)) == ["message-1"]

    assert waits(aws) == []
    assert in_failure_queue(queues) == []


def test_a_message_that_cannot_be_sent_to_the_failure_queue_stays_in_its_own(
    queues: Queues, aws: Requests, capsys: pytest.CaptureFixture[str]
) -> None:
    boto3.client("sqs").delete_queue(QueueUrl=queues["failures"])

    assert deliver(failing(rejected), received(queues["events"], 3)) == ["message-1"]

    assert waits(aws) == []
    errors = [line["message"] for line in json_lines(capsys.readouterr().out) if line.get("level") == "ERROR"]
    assert any("SQS message 'message-1' was not sent to the failure queue" in message for message in errors)


def test_an_invalid_failure_queue_url_is_named_and_the_message_stays_in_its_own_queue(
    queues: Queues, aws: Requests, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAILURE_QUEUE_URL", "FailureQueue")
    handler = failing(rejected)

    assert deliver(handler, received(queues["events"], 2)) == ["message-1"]
    assert len(waits(aws)) == 1
    capsys.readouterr()
    assert deliver(handler, received(queues["events"], 3)) == ["message-1"]

    lines = [line for line in json_lines(capsys.readouterr().out) if line.get("error") == "ConfigurationError"]
    assert [line["message"] for line in lines] == [
        "SQS message 'message-1' was not sent to the failure queue: "
        "FAILURE_QUEUE_URL is not an http(s) URL; set it to the URL of an SQS queue"
    ]


class Sqs:
    """Replaces the client of SQS and refuses some messages, because moto does not enforce SQS's limits."""

    meta = SimpleNamespace(endpoint_url="https://sqs.example.com/")

    def __init__(self, refuses: Callable[[dict[str, Any]], bool]) -> None:
        self.refuses = refuses
        self.sent: list[dict[str, Any]] = []
        self.refused = 0

    def send_message(self, **request: Any) -> None:
        if self.refuses(request):
            self.refused += 1
            raise ClientError({"Error": {"Code": "InvalidParameterValue"}}, "SendMessage")
        self.sent.append(request)

    def change_message_visibility_batch(self, **request: Any) -> dict[str, Any]:
        self.sent.append(request)
        return {"Failed": [{"Id": "0", "Code": "ReceiptHandleIsInvalid", "SenderFault": True}]}


def arranged(sqs: Any, error: Exception | None, **changes: Any) -> set[str]:
    message = {**connector_record("X", {"number": 1}), **changes}
    message["attributes"] = {**message["attributes"], "ApproximateReceiveCount": "3"}
    message["attributes"]["SentTimestamp"] = str(round(datetime.now(UTC).timestamp() * 1000))
    redelivery = Redelivery(Queue("FAILURE_QUEUE_URL", FAILURES, lambda: sqs), None)
    return redelivery.arrange([Failed(record=SQSRecord(message), error=error)])


def test_a_message_that_its_reason_makes_too_large_is_sent_without_it() -> None:
    sqs = Sqs(lambda request: "ErrorMessage" in request["MessageAttributes"])

    assert arranged(sqs, rejected()) == {"message-1"}

    (request,) = sqs.sent
    assert request["MessageBody"] == '{"number": 1}'
    assert set(request["MessageAttributes"]) == {"EventType", "EventId", "EventTime"}
    again = connector_record("X", {"number": 1}, 7)
    again["messageAttributes"] = {
        name: {"stringValue": attribute["StringValue"], "dataType": "String"}
        for name, attribute in request["MessageAttributes"].items()
    }
    sent = SQSRecord(again)
    event = message.parse(sent, message.as_eventbridge_event(sent))
    assert (event.id, event.type) == ("message-1", "X")
    assert event.time.timestamp() == pytest.approx(datetime.now(UTC).timestamp(), abs=60)


def test_a_large_message_is_sent_without_its_reason() -> None:
    sqs, body = Sqs(lambda request: False), json.dumps({"text": "ü" * 300_000}, ensure_ascii=False)
    body += " " * (1024 * 1024 - len(body.encode()) - 50)

    assert arranged(sqs, rejected(), body=body, messageAttributes={}) == {"message-1"}

    (request,) = sqs.sent
    assert request["MessageBody"] == body
    assert request["MessageAttributes"] == {}


def test_a_message_that_sqs_cannot_hold_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    sqs = Sqs(lambda request: False)

    assert arranged(sqs, rejected(), body="x" * (1024 * 1024)) == set()

    assert sqs.sent == []
    assert "it would have 1,048,6" in capsys.readouterr().out


def test_a_message_that_is_refused_twice_stays_in_its_own_queue() -> None:
    sqs = Sqs(lambda request: True)

    assert arranged(sqs, rejected()) == set()
    assert sqs.refused == 2


def test_a_message_with_a_number_that_cannot_be_written_is_kept_unchanged() -> None:
    sqs, body = Sqs(lambda request: False), f'{{"n": {"7" * 5_000}}}'

    assert arranged(sqs, InvalidEvent("…"), body=body) == {"message-1"}

    (request,) = sqs.sent
    assert request["MessageBody"] == body
    assert {"EventType", "EventId", "EventTime"} <= set(request["MessageAttributes"])


def test_a_message_that_is_not_json_is_kept_unchanged() -> None:
    sqs = Sqs(lambda request: False)

    assert arranged(sqs, InvalidEvent("its body is no JSON"), body="no json") == {"message-1"}

    (request,) = sqs.sent
    assert request["MessageBody"] == "no json"
    assert set(request["MessageAttributes"]) == {"ErrorCode", "ErrorMessage", "EventType", "EventId", "EventTime"}


def test_a_message_that_cannot_be_kept_does_not_affect_the_others_of_its_batch() -> None:
    sqs: Any = Sqs(lambda request: False)
    broken = connector_record("X", {}, 1)
    failures = [
        Failed(record=SQSRecord(message), error=rejected()) for message in (broken, connector_record("X", {}, 2))
    ]
    for failed in failures:
        failed.record["attributes"].update(ApproximateReceiveCount="3", SentTimestamp=str(time.time_ns() // 10**6))
    del broken["attributes"]["SentTimestamp"]

    assert Redelivery(Queue("FAILURE_QUEUE_URL", FAILURES, lambda: sqs), None).arrange(failures) == {"message-2"}


def test_text_of_any_language_is_not_escaped_if_it_is_valid() -> None:
    sqs = Sqs(lambda request: False)

    arranged(sqs, rejected(), body=json.dumps({"name": "Мюллер", "odd": "\ud800"}))
    arranged(sqs, rejected(), body=json.dumps({"name": "Мюллер"}, ensure_ascii=False))

    odd, plain = (request["MessageBody"] for request in sqs.sent)
    assert json.loads(odd)["detail"] == {"name": "Мюллер", "odd": "\ud800"}
    assert odd.isascii()
    assert '"name":"Мюллер"' in plain


def test_a_body_with_half_a_surrogate_pair_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    sqs = Sqs(lambda request: False)

    assert arranged(sqs, rejected(), body='{"odd": "\ud800"', messageAttributes={}) == set()

    assert sqs.sent == []
    assert "half of a surrogate pair, which SQS refuses" in capsys.readouterr().out


def test_the_text_of_a_foreign_error_is_not_sent() -> None:
    sqs = Sqs(lambda request: False)

    arranged(sqs, KeyError("do-not-tell"))

    (request,) = sqs.sent
    assert request["MessageAttributes"]["ErrorCode"]["StringValue"] == "KeyError"
    assert request["MessageAttributes"]["ErrorMessage"]["StringValue"] == "see the function's log"


def test_the_queues_url_uses_the_clients_endpoint_and_refusals_are_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sqs = Sqs(lambda request: False)

    assert arranged(sqs, unavailable()) == set()

    assert sqs.sent[0]["QueueUrl"] == "https://sqs.example.com/123456789012/events"
    (line,) = json_lines(capsys.readouterr().out)
    assert line["level"] == "WARNING"
    assert line["message"].endswith("(SQS refused 1 of 1)")


def test_a_message_from_the_failure_queue_is_not_sent_to_it_again() -> None:
    sqs = Sqs(lambda request: False)

    assert arranged(sqs, rejected(), eventSourceARN="arn:aws:sqs:eu-west-1:123456789012:failures") == set()
    assert sqs.sent == []


def test_messages_that_failed_together_do_not_come_back_together() -> None:
    assert len({wait_seconds(7) for _ in range(50)}) > 10


@pytest.mark.parametrize(("hours", "counted"), [(0.9, []), (1.1, [[1.0]])])
def test_an_event_that_has_waited_for_an_hour_is_counted_for_the_alarm(
    queues: Queues, capsys: pytest.CaptureFixture[str], hours: float, counted: list[list[float]]
) -> None:
    sent = datetime.now(UTC) - timedelta(hours=hours)

    deliver(failing(unavailable), received(queues["events"], 8, sent=sent))

    lines = json_lines(capsys.readouterr().out)
    assert [line["EventsWaitingLong"] for line in lines if "EventsWaitingLong" in line] == counted


def test_a_failed_change_of_the_visibility_timeout_is_only_logged(
    queues: Queues, capsys: pytest.CaptureFixture[str]
) -> None:
    message = received(queues["events"], 1, sent=datetime.now(UTC) - timedelta(hours=2))
    boto3.client("sqs").delete_queue(QueueUrl=queues["events"])

    assert deliver(failing(unavailable), message) == ["message-1"]

    lines = json_lines(capsys.readouterr().out)
    warnings = [line["message"] for line in lines if line.get("level") == "WARNING"]
    assert len(warnings) == 1
    assert warnings[0].startswith(
        "the visibility timeout of failed SQS messages was not set, so their queue's own applies"
    )
    assert [line["EventsWaitingLong"] for line in lines if "EventsWaitingLong" in line] == [[1.0]]


def test_messages_behind_a_failure_in_a_fifo_group_come_back_at_once(
    aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = boto3.client("sqs")
    names = ("events.fifo", "failures.fifo")
    urls = [sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"})["QueueUrl"] for name in names]
    monkeypatch.setenv("FAILURE_QUEUE_URL", urls[1])
    first, second = fifo("X", 1, "a"), fifo("X", 2, "a")
    first["attributes"]["ApproximateReceiveCount"] = second["attributes"]["ApproximateReceiveCount"] = "3"
    aws.clear()

    assert deliver(failing(rejected), first, second) == ["message-2"]

    (sent,) = aws.of("SendMessage")
    assert (sent["MessageGroupId"], sent["MessageDeduplicationId"]) == ("a", "message-1")
    assert waits(aws) == [0]


def test_a_fifo_group_close_to_the_end_of_its_retention_goes_to_the_failure_queue(
    queues: Queues, aws: Requests
) -> None:
    old = str(round((datetime.now(UTC) - timedelta(days=13, hours=1)).timestamp() * 1000))
    messages = [fifo("X", number, "a") for number in range(4)]
    for sent in messages:
        sent["attributes"].update(SentTimestamp=old, ApproximateReceiveCount="9")

    assert deliver(failing(unavailable), *messages) == []

    codes = [request["MessageAttributes"]["ErrorCode"]["StringValue"] for request in aws.of("SendMessage")]
    assert sorted(codes) == ["NotTried", "NotTried", "NotTried", "Unavailable"]


def test_a_reason_that_sqs_cannot_store_is_cut_and_cleaned(queues: Queues) -> None:
    assert deliver(failing(lambda: JobRejected("\x1b[2J" + "x" * 5000)), received(queues["events"], 3)) == []

    (message,) = in_failure_queue(queues)
    assert message["MessageAttributes"]["ErrorMessage"]["StringValue"] == ("?[2J" + "x" * 5000)[:1024]


@pytest.mark.parametrize("missing", ["attributes", "receiptHandle", "eventSourceARN"])
def test_an_incomplete_record_does_not_fail_the_batch(queues: Queues, missing: str) -> None:
    message = connector_record("X", {})
    del message[missing]

    assert invoke(failing(rejected), {"Records": [message]}) == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}


def test_the_queues_are_accessed_in_the_functions_region(queues: Queues, aws: Requests) -> None:
    deliver(failing(unavailable), received(queues["events"], 1))

    (request,) = aws.of("ChangeMessageVisibilityBatch")
    assert request["QueueUrl"] == f"https://sqs.{REGION}.amazonaws.com/123456789012/events"
