"""When an SQS message that failed comes back, and when it has come often enough.

A queue's own redrive policy knows one number for every failure: what waits for a build system that is full would use
it up as fast as what is broken. So the function decides by itself, and tells SQS.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from orchestrator import telemetry
from orchestrator.aws.errors import aws_errors
from orchestrator.errors import ConfigurationError, InvalidEvent, OrchestratorError, Unavailable, shown
from orchestrator.intake import message
from orchestrator.values.limits import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

# As often as Lambda itself delivers an event that a rule sends straight to it.
MAX_TRIES = 3
# SQS deletes a message after 14 days at most, and tells nobody.
MAX_AGE_SECONDS = 13 * 86400
FIRST_WAIT_SECONDS = 60
LONGEST_WAIT_SECONDS = 3600
# What one ChangeMessageVisibilityBatch takes, and the characters of an error that are kept.
_PAGE = 10
_MAX_REASON_LENGTH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A message that was not handled.

    Attributes:
        record: The message.
        error: Why; `None` where only its turn did not come, as after a failure in its FIFO group.
    """

    record: SQSRecord
    error: BaseException | None


class Redelivery:
    """Spaces out the tries of messages that failed, and puts those into the failure queue that no try can mend."""

    def __init__(self, client: "Callable[[], SQSClient]", failure_queue_url: str) -> None:
        """Keep what is needed for the first failure; nothing is sent yet.

        Args:
            client: Gives the client of SQS, in the region of the queues.
            failure_queue_url: The URL of the failure queue.
        """
        self._client = client
        self._failure_queue_url = failure_queue_url.rstrip("/")

    def arrange(self, failures: Sequence[Failed]) -> set[str]:
        """Decide over the messages of a batch that failed.

        What is `Unavailable` is tried again after a minute, then after twice as long each time, up to an hour.
        Whatever else failed goes into the failure queue once it has been received three times, and so does each
        message that is 13 days old: as an EventBridge event with its own id, and with the error's name and text as
        the message's attributes `ErrorCode` and `ErrorMessage`. What that queue does not take is left to its own
        queue's redrive policy.

        Args:
            failures: The messages, all from one queue.

        Returns:
            The ids of those that are in the failure queue now, and must not come back.
        """
        if not failures or _queue_name(failures[0].record) == self._failure_queue_url.rpartition("/")[2]:
            return set()  # what comes out of the failure queue itself would go round for ever
        hopeless = [failed for failed in failures if _is_hopeless(failed)]
        self._space_out([failed for failed in failures if failed not in hopeless])
        return {failed.record.message_id for failed in hopeless if self._give_up(failed)}

    def _give_up(self, failed: Failed) -> bool:
        record, error = failed.record, failed.error
        failure = f"SQS message {shown(record.message_id)} could not be put into the failure queue"
        try:
            self._check_address(failure)
            identity = _identity(record)
            reason = {
                message.ERROR_ATTRIBUTE: _text("NotTried" if error is None else type(error).__name__),
                "ErrorMessage": _text(_reason(error)),
            }
            try:
                whole = _as_event(record) if identity else None
                self._send(record, failure, whole or record.body, reason if whole else {**identity, **reason})
            except Unavailable:
                raise
            except OrchestratorError:  # too large with that, it may be
                self._send(record, failure, record.body, identity)
        except OrchestratorError as second:
            telemetry.logger.error(str(second), error=type(second).__name__)
            return False
        except Exception as second:  # one message must not cost the others of its batch what became of them
            telemetry.logger.error(f"{failure} ({type(second).__name__})", error=type(second).__name__)
            return False
        return True

    def _check_address(self, failure: str) -> None:
        if not self._failure_queue_url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"{failure}: FAILURE_QUEUE_URL is no http(s) address; set it to the URL of an SQS queue"
            )

    def _send(self, record: SQSRecord, failure: str, body: str, attributes: Mapping[str, Any]) -> None:
        fifo: dict[str, Any] = {}
        if self._failure_queue_url.endswith(".fifo"):
            group = _attribute(record, "MessageGroupId", record.message_id)
            fifo = {"MessageGroupId": group, "MessageDeduplicationId": record.message_id}
        size = _message_bytes(body, attributes)
        if size > MAX_MESSAGE_BYTES:
            raise InvalidEvent(f"{failure}: it has {size:,} bytes there, and SQS takes at most {MAX_MESSAGE_BYTES:,}")
        with aws_errors(failure):
            self._client().send_message(
                QueueUrl=self._failure_queue_url, MessageBody=body, MessageAttributes=attributes, **fifo
            )

    def _space_out(self, failures: Sequence[Failed]) -> None:
        waiting = sum(_age_seconds(failed.record) > LONGEST_WAIT_SECONDS for failed in failures if failed.error)
        if waiting:
            telemetry.count("EventsWaiting", value=waiting)
        failure = "SQS messages that failed come back when their queue says, and not when the function does"
        for page in (failures[start : start + _PAGE] for start in range(0, len(failures), _PAGE)):
            try:
                client = self._client()
                with aws_errors(failure):
                    answer = client.change_message_visibility_batch(
                        QueueUrl=_queue_url(client, page[0].record),
                        Entries=[
                            {
                                "Id": str(place),
                                "ReceiptHandle": failed.record.receipt_handle,
                                # A FIFO group waits for its first message, and must not for another one longer.
                                "VisibilityTimeout": 0 if failed.error is None else wait_seconds(_tries(failed.record)),
                            }
                            for place, failed in enumerate(page)
                        ],
                    )
            except OrchestratorError as error:
                telemetry.logger.warning(str(error), error=type(error).__name__)
                return
            if answer.get("Failed"):
                telemetry.logger.warning(f"{failure} (SQS refused {len(answer['Failed'])} of {len(page)})")


def _message_bytes(body: str, attributes: Mapping[str, Any]) -> int:
    texts = (text for name, value in attributes.items() for text in (name, value["DataType"], value["StringValue"]))
    return sum(len(text.encode()) for text in (body, *texts))


def _is_hopeless(failed: Failed) -> bool:
    if _age_seconds(failed.record) > MAX_AGE_SECONDS:
        return True
    if failed.error is None or _is_worth_waiting(failed.error):
        return False
    return _tries(failed.record) >= MAX_TRIES


def _is_worth_waiting(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_worth_waiting, error.exceptions))
    return isinstance(error, Unavailable)


def _tries(record: SQSRecord) -> int:
    return int(_attribute(record, "ApproximateReceiveCount", "1"))


def _age_seconds(record: SQSRecord) -> float:
    now = datetime.now(UTC).timestamp()
    return now - float(_attribute(record, "SentTimestamp", str(now * 1000))) / 1000


def _attribute(record: SQSRecord, name: str, otherwise: str) -> str:
    text: str = (record.get("attributes") or {}).get(name) or otherwise  # whoever tries a batch by hand leaves some out
    return text


def wait_seconds(tries: int) -> int:
    """Say how long a message stays hidden after a failure that may pass.

    Args:
        tries: How often it has been tried.

    Returns:
        Seconds: a minute, then twice as long each time, at most an hour; up to a quarter less, so that messages
        which failed together do not come back together.
    """
    longest: int = min(FIRST_WAIT_SECONDS * 2 ** min(tries - 1, 16), LONGEST_WAIT_SECONDS)
    return round(longest * random.uniform(0.75, 1))  # noqa: S311 (spreads messages, guards no secret)


def _queue_name(record: SQSRecord) -> str:
    return record.event_source_arn.rpartition(":")[2]


def _queue_url(client: "SQSClient", record: SQSRecord) -> str:
    account = record.event_source_arn.split(":")[-2]
    return f"{client.meta.endpoint_url.rstrip('/')}/{account}/{_queue_name(record)}"


def _as_event(record: SQSRecord) -> str | None:
    """Write a message of the reference connector as the event that it is, so that it can be sent in any way."""
    try:
        event = message.as_eventbridge_event(record)
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        return text if text.isprintable() else json.dumps(event, separators=(",", ":"))
    except (InvalidEvent, RecursionError, ValueError):  # a number may be too long to be written
        return None


def _identity(record: SQSRecord) -> Mapping[str, Any]:
    """Give the attributes by which a message of the reference connector stays the event that it is."""
    if not (record.get("messageAttributes") or {}).get(message.TYPE_ATTRIBUTE):
        return {}
    identity = message.identity(record)
    names = {"detail-type": message.TYPE_ATTRIBUTE, "id": message.ID_ATTRIBUTE, "time": message.TIME_ATTRIBUTE}
    return {name: _text(text) for key, name in names.items() if (text := identity[key])}


def _text(text: str) -> Mapping[str, Any]:
    return {"StringValue": text, "DataType": "String"}


def _reason(error: BaseException | None) -> str:
    # Of an error that is not this package's own the text may hold event data.
    own = isinstance(error, OrchestratorError | ExceptionGroup)
    text = str(error) if own else "see the function's log"
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:_MAX_REASON_LENGTH] or "no text"
