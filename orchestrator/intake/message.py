"""Converts SQS messages to canonical events.

A message comes from an EventBridge rule, or from the reference connector
(https://github.com/sourcefuse/loopback4-message-bus-connector). The body of a message from a rule is a whole event. The
body of a message from the reference connector is only the event's detail; the event's type is in the message attribute
`EventType`.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from orchestrator.errors import InvalidEvent, shown
from orchestrator.event import Event
from orchestrator.intake import eventbridge
from orchestrator.values.limits import read_json

TYPE_ATTRIBUTE = "EventType"
"""The message attribute in which the reference connector sends the event's type."""
ERROR_ATTRIBUTE = "ErrorCode"
"""The message attribute that only messages from the failure queue have; its value is the error's class name."""
ID_ATTRIBUTE = "EventId"
TIME_ATTRIBUTE = "EventTime"
"""The attributes `EventId` and `EventTime` keep an event's id and time when its message is sent again."""


def parse(record: SQSRecord, request_id: str | None = None) -> Event[Mapping[str, Any]]:
    """Convert an SQS message to the canonical event; see `as_eventbridge_event`.

    A message from the failure queue has been sent again by somebody, so its event gets a `redrive`.

    Args:
        record: The message.
        request_id: Lambda's id of the invocation; see `eventbridge.parse`.

    Raises:
        InvalidEvent: The body is neither an event nor an event's detail.
    """
    event = eventbridge.parse(as_eventbridge_event(record), request_id)
    if record.message_attributes.get(ERROR_ATTRIBUTE) is None:
        return event
    return replace(event, redrive=event.redrive or f"message {record.message_id}")


def as_eventbridge_event(record: SQSRecord) -> Any:
    """Return the EventBridge event that a message contains, decoded from JSON.

    If the message has no attribute `EventType`, its body is the whole event.

    If the message has the attribute `EventType`, it comes from the reference connector, and its body is only the
    event's detail. The attribute `EventId` contains the event's id; without that attribute, the event gets the
    message's own id. The attribute `EventTime` contains the event's time; without that attribute, the event gets the
    time at which the message was sent.

    Raises:
        InvalidEvent: The body is not JSON.
    """
    try:
        body = read_json(record.body)
    except (ValueError, RecursionError):
        failure = f"SQS message {shown(record.message_id)}: its body is not JSON"
        raise InvalidEvent(f"{failure}; send an EventBridge event, or an event's detail") from None
    if record.message_attributes.get(TYPE_ATTRIBUTE) is None:
        return body
    _, _, _, region, account, *_ = [*record.event_source_arn.split(":"), "", "", "", "", ""]
    return {
        "version": "0",
        **identity(record),
        "source": "aws.sqs",
        "account": account,
        "region": region,
        "resources": [record.event_source_arn],
        "detail": body,
    }


def identity(record: SQSRecord) -> dict[str, str | None]:
    """Return the `id`, `detail-type` and `time` of the event in a message of the reference connector.

    The values come from the message's attributes; see `as_eventbridge_event`.

    Raises:
        InvalidEvent: The message's `SentTimestamp` is missing, or is not a time between the years 1 and 9999.
    """

    def attribute(name: str) -> str | None:
        found = record.message_attributes.get(name)
        return None if found is None else found.get("stringValue")

    try:
        sent = datetime.fromtimestamp(int(record.attributes.sent_timestamp) / 1000, UTC).isoformat()
    except (OSError, OverflowError, ValueError):
        raise InvalidEvent(
            f"SQS message {shown(record.message_id)}: its attribute SentTimestamp is not a time between the years 1 "
            "and 9999, in milliseconds; correct the sender"
        ) from None
    return {
        "id": attribute(ID_ATTRIBUTE) or record.message_id,
        "detail-type": attribute(TYPE_ATTRIBUTE),
        "time": attribute(TIME_ATTRIBUTE) or sent,
    }
