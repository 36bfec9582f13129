"""Reads messages of the failure queue: which events they contain, why these failed, and how to send them again.

The queue receives four kinds of messages:

- An event that a rule of EventBridge could not deliver.
- A record from Lambda about a failed invocation.
- A record from a custom event bus, with the ids of events that the bus could not deliver.
- A message from another queue, moved by SQS or by the Lambda function (see `orchestrator.intake.redelivery`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from orchestrator.details import find_tenant_id
from orchestrator.errors import InvalidEvent, OrchestratorError
from orchestrator.intake import envelopes, message
from orchestrator.values.limits import read_json

UNKNOWN = "unknown"
"""The reason of a message that does not say why it failed."""

# Lambda's own names of errors; their texts contain no data of an event.
_OF_LAMBDA = ("Sandbox.", "Runtime.", "Function.", "Extension.")
_MESSAGE_LENGTH = 300
_NO_EVENT = "it holds no event; correct its sender"
_AT_THE_BUS = "the bus did not put the event into its record; have the bus send it again, then delete the message"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedEvent:
    """An event in a message of the failure queue. The attributes `receipt`, `event` and `payload` are not in `repr`.

    If a message holds several events (see `orchestrator.intake.envelopes`), each has its own `FailedEvent`.

    Attributes:
        receipt: The message's receipt handle.
        reason: Why the event failed: the error's class name, the error code from an EventBridge rule or custom event
            bus, the `condition` in Lambda's record of the invocation, or `unknown`.
        text: The error's text; `None` if the message has none. A text that may contain data of an event is replaced by
            a reference to the function's log.
        event: The EventBridge event, or only its id and time if a custom event bus could not deliver it; `None` if the
            message has no event.
        payload: The payload with which the function must be invoked to handle the event again; `None` if the event
            cannot be sent.
        obstacle: Why the event cannot be sent, and what to do instead; empty if it can be sent.
        sent: The message's `SentTimestamp`, in milliseconds since 1970. If SQS itself moved the message here, this is
            the time at which the message was sent to the queue that it came from.
    """

    message_id: str
    receipt: str = field(repr=False)
    reason: str
    text: str | None
    event: Mapping[str, Any] | None = field(repr=False)
    payload: Mapping[str, Any] | None = field(repr=False)
    obstacle: str
    sent: int

    @property
    def event_id(self) -> str | None:
        """The event's id, if known."""
        return self._text("id")

    @property
    def name(self) -> str:
        """The event's id; if there is none, the word `message` and the message's id."""
        return self.event_id or f"message {self.message_id}"

    @property
    def event_type(self) -> str | None:
        """The event's type, if known."""
        return self._text("detail-type")

    @property
    def time(self) -> str | None:
        """The event's time as text, if known."""
        return self._text("time")

    @property
    def tenant_id(self) -> str | None:
        """The id of the event's tenant, if known."""
        detail = (self.event or {}).get("detail")
        return find_tenant_id(detail) if isinstance(detail, dict) else None

    def as_json(self) -> dict[str, Any]:
        """Return the values that are safe to print."""
        return {
            "reason": self.reason,
            "eventId": self.event_id,
            "tenantId": self.tenant_id,
            "eventType": self.event_type,
            "time": self.time,
            "message": self.text,
            "messageId": self.message_id,
        }

    def _text(self, name: str) -> str | None:
        value = (self.event or {}).get(name)
        return value if isinstance(value, str) and value else None


def read(received: Mapping[str, Any], url: str) -> list[FailedEvent]:
    """Read the events in a message of the failure queue.

    Args:
        received: The message, as boto3's SQS client returns it.
        url: The queue's URL.

    Returns:
        The message's events. If there is none, the list has one `FailedEvent` without an event.
    """
    attributes: Mapping[str, str] = {
        name: value["StringValue"]
        for name, value in received.get("MessageAttributes", {}).items()
        if "StringValue" in value
    }
    body = _body(received["Body"])
    reason, text = _reason(attributes, body)
    make = partial(
        FailedEvent,
        message_id=received["MessageId"],
        receipt=received["ReceiptHandle"],
        reason=reason,
        text=text[:_MESSAGE_LENGTH] if text else None,
        sent=int(received.get("Attributes", {}).get("SentTimestamp", 0)),
    )
    if envelopes.is_undelivered(body):
        known = map(_known, body["failedMessages"] or [None])
        return [make(event=event, payload=None, obstacle=_AT_THE_BUS) for event in known]
    # The function recognises a redrive by the record of Lambda's failure destination, so other messages get that form.
    if envelopes.is_record(body):
        record = body
    else:
        record = {"requestContext": {"condition": "Redrive"}, "requestPayload": _payload(received, attributes, url)}
    found = [(one, _event(one)) for one in envelopes.members(record) or [record]]
    return [
        make(event=None, payload=None, obstacle=_NO_EVENT)
        if event is None
        else make(event=event, payload=one, obstacle="")
        for one, event in found
    ]


def _known(failed: Any) -> Mapping[str, Any]:
    """Return the id and the time of an event that a custom event bus could not deliver.

    The result is empty if `failed` is not a JSON object.

    Args:
        failed: The event's entry in the `failedMessages` of the bus's record.
    """
    return {"id": failed.get("eventId"), "time": failed.get("timestamp")} if isinstance(failed, dict) else {}


def _body(text: str) -> Any:
    try:
        return read_json(text)
    except (ValueError, RecursionError):
        return None


def _event(payload: Any) -> Mapping[str, Any] | None:
    content = envelopes.opened(payload)
    return {**content.event, "id": content.event_id} if isinstance(content.event, dict) else None


def _payload(received: Mapping[str, Any], attributes: Mapping[str, str], url: str) -> Any:
    host, account, name = ["", "", "", *url.split("/")][-3:]
    region = host.split(".")[1] if host.count(".") > 1 else ""
    as_delivered = SQSRecord(
        {
            "messageId": received["MessageId"],
            "body": received["Body"],
            "attributes": received.get("Attributes", {}),
            "messageAttributes": {
                key: {"stringValue": value, "dataType": "String"} for key, value in attributes.items()
            },
            "eventSourceARN": f"arn:aws:sqs:{region}:{account}:{name}",
        }
    )
    try:
        return message.as_eventbridge_event(as_delivered)
    except InvalidEvent:
        return None


def error_of(answer: Any) -> tuple[str, str] | None:
    """Return the class name and the text of the error in a function's answer; `None` if the answer holds no error.

    If the error's text may contain data of an event, the returned text only refers to the function's log.
    """
    name = answer.get("errorType") if isinstance(answer, dict) else None
    if not isinstance(name, str) or not name:
        return None
    text = answer.get("errorMessage")
    is_safe = name in _own_errors() or name.startswith(_OF_LAMBDA)
    return name, text if is_safe and isinstance(text, str) else "see the function's log"


def _text_of(record: Any, name: str) -> str:
    text = record.get(name) if isinstance(record, dict) else None
    return text if isinstance(text, str) and text else UNKNOWN


def _reason(attributes: Mapping[str, str], body: Any) -> tuple[str, str | None]:
    for code, text in ((message.ERROR_ATTRIBUTE, "ErrorMessage"), ("ERROR_CODE", "ERROR_MESSAGE")):
        if code in attributes:
            return attributes[code], attributes.get(text)
    if envelopes.is_record(body):
        return error_of(body.get("responsePayload")) or (_text_of(body["requestContext"], "condition"), None)
    if envelopes.is_undelivered(body):
        return _text_of(body, "errorCode"), _text_of(body, "errorMessage")
    return UNKNOWN, None


def _own_errors() -> set[str]:
    """Return the class names of the errors that this package raises. Their texts contain no data of an event."""
    from orchestrator.job import Untraceable

    own = {"ExceptionGroup", Untraceable.__name__}
    ahead: list[type[OrchestratorError]] = [OrchestratorError]
    while ahead:
        cls = ahead.pop()
        own.add(cls.__name__)
        ahead += cls.__subclasses__()
    return own
