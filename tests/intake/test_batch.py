"""Batches from SQS: both forms of messages, partial failures, parallel handling, and FIFO order."""

import json
import threading

import pytest

from orchestrator import Application, Event, InvalidEvent, Registry, StartJob, StaticTierDetails, create_handler
from tests.support.aws import Requests
from tests.support.builder import Recorder
from tests.support.events import EVENTS, changed, invoke, json_lines, sample
from tests.support.messages import connector_record, deliver, fifo, record


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def builder() -> Recorder:
    return Recorder()


@pytest.fixture
def own(registry: Registry, builder: Recorder) -> Application:
    return create_handler(registry, builders={"CODE_BUILD": builder}, tiers=StaticTierDetails())


def test_an_event_from_a_queue_is_handled_as_if_it_came_directly(handler: Application, aws: Requests) -> None:
    event = sample("tenant-provisioning")

    assert deliver(handler, record(event)) == []
    assert deliver(handler, record(event, 2)) == []
    invoke(handler, event)

    (build,) = aws.of("StartBuild")
    assert build["projectName"] == "premium-tenant-provisioning"


def test_the_sample_has_one_message_of_each_form(handler: Application, aws: Requests) -> None:
    batch = json.loads((EVENTS / "sqs-batch.json").read_text(encoding="utf-8"))

    assert deliver(handler, *batch["Records"]) == []

    projects = sorted(build["projectName"] for build in aws.of("StartBuild"))
    assert projects == ["basic-tenant-provisioning", "premium-tenant-provisioning"]


def test_a_message_of_the_reference_connector_is_handled(handler: Application, aws: Requests) -> None:
    detail = sample("tenant-provisioning-subscription")["detail"]

    assert deliver(handler, connector_record("TENANT_PROVISIONING", detail)) == []

    (build,) = aws.of("StartBuild")
    assert build["projectName"] == "basic-tenant-provisioning"


def test_a_redelivered_message_of_the_reference_connector_is_the_same_event(
    own: Application, registry: Registry
) -> None:
    seen: list[Event] = []
    registry.consumer("X", name="see")(seen.append)

    deliver(own, connector_record("X", {"a": 1}))
    deliver(own, connector_record("X", {"a": 1}))

    assert seen[0] == seen[1]
    assert (seen[0].id, seen[0].account, seen[0].region) == ("message-1", "123456789012", "eu-west-1")
    assert seen[0].time.isoformat() == "2026-11-24T09:00:00+00:00"
    assert seen[0].detail == {"a": 1}


@pytest.mark.parametrize("body", ["no json", "[]", "null", '{"detail": 1}', "[" * 100_000, '""'])
def test_a_bad_message_does_not_affect_the_others(handler: Application, aws: Requests, body: str) -> None:
    good = record(sample("tenant-provisioning"), 2)

    assert deliver(handler, record(body), good, record(body, 3)) == ["message-1", "message-3"]
    assert len(aws.of("StartBuild")) == 1


@pytest.mark.parametrize("event_type", ["", " ", "a\nb"])
def test_a_message_without_a_valid_type_fails(own: Application, event_type: str) -> None:
    assert deliver(own, connector_record(event_type, {})) == ["message-1"]


def test_a_batch_in_which_every_message_fails_raises_no_error(handler: Application) -> None:
    unknown = changed(sample("tenant-provisioning"), "detail.planConfig.tier", "GOLD")

    assert deliver(handler, record(unknown), record("no json", 2)) == ["message-1", "message-2"]


def test_each_failure_is_logged_with_its_event(handler: Application, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = changed(sample("tenant-provisioning", id="the-event"), "detail.planConfig.tier", "GOLD")

    deliver(handler, record(unknown), record("no json do-not-tell", 2))

    lines = json_lines(capsys.readouterr().out)
    assert [line["correlation_id"] for line in lines if "'GOLD'" in line.get("message", "")] == ["the-event"]
    messages = [line["message"] for line in lines if "message-2" in line.get("message", "")]
    assert messages == [
        "SQS message 'message-2': its body is not JSON; send an EventBridge event, or an event's detail"
    ]


def test_messages_are_handled_in_parallel(own: Application, registry: Registry) -> None:
    all_are_here = threading.Barrier(10, timeout=10)

    @registry.consumer("X")
    def wait(event: Event) -> None:
        all_are_here.wait()

    assert deliver(own, *(connector_record("X", {}, number) for number in range(10))) == []


def test_the_setting_limits_how_many_messages_are_handled_in_parallel(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQS_PARALLEL_RECORDS", "2")
    at_work, most = [0], [0]
    lock = threading.Lock()

    @registry.consumer("X")
    def count(event: Event) -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        two_are_here.wait()
        with lock:
            at_work[0] -= 1

    two_are_here = threading.Barrier(2, timeout=10)

    assert deliver(create_handler(registry), *(connector_record("X", {}, number) for number in range(8))) == []
    assert most == [2]


def test_a_fifo_queue_keeps_its_order(own: Application, registry: Registry, builder: Recorder) -> None:
    registry.consumer("X", name="x")(lambda event: StartJob(name=f"n{event.detail['number']}"))

    deliver(own, *(fifo("X", number, "a") for number in range(9)))

    assert [job.name for job in builder.jobs] == [f"n{number}" for number in range(9)]


def test_after_a_failure_the_rest_of_its_fifo_group_waits_and_other_groups_continue(
    own: Application, registry: Registry, builder: Recorder
) -> None:
    registry.consumer("X", name="x")(lambda event: StartJob(name=f"n{event.detail['number']}"))
    builder.failing["n2"] = RuntimeError("broken")

    failed = deliver(own, fifo("X", 1, "a"), fifo("X", 2, "a"), fifo("X", 3, "b"), fifo("X", 4, "a"))

    assert failed == ["message-2", "message-4"]
    assert [job.name for job in builder.jobs] == ["n1", "n3"]


def test_an_invalid_record_is_logged_and_fails(own: Application, capsys: pytest.CaptureFixture[str]) -> None:
    broken = connector_record("X", {})
    del broken["attributes"]

    assert deliver(own, broken) == ["message-1"]
    assert "SQS message 'message-1': its attribute SentTimestamp is not a time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("messageId", ..., "messageId is missing"),
        ("messageId", ["message-1"], "messageId must be a text"),
        ("messageId", "", "messageId is empty"),
        ("receiptHandle", 1, "receiptHandle must be a text"),
        ("body", ..., "body is missing"),
        ("body", {"a": 1}, "body must be a text"),
        ("body", "", "body is empty"),
        ("eventSourceARN", [], "eventSourceARN must be a text"),
        ("eventSourceARN", "events", "eventSourceARN is wrong"),
        ("attributes", [], "attributes must be an object"),
        ("attributes.SentTimestamp", 1795510800000, "attributes.SentTimestamp must be a text"),
        (
            "attributes.ApproximateReceiveCount",
            "1.5",
            "attributes.ApproximateReceiveCount is wrong: it must be a whole",
        ),
        ("attributes.ApproximateReceiveCount", True, "attributes.ApproximateReceiveCount is wrong"),
        ("attributes.MessageGroupId", {}, "attributes.MessageGroupId must be a text"),
        ("messageAttributes", ..., "messageAttributes is missing"),
        ("messageAttributes", {"EventType": "X"}, "messageAttributes.EventType must be an object"),
        ("messageAttributes", {"A": {"stringValue": 1}}, "messageAttributes.A.stringValue must be a text"),
    ],
)
def test_a_malformed_batch_is_refused_with_the_place(
    own: Application, registry: Registry, builder: Recorder, field: str, value: object, problem: str
) -> None:
    registry.consumer("X", name="x")(lambda event: StartJob(name="job"))

    with pytest.raises(InvalidEvent) as caught:
        deliver(own, connector_record("X", {}), changed(connector_record("X", {}, 2), field, value))

    assert str(caught.value).startswith(f"Records[1].{problem}")
    assert builder.jobs == []


def test_a_message_of_the_reference_connector_without_a_queue_is_an_event(own: Application, registry: Registry) -> None:
    seen: list[Event] = []
    registry.consumer("X", name="x")(seen.append)
    message = connector_record("X", {})
    del message["eventSourceARN"]

    assert deliver(own, message) == []

    assert [(event.account, event.resources) for event in seen] == [("", [])]
