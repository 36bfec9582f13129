"""A BullMQ job becomes an SQS message that the function handles as the job's event, once."""

import json
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Application, InvalidEvent
from orchestrator.cli.bridge.event_message import EventMessage, convert
from orchestrator.intake import message
from tests.support.aws import Requests
from tests.support.events import sample
from tests.support.messages import as_delivered, deliver, record

TIME = 1795510800123


def as_record(sent: EventMessage, number: int = 1) -> dict[str, Any]:
    return record(sent.body, number, messageAttributes=as_delivered(sent.attributes))


def test_a_job_that_was_sent_twice_starts_one_build(handler: Application, aws: Requests) -> None:
    event = sample("tenant-provisioning")
    sent = convert("events", "7", TIME, {"type": event["detail-type"], **event["detail"]})

    assert deliver(handler, as_record(sent, 1)) == []
    assert deliver(handler, as_record(sent, 2)) == []

    assert len(aws.of("StartBuild")) == 1


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
_VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS
_DATA = st.dictionaries(_TEXTS, _VALUES | st.lists(_VALUES), max_size=5)


@given(st.text(st.characters(categories=["L", "N", "P"]), min_size=1), _DATA)
def test_the_function_reads_type_id_time_and_detail(event_type: str, detail: dict[str, Any]) -> None:
    detail.pop("type", None)

    sent = convert("events", "7", TIME, {"type": event_type, **detail})
    received = SQSRecord(as_record(sent))
    event = message.parse(received, message.as_eventbridge_event(received))

    assert (event.type, event.id) == (event_type, f"bullmq:events:7:{TIME}")
    assert (event.time.timestamp(), event.detail) == (TIME / 1000, detail)


def deep(levels: int) -> Any:
    return json.loads('{"a":' * levels + "1" + "}" * levels)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (None, "its data is null; it must be a JSON object"),
        ([{"type": "A"}], "its data is a list; it must be a JSON object"),
        ({"tenantId": "t1"}, "must have the event's type in `type`, as printable text, but has none"),
        ({"type": 1}, "but has another value there"),
        ({"type": " "}, "but has another value there"),
        ({"type": "A\nB"}, "but has another value there"),
        ({"type": "A", "secret": "s3cret \ud800"}, "event: detail.secret contains half of a surrogate pair"),
        ({"type": "A", "b": deep(70)}, "is nested deeper than 64 levels"),
        ({"type": "A", "b": float("inf")}, "a number of more than 4,300 digits, or one above 1.8e308"),
    ],
)
def test_a_job_without_an_event_is_refused_with_a_reason(data: Any, error: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        convert("events", "7", TIME, data)

    assert error in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("job_id", "timestamp", "error"),
    [
        ("7\n", TIME, "its id has control characters"),
        ("7", 0, "event: time is before the year 2000"),
        ("7", 10**15, "its timestamp is not a time"),
    ],
)
def test_a_job_whose_id_or_time_cannot_be_an_events_is_refused(job_id: str, timestamp: int, error: str) -> None:
    with pytest.raises(InvalidEvent, match=error):
        convert("events", job_id, timestamp, {"type": "A"})


def test_control_characters_in_a_detail_are_sent() -> None:
    sent = convert("events", "7", TIME, {"type": "A", "text": "\x00\uffff"})

    assert sent.body.isascii()
    assert json.loads(sent.body) == {"text": "\x00\uffff"}
