"""Converts SQS messages to `Event` objects, and sends messages to queues.

A message comes from an EventBridge rule, from this package, or from the reference connector
(https://github.com/sourcefuse/loopback4-message-bus-connector). If a message has the attribute `EventType`, as all
messages from the reference connector have, its body is only the event's detail. Otherwise, its body is a whole event,
perhaps in an envelope, or an array of events (see `orchestrator.intake.envelopes`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from botocore.exceptions import ClientError

from orchestrator.aws.errors import aws_errors
from orchestrator.errors import ConfigurationError, InvalidEvent, shown
from orchestrator.event import Delivery, Event
from orchestrator.intake import eventbridge
from orchestrator.values.limits import MAX_MESSAGE_BYTES, read_json

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

TYPE_ATTRIBUTE = "EventType"
"""The message attribute in which the reference connector sends the event's type."""
ERROR_ATTRIBUTE = "ErrorCode"
"""The message attribute that only messages from the failure queue have; its value is the error's class name."""
ID_ATTRIBUTE = "EventId"
TIME_ATTRIBUTE = "EventTime"
"""The message attributes `EventId` and `EventTime` keep an event's id and time when its message is sent again."""
CONSUMERS_ATTRIBUTE = "OrchestratorConsumers"
"""The message attribute of an event that waits for its job: names of the consumers that wait, as a JSON list."""
REDRIVE_ATTRIBUTE = "OrchestratorRedrive"
"""The message attribute of an event that waits for its job: the value of `Event.redrive`."""

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_OF_THE_MESSAGE = ("InvalidMessageContents", "InvalidParameterValue")


def parse(
    record: SQSRecord, payload: Any, name: str = "event", *, comes_back: bool = False, is_last: bool = False
) -> Event[Mapping[str, Any]]:
    """Convert the event in an SQS message to an `Event`.

    `Event.redrive` is set if the message has the attribute `ErrorCode`, which means that somebody has sent the message
    again from the failure queue. A message from the waiting queue keeps the event's earlier `redrive`.

    Args:
        record: The message.
        payload: The event: the result of `as_eventbridge_event`; if that contains an array, one event of the array.
        name: The event's name in error messages.
        comes_back: See `Delivery.comes_back`.
        is_last: See `Delivery.is_last`.

    Raises:
        InvalidEvent: `payload` is not an event, or the message's attributes are wrong.
    """
    event = eventbridge.parse(payload, name, delivery_id=record.message_id)
    redrive = _attribute(record, REDRIVE_ATTRIBUTE)
    if redrive is None and record.message_attributes.get(ERROR_ATTRIBUTE) is not None:
        redrive = f"message {record.message_id}"
    consumers = _consumers(record)
    delivery = Delivery(
        consumers=consumers,
        has_waited=bool(consumers) or tries(record) > 1,
        comes_back=comes_back,
        is_last=is_last,
    )
    return replace(event, redrive=redrive or event.redrive, delivery=delivery)


def _consumers(record: SQSRecord) -> tuple[str, ...]:
    attribute = _attribute(record, CONSUMERS_ATTRIBUTE)
    if attribute is None:
        return ()
    try:
        names = read_json(attribute)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not names or not all(map(_is_name, names)):
        raise InvalidEvent(
            f"SQS message {shown(record.message_id)}: its attribute {CONSUMERS_ATTRIBUTE} is not a JSON list of names; "
            "correct the sender"
        )
    return tuple(names)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= eventbridge.LONGEST_NAME


def tries(record: SQSRecord) -> int:
    """Return how many times SQS has delivered a message; 1 if the message does not contain that number."""
    return int((record.get("attributes") or {}).get("ApproximateReceiveCount") or "1")


def as_eventbridge_event(record: SQSRecord) -> Any:
    """Return what a message contains: an EventBridge event, perhaps in an envelope, or an array of events.

    If the message has no attribute `EventType`, its body is returned, decoded from JSON. An envelope stays around the
    event; `envelopes` removes it later.

    If the message has the attribute `EventType`, its body is only the event's detail. The event is built from this
    detail, and from the id, type and time that `identity` returns.

    Raises:
        InvalidEvent: The body is not JSON, or `identity` raised this error.
    """
    try:
        body = read_json(record.body)
    except (ValueError, RecursionError):
        failure = f"SQS message {shown(record.message_id)}: its body is not JSON"
        raise InvalidEvent(f"{failure}; send an EventBridge event, or an event's detail") from None
    if record.message_attributes.get(TYPE_ATTRIBUTE) is None:
        return body
    queue: str = record.get("eventSourceARN") or ""
    _, _, _, region, account, *_ = [*queue.split(":"), "", "", "", "", ""]
    return {
        "version": "0",
        **identity(record),
        "source": "aws.sqs",
        "account": account,
        "region": region,
        "resources": [queue] if queue else [],
        "detail": body,
    }


def identity(record: SQSRecord) -> dict[str, str | None]:
    """Return the `id`, `detail-type` and `time` of the event in a message that has the attribute `EventType`.

    The values come from the message attributes `EventId`, `EventType` and `EventTime`. Without `EventId`, the event
    gets the message's id. Without `EventTime`, the event gets the time at which the message was sent.

    Raises:
        InvalidEvent: The message's `SentTimestamp` is missing, or is not a time between the years 1 and 9999.
    """
    try:
        milliseconds = int((record.get("attributes") or {}).get("SentTimestamp") or "")
        sent = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
    except (OSError, OverflowError, ValueError):
        raise InvalidEvent(
            f"SQS message {shown(record.message_id)}: its attribute SentTimestamp is not a time between the years 1 "
            "and 9999, in milliseconds; correct the sender"
        ) from None
    return {
        "id": _attribute(record, ID_ATTRIBUTE) or record.message_id,
        "detail-type": _attribute(record, TYPE_ATTRIBUTE),
        "time": _attribute(record, TIME_ATTRIBUTE) or sent,
    }


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue to send messages to.

    Attributes:
        setting: Name of the setting that has the queue's URL, for error messages.
        url: The queue's URL. It is checked only when a message is sent, because `sam local` sets a name in place of the
            URL.
        client: Returns the SQS client. It is called for each message.
    """

    setting: str
    url: str
    client: "Callable[[], SQSClient]"

    def send(
        self,
        body: str,
        attributes: Mapping[str, Any],
        failure: str,
        *,
        role: str = "the function's role",
        **options: Any,
    ) -> None:
        """Send a message.

        Args:
            body: The message's body.
            attributes: The message attributes, in the form that the SQS client takes.
            failure: The beginning of error messages.
            role: The role that needs permissions, as error messages name it.
            options: Further arguments of the client's method `send_message`.

        Raises:
            ConfigurationError: The queue's URL is not an http(s) URL, or SQS refused the request for a reason that is
                not listed below.
            InvalidEvent: The message is larger than SQS or this queue allows, or has characters that SQS refuses.
            Unavailable: SQS was not reached, failed, or throttled the request.
        """
        if not self.url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"{failure}: {self.setting} is not an http(s) URL; set it to the URL of an SQS queue"
            )
        try:
            size = _message_bytes(body, attributes)
        except UnicodeEncodeError:
            raise InvalidEvent(f"{failure}: it contains half of a surrogate pair, which SQS refuses") from None
        if size > MAX_MESSAGE_BYTES:
            raise InvalidEvent(f"{failure}: it would have {size:,} bytes, and SQS takes at most {MAX_MESSAGE_BYTES:,}")
        with aws_errors(failure, role=role):
            try:
                self.client().send_message(QueueUrl=self.url, MessageBody=body, MessageAttributes=attributes, **options)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code not in _OF_THE_MESSAGE:
                    raise
                raise InvalidEvent(
                    f"{failure}: SQS answered {code}; it is too large for this queue, or has characters not allowed"
                ) from None


def body_of(event: Any) -> str:
    """Convert an event to JSON without characters that SQS refuses in a message body. The size is not checked.

    SQS refuses most control characters. If the JSON contains an unprintable character, all its non-ASCII and control
    characters are escaped.

    Raises:
        ValueError: A number has too many digits, or is not finite.
        TypeError: A value has no form in JSON.
        RecursionError: A value is nested too deep.
    """
    text = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text if text.isprintable() else json.dumps(event, separators=(",", ":"))


def text(value: str) -> Mapping[str, Any]:
    """Return the value of a message attribute of type String, in the form that boto3's SQS client takes."""
    return {"DataType": "String", "StringValue": value}


def _message_bytes(body: str, attributes: Mapping[str, Any]) -> int:
    texts = (part for name, value in attributes.items() for part in (name, value["DataType"], value["StringValue"]))
    return sum(len(part.encode()) for part in (body, *texts))


def _attribute(record: SQSRecord, name: str) -> str | None:
    found = record.message_attributes.get(name)
    return None if found is None else found.get("stringValue")
