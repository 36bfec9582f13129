"""SQS messages that hold an event: what a rule sends, or the reference connector."""

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
"""Message attribute in which the reference connector names the event's type."""
ERROR_ATTRIBUTE = "ErrorCode"
"""Message attribute of one that has been in the failure queue."""
ID_ATTRIBUTE = "EventId"
TIME_ATTRIBUTE = "EventTime"
"""Message attributes of one that is sent again, so that it stays the event that it was."""


def parse(record: SQSRecord, request_id: str | None = None) -> Event[Mapping[str, Any]]:
    """Make the canonical event of an SQS message.

    Args:
        record: The message; see `as_eventbridge_event`.
        request_id: As in `eventbridge.parse`.

    Returns:
        The event.

    Raises:
        InvalidEvent: The body is neither an event nor the detail of one.
    """
    event = eventbridge.parse(as_eventbridge_event(record), request_id)
    if record.message_attributes.get(ERROR_ATTRIBUTE) is None:
        return event
    return replace(event, redrive=event.redrive or f"message {record.message_id}")


def as_eventbridge_event(record: SQSRecord) -> Any:
    """Make of a message what a rule would have sent.

    Args:
        record: The message. Its body is an EventBridge event or, with a message attribute `EventType`, the
            detail of an event of that type, as the reference connector sends it.

    Returns:
        The event, decoded from JSON; the reference connector's has the id and time that the attributes `EventId`
        and `EventTime` say, or else the message's own.

    Raises:
        InvalidEvent: The body is no JSON.
    """
    try:
        body = read_json(record.body)
    except (ValueError, RecursionError):
        failure = f"SQS message {shown(record.message_id)}: its body is no JSON"
        raise InvalidEvent(f"{failure}; send an EventBridge event, or the detail of one") from None
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
    """Say which event a message of the reference connector is.

    Args:
        record: The message, which has the attribute `EventType`.

    Returns:
        The `id`, `detail-type` and `time` of the event.

    Raises:
        InvalidEvent: SQS did not say when the message was sent, or not in a time that there is.
    """

    def attribute(name: str) -> str | None:
        found = record.message_attributes.get(name)
        return None if found is None else found.get("stringValue")

    try:
        sent = datetime.fromtimestamp(int(record.attributes.sent_timestamp) / 1000, UTC).isoformat()
    except (OSError, OverflowError, ValueError):
        raise InvalidEvent(
            f"SQS message {shown(record.message_id)}: its attribute SentTimestamp is no time between the years 1 and "
            "9999, in milliseconds; correct the sender"
        ) from None
    return {
        "id": attribute(ID_ATTRIBUTE) or record.message_id,
        "detail-type": attribute(TYPE_ATTRIBUTE),
        "time": attribute(TIME_ATTRIBUTE) or sent,
    }
