"""Converts a BullMQ job to the SQS message of its event, in the form that the reference connector sends to SQS.

The reference connector (https://github.com/sourcefuse/loopback4-message-bus-connector) puts an event's type and the
members of its detail side by side into a job's data. The connector's own consumers ignore a job's name, so this module
does, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from orchestrator.errors import InvalidEvent, json_type
from orchestrator.intake import message
from orchestrator.values.limits import TOO_MANY_DIGITS


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMessage:
    """An SQS message that contains one event.

    Attributes:
        attributes: The message attributes, in the form that boto3's SQS client takes.
    """

    event_id: str
    event_type: str
    body: str = field(repr=False)
    attributes: Mapping[str, Any]


def convert(queue: str, job_id: str, timestamp: int, data: Any) -> EventMessage:
    """Convert a job to the message of its event.

    The event's id is the same each time that a job is converted, so the Lambda function recognizes an event that was
    sent twice. If Redis loses its data, BullMQ numbers the jobs from 1 again, so the event's id also contains the job's
    timestamp.

    Args:
        queue: The name of the BullMQ queue.
        job_id: The job's id.
        timestamp: When the job was added, in milliseconds since 1970. This becomes the event's time.
        data: The job's data, decoded from JSON.

    Raises:
        InvalidEvent: The job's data, id or timestamp is invalid.
    """
    if not isinstance(data, dict):
        raise InvalidEvent(f"its data is {json_type(data)}; it must be a JSON object with the event's type in `type`")
    event_type = data.get("type")
    if not isinstance(event_type, str) or not event_type.strip() or not event_type.isprintable():
        found = "has none" if "type" not in data else "has another value there"
        raise InvalidEvent(f"its data must have the event's type in `type`, as printable text, but {found}")
    event_id = f"bullmq:{queue}:{job_id}:{timestamp}"
    if not event_id.isprintable():
        raise InvalidEvent("its id has control characters; give it an id of printable text")
    try:
        body = message.body_of({name: value for name, value in data.items() if name != "type"})
    except RecursionError:
        raise InvalidEvent("its data is nested too deep; send fewer levels") from None
    except ValueError:
        raise InvalidEvent(
            f"its data contains {TOO_MANY_DIGITS}, or one above 1.8e308; send a smaller one, or text"
        ) from None
    try:
        time = datetime.fromtimestamp(timestamp / 1000, UTC).isoformat()
    except (OSError, OverflowError, ValueError):
        raise InvalidEvent("its timestamp is not a time between the years 1 and 9999") from None
    texts = {message.TYPE_ATTRIBUTE: event_type, message.ID_ATTRIBUTE: event_id, message.TIME_ATTRIBUTE: time}
    _check(body, texts, timestamp)
    attributes = {name: message.text(value) for name, value in texts.items()}
    return EventMessage(event_id=event_id, event_type=event_type, body=body, attributes=attributes)


def _check(body: str, texts: Mapping[str, str], timestamp: int) -> None:
    """Check that the function that will receive a message can convert the message to an event.

    Args:
        body: The message's body.
        texts: The values of the message attributes, by name.
        timestamp: When the message counts as sent, in milliseconds since 1970.

    Raises:
        InvalidEvent: The function could not convert the message.
    """
    record = {
        "messageId": texts[message.ID_ATTRIBUTE],
        "body": body,
        "attributes": {"SentTimestamp": str(timestamp)},
        "messageAttributes": {name: {"stringValue": value, "dataType": "String"} for name, value in texts.items()},
        "eventSourceARN": "",
    }
    received = SQSRecord(record)
    message.parse(received, message.as_eventbridge_event(received))
