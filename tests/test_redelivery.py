"""Messages of a queue that failed: spaced out while they wait, and in the failure queue when they are hopeless."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from orchestrator import ConfigurationError, Event, Handler, JobRejected, Registry, Unavailable, create_handler
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.redelivery import LONGEST_WAIT_SECONDS
from tests.conftest import REGION, Requests, invoke, json_lines, sample
from tests.test_sqs import connector_record, deliver, fifo, record

Queues = dict[str, str]


@pytest.fixture
def queues(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> Queues:
    """Make a queue, a failure queue and the setting; gives the queues' URLs."""
    sqs = boto3.client("sqs")
    urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("events", "failures")}
    monkeypatch.setenv("FAILURE_QUEUE_URL", urls["failures"])
    aws.clear()
    return urls


def failing(error: Callable[[], Exception]) -> Handler:
    registry = Registry()

    @registry.consumer("X")
    def fail(event: Event) -> None:
        raise error()

    return create_handler(registry)


def received(queue: str, tries: int, *, number: int = 1, sent: datetime | None = None) -> dict[str, Any]:
    """Send a message through the emulated queue, and give the record that Lambda would make of it."""
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
    return Unavailable("CodeBuild's queue is full; it will be retried", ambiguous=False)


def rejected() -> Exception:
    return JobRejected("there is no such project; create it")


@pytest.mark.parametrize(
    ("tries", "longest"),
    [(1, 60), (2, 120), (3, 240), (6, 1920), (7, LONGEST_WAIT_SECONDS), (400, LONGEST_WAIT_SECONDS)],
)
def test_what_waits_for_a_service_comes_back_ever_later_and_never_goes_to_the_failure_queue(
    queues: Queues, aws: Requests, tries: int, longest: int
) -> None:
    message = received(queues["events"], tries)

    assert deliver(failing(unavailable), message) == ["message-1"]

    (wait,) = waits(aws)
    assert longest * 0.75 <= wait <= longest
    assert in_failure_queue(queues) == []


@pytest.mark.parametrize("error", [rejected, lambda: RuntimeError("do-not-tell")])
def test_what_no_try_can_mend_is_in_the_failure_queue_after_the_third(
    queues: Queues, aws: Requests, error: Callable[[], Exception]
) -> None:
    handler = failing(error)

    assert deliver(handler, received(queues["events"], 1)) == ["message-1"]
    assert deliver(handler, received(queues["events"], 2)) == ["message-1"]
    assert len(waits(aws)) == 2
    assert in_failure_queue(queues) == []
    assert deliver(handler, received(queues["events"], 3)) == []

    (message,) = in_failure_queue(queues)
    told = {name: attribute["StringValue"] for name, attribute in message["MessageAttributes"].items()}
    assert json.loads(message["Body"]) == {"number": 1}
    assert told.pop("EventType") == "X"
    assert told["ErrorCode"] in ("JobRejected", "ConsumerFailed")
    assert "do-not-tell" not in told["ErrorMessage"]
    assert len(waits(aws)) == 2


def test_the_failure_queue_tells_why(queues: Queues) -> None:
    deliver(failing(rejected), received(queues["events"], 3))

    (message,) = in_failure_queue(queues)
    assert message["MessageAttributes"]["ErrorCode"]["StringValue"] == "JobRejected"
    assert message["MessageAttributes"]["ErrorMessage"]["StringValue"] == "there is no such project; create it"


def test_a_message_in_the_failure_queue_can_be_sent_back_as_it_is(queues: Queues, aws: Requests) -> None:
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


def test_several_failures_of_one_event_wait_as_long_as_one_of_them_may_still_go_well(
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


def test_a_message_that_its_queue_would_soon_delete_is_kept_in_the_failure_queue(queues: Queues) -> None:
    old = datetime.now(UTC) - timedelta(days=13, hours=1)

    assert deliver(failing(unavailable), received(queues["events"], 300, sent=old)) == []

    (message,) = in_failure_queue(queues)
    assert message["MessageAttributes"]["ErrorCode"]["StringValue"] == "Unavailable"


def test_messages_that_go_well_are_let_be(queues: Queues, aws: Requests) -> None:
    registry = Registry()
    registry.consumer("X", name="x")(lambda event: None)

    assert deliver(create_handler(registry), received(queues["events"], 5)) == []

    assert waits(aws) == []
    assert in_failure_queue(queues) == []


def test_more_failures_than_one_request_takes_are_all_spaced_out(queues: Queues, aws: Requests) -> None:
    messages = [received(queues["events"], 1, number=number) for number in range(23)]

    assert len(deliver(failing(unavailable), *messages)) == 23

    assert [len(request["Entries"]) for request in aws.of("ChangeMessageVisibilityBatch")] == [10, 10, 3]
    counts = boto3.client("sqs").get_queue_attributes(
        QueueUrl=queues["events"], AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )
    assert counts["Attributes"] == {"ApproximateNumberOfMessagesNotVisible": "23"}


def test_without_the_setting_the_queue_decides(queues: Queues, aws: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAILURE_QUEUE_URL")

    assert deliver(failing(rejected), received(queues["events"], 9)) == ["message-1"]

    assert waits(aws) == []
    assert in_failure_queue(queues) == []


def test_a_message_that_the_failure_queue_does_not_take_comes_back(
    queues: Queues, aws: Requests, capsys: pytest.CaptureFixture[str]
) -> None:
    boto3.client("sqs").delete_queue(QueueUrl=queues["failures"])

    assert deliver(failing(rejected), received(queues["events"], 3)) == ["message-1"]

    assert len(waits(aws)) == 1
    told = [line["message"] for line in json_lines(capsys.readouterr().out) if line.get("level") == "ERROR"]
    assert any("SQS message 'message-1' could not be put into the failure queue" in message for message in told)


def test_a_queue_that_keeps_its_own_time_is_told_of_and_is_no_failure(
    queues: Queues, capsys: pytest.CaptureFixture[str]
) -> None:
    message = received(queues["events"], 1)
    boto3.client("sqs").delete_queue(QueueUrl=queues["events"])

    assert deliver(failing(unavailable), message) == ["message-1"]

    told = [line["message"] for line in json_lines(capsys.readouterr().out) if line.get("level") == "WARNING"]
    assert len(told) == 1
    assert told[0].startswith("SQS messages that failed come back when their queue says")


def test_what_waits_behind_a_failure_in_a_fifo_group_waits_with_it(
    aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = boto3.client("sqs")
    names = ("events.fifo", "failures.fifo")
    urls = [sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"})["QueueUrl"] for name in names]
    monkeypatch.setenv("FAILURE_QUEUE_URL", urls[1])
    first, second = fifo("X", 1, "a"), fifo("X", 2, "a")
    first["attributes"]["ApproximateReceiveCount"] = "3"
    aws.clear()

    assert deliver(failing(rejected), first, second) == ["message-2"]

    (sent,) = aws.of("SendMessage")
    assert (sent["MessageGroupId"], sent["MessageDeduplicationId"]) == ("a", "message-1")
    assert len(waits(aws)) == 1


def test_an_attribute_of_bytes_is_kept(queues: Queues, aws: Requests) -> None:
    message = received(queues["events"], 3)
    message["messageAttributes"]["Trace"] = {"binaryValue": "AAEC", "dataType": "Binary"}

    assert deliver(failing(rejected), message) == []

    (kept,) = in_failure_queue(queues)
    assert kept["MessageAttributes"]["Trace"]["BinaryValue"] == b"\x00\x01\x02"


def test_a_text_that_sqs_cannot_hold_is_made_fit(queues: Queues) -> None:
    assert deliver(failing(lambda: JobRejected("\x1b[2J" + "x" * 5000)), received(queues["events"], 3)) == []

    (message,) = in_failure_queue(queues)
    assert message["MessageAttributes"]["ErrorMessage"]["StringValue"] == ("?[2J" + "x" * 5000)[:1024]


def test_a_record_without_attributes_is_no_failure_of_the_batch(queues: Queues) -> None:
    message = {**connector_record("X", {}), "receiptHandle": "x"}
    del message["attributes"]

    assert invoke(failing(rejected), {"Records": [message]}) == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}


def test_the_queues_are_asked_for_in_the_functions_region(queues: Queues, aws: Requests) -> None:
    deliver(failing(unavailable), received(queues["events"], 1))

    (request,) = aws.of("ChangeMessageVisibilityBatch")
    assert request["QueueUrl"] == f"https://sqs.{REGION}.amazonaws.com/123456789012/events"
