"""Reads the failure queue: which events are in it, why each failed, and in which form it can be sent again.

Messages get there in four ways. Lambda sends the record of a failed invocation. An EventBridge rule sends an event that
it could not deliver. The function itself moves messages there from another queue (`orchestrator.intake.redelivery`).
SQS moves a message there that it has delivered too often.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from orchestrator.aws.errors import aws_errors
from orchestrator.cli.account import Account
from orchestrator.cli.stack import YOUR_ROLE
from orchestrator.details import find_tenant_id
from orchestrator.errors import InvalidEvent, OrchestratorError
from orchestrator.intake import message
from orchestrator.values.limits import read_json

UNKNOWN = "unknown"
"""The reason of a message that does not say why it failed."""

_HIDDEN_SECONDS = 300
_PAGE = 10
# A request that waits asks all of SQS's servers, so an answer without messages means that none are visible:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
_WAIT_SECONDS = 1
# Lambda's own names of errors; their texts contain no data of an event.
_OF_LAMBDA = ("Sandbox.", "Runtime.", "Function.", "Extension.")
_MESSAGE_LENGTH = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedEvent:
    """One message of the failure queue. The attributes `receipt`, `event` and `payload` are not in `repr`.

    Attributes:
        reason: Why the event failed: the error's class name, the `ERROR_CODE` from an EventBridge rule, the
            `condition` in Lambda's record of the invocation, or `UNKNOWN`.
        text: The error's text, if it is known to be safe to show.
        event: The EventBridge event in the message; `None` if the message has no such event.
        payload: What to send to the function, so that it recognizes a redrive; `None` if there is no event.
        sent: The message's `SentTimestamp`, in milliseconds since 1970. If SQS itself moved the message here from
            another queue, this is the time at which the message was sent to that queue.
    """

    message_id: str
    receipt: str = field(repr=False)
    reason: str
    text: str | None
    event: Mapping[str, Any] | None = field(repr=False)
    payload: Mapping[str, Any] | None = field(repr=False)
    sent: int

    @property
    def event_id(self) -> str | None:
        """The event's id."""
        return self._text("id")

    @property
    def name(self) -> str:
        """The event's id; if there is none, the word `message` and the message's id."""
        return self.event_id or f"message {self.message_id}"

    @property
    def event_type(self) -> str | None:
        """The event's type."""
        return self._text("detail-type")

    @property
    def time(self) -> str | None:
        """The event's time, as the event has it."""
        return self._text("time")

    @property
    def tenant_id(self) -> str | None:
        """The event's tenant."""
        detail = (self.event or {}).get("detail")
        return find_tenant_id(detail) if isinstance(detail, dict) else None

    def as_json(self) -> dict[str, Any]:
        """Return what may be shown of the message."""
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


class FailureQueue:
    """The failure queue. Every method raises `ConfigurationError` or `Unavailable` if the queue cannot be used."""

    def __init__(self, account: Account) -> None:
        self._url = account.queue_url("FAILURE_QUEUE_URL")
        self._client = account.sqs
        self._deleted: set[str] = set()

    def count(self) -> int:
        """Return about how many messages the queue holds, with those that are hidden now."""
        return sum(counts(self._client, self._url).values())

    @contextmanager
    def received(self, limit: int) -> Iterator[list[FailedEvent]]:
        """Receive up to `limit` messages, which hides them from others. The oldest of their events comes first.

        After the `with` block, the messages that were not deleted are made visible again. If that fails, or if the
        process is killed, they stay hidden until five minutes after they were received, or until the time set by
        `keep_hidden`.
        """
        found: dict[str, FailedEvent] = {}
        try:
            self._receive(found, limit)
            yield sorted(found.values(), key=_age)
        finally:
            left = [failed for failed in found.values() if failed.message_id not in self._deleted]
            try:
                self._hide(left, 0)
            except OrchestratorError as error:  # must not take the place of what was found
                print(f"orchestrator: {type(error).__name__}: {error}", file=sys.stderr)

    def keep_hidden(self, messages: Sequence[FailedEvent], seconds: int) -> None:
        """Hide messages, which the method `received` has returned, from others for so many seconds from now."""
        self._hide(messages, seconds)

    def delete(self, failed: FailedEvent) -> None:
        """Delete a message."""
        with aws_errors(f"message {failed.message_id} could not be deleted", role=YOUR_ROLE):
            self._client.delete_message(QueueUrl=self._url, ReceiptHandle=failed.receipt)
        self._deleted.add(failed.message_id)

    def _receive(self, found: dict[str, FailedEvent], limit: int) -> None:
        until = time.monotonic() + _HIDDEN_SECONDS / 2  # later, the first messages would come again
        while len(found) < limit and time.monotonic() < until:
            with aws_errors("the failure queue could not be read", role=YOUR_ROLE):
                answer = self._client.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=min(_PAGE, limit - len(found)),
                    VisibilityTimeout=_HIDDEN_SECONDS,
                    WaitTimeSeconds=_WAIT_SECONDS,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=["SentTimestamp"],
                )
            if not answer.get("Messages"):
                return
            found.update((one["MessageId"], read(one, self._url)) for one in answer["Messages"])

    def _hide(self, messages: Sequence[FailedEvent], seconds: int) -> None:
        for start in range(0, len(messages), _PAGE):
            entries = [
                {"Id": str(place), "ReceiptHandle": failed.receipt, "VisibilityTimeout": seconds}
                for place, failed in enumerate(messages[start : start + _PAGE])
            ]
            # SQS lists messages that were deleted or are visible already in its answer, which is no error.
            with aws_errors("messages of the failure queue stay hidden for up to five minutes", role=YOUR_ROLE):
                self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)


def counts(sqs: Any, url: str) -> dict[str, int]:
    """Return about how many messages of a queue are `available`, `inFlight` and `delayed`.

    Raises:
        ConfigurationError: The queue does not exist or may not be read.
        Unavailable: AWS was not reached.
    """
    names = {
        "available": "ApproximateNumberOfMessages",
        "inFlight": "ApproximateNumberOfMessagesNotVisible",
        "delayed": "ApproximateNumberOfMessagesDelayed",
    }
    with aws_errors(f"queue {url.rpartition('/')[2]} could not be read", role=YOUR_ROLE):
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names.values()))["Attributes"]
    return {name: int(found[attribute]) for name, attribute in names.items()}


def read(received: Mapping[str, Any], url: str) -> FailedEvent:
    """Convert a message that was received from the failure queue.

    Args:
        received: The message, as boto3's SQS client returns it.
        url: The queue's URL.
    """
    attributes: Mapping[str, str] = {
        name: value["StringValue"]
        for name, value in received.get("MessageAttributes", {}).items()
        if "StringValue" in value
    }
    body = _body(received["Body"])
    record = body if isinstance(body, dict) and "requestPayload" in body and "requestContext" in body else None
    event = _event(received, attributes, url) if record is None else _innermost(record)
    reason, text = _of_message(attributes)
    if record is not None and reason == UNKNOWN:
        condition = record["requestContext"]
        reason, text = error_of(record.get("responsePayload")) or (_condition(condition), None)
    # The function recognises a redrive by the record of Lambda's failure destination, so other messages get that form.
    payload = record or {"requestContext": {"condition": "Redrive"}, "requestPayload": event}
    return FailedEvent(
        message_id=received["MessageId"],
        receipt=received["ReceiptHandle"],
        reason=reason,
        text=text[:_MESSAGE_LENGTH] if text else None,
        event=event,
        payload=None if event is None else payload,
        sent=int(received.get("Attributes", {}).get("SentTimestamp", 0)),
    )


def _body(text: str) -> Any:
    try:
        return read_json(text)
    except (ValueError, RecursionError):
        return None


def _innermost(record: Any) -> Mapping[str, Any] | None:
    while isinstance(record, dict) and "requestContext" in record and "requestPayload" in record:
        record = record["requestPayload"]
    return record if isinstance(record, dict) else None


def _event(received: Mapping[str, Any], attributes: Mapping[str, str], url: str) -> Mapping[str, Any] | None:
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
        found = message.as_eventbridge_event(as_delivered)
    except InvalidEvent:
        return None
    return found if isinstance(found, dict) else None


def error_of(answer: Any) -> tuple[str, str] | None:
    """Return the class name and the text of the error in a function's answer; `None` if the answer holds no error.

    If the text may contain data of an event, a reference to the function's log is returned in its place.
    """
    name = answer.get("errorType") if isinstance(answer, dict) else None
    if not isinstance(name, str) or not name:
        return None
    text = answer.get("errorMessage")
    is_safe = name in _own_errors() or name.startswith(_OF_LAMBDA)
    return name, text if is_safe and isinstance(text, str) else "see the function's log"


def _condition(context: Any) -> str:
    condition = context.get("condition") if isinstance(context, dict) else None
    return condition if isinstance(condition, str) and condition else UNKNOWN


def _of_message(attributes: Mapping[str, str]) -> tuple[str, str | None]:
    for code, text in ((message.ERROR_ATTRIBUTE, "ErrorMessage"), ("ERROR_CODE", "ERROR_MESSAGE")):
        if code in attributes:
            return attributes[code], attributes.get(text)
    return UNKNOWN, None


def _own_errors() -> set[str]:
    """Return the class names of the errors whose texts contain no data of an event."""
    from orchestrator.job import Untraceable

    own = {"ExceptionGroup", Untraceable.__name__}
    ahead: list[type[OrchestratorError]] = [OrchestratorError]
    while ahead:
        cls = ahead.pop()
        own.add(cls.__name__)
        ahead += cls.__subclasses__()
    return own


def _age(failed: FailedEvent) -> tuple[str, int]:
    return failed.time or "", failed.sent
