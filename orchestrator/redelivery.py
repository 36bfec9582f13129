"""When an SQS message that failed comes back, and when it has come often enough.

A queue's own redrive policy knows one number for every failure: what waits for a build system that is full would use
it up as fast as what is broken. So the function decides by itself, and tells SQS.
"""

import base64
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from orchestrator import aws, telemetry
from orchestrator.errors import OrchestratorError, Unavailable, shown

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

# As often as Lambda itself delivers an event that a rule sends straight to it (CONTRACT section 7).
MAX_TRIES = 3
# SQS deletes a message after 14 days at most, and tells nobody.
MAX_AGE = timedelta(days=13)
FIRST_WAIT_SECONDS = 60
LONGEST_WAIT_SECONDS = 3600
# What one ChangeMessageVisibilityBatch takes, and the characters of an error that are kept (of 1 MiB for all).
_PAGE = 10
_MAX_TOLD = 1024


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
        self._failure_queue_url = failure_queue_url

    def arrange(self, failures: Sequence[Failed]) -> set[str]:
        """Decide over the messages of a batch that failed.

        What is `Unavailable` is tried again after a minute, then after twice as long each time, up to an hour, for
        as long as the queue can keep it. Whatever else failed goes into the failure queue at its third try, with the
        error's name and text as its attributes `ErrorCode` and `ErrorMessage`.

        Args:
            failures: The messages, all from one queue.

        Returns:
            The ids of those that are in the failure queue now, and must not come back.
        """
        given_up = {failed.record.message_id for failed in failures if _is_hopeless(failed) and self._give_up(failed)}
        self._space_out([failed.record for failed in failures if failed.record.message_id not in given_up])
        return given_up

    def _give_up(self, failed: Failed) -> bool:
        record, error = failed.record, failed.error
        what = f"SQS message {shown(record.message_id)} could not be put into the failure queue"
        told = {"ErrorCode": type(error).__name__, "ErrorMessage": _told(error)}
        attributes = {name: {"StringValue": text, "DataType": "String"} for name, text in told.items()}
        request: dict[str, Any] = {"MessageAttributes": {**dict(_attributes(record)), **attributes}}
        if self._failure_queue_url.endswith(".fifo"):
            request["MessageGroupId"] = _attribute(record, "MessageGroupId", record.message_id)
            request["MessageDeduplicationId"] = record.message_id
        try:
            with aws.errors(what):
                self._client().send_message(QueueUrl=self._failure_queue_url, MessageBody=record.body, **request)
        except OrchestratorError as second:
            telemetry.logger.error(str(second), error=type(second).__name__)
            return False
        return True

    def _space_out(self, records: Sequence[SQSRecord]) -> None:
        what = "SQS messages that failed come back when their queue says, and not when the function does"
        for page in (records[start : start + _PAGE] for start in range(0, len(records), _PAGE)):
            try:
                client = self._client()
                with aws.errors(what):
                    client.change_message_visibility_batch(
                        QueueUrl=_queue_url(client, page[0]),
                        Entries=[
                            {
                                "Id": str(place),
                                "ReceiptHandle": record.receipt_handle,
                                "VisibilityTimeout": wait_seconds(_tries(record)),
                            }
                            for place, record in enumerate(page)
                        ],
                    )
            except OrchestratorError as error:
                telemetry.logger.warning(str(error), error=type(error).__name__)
                return


def _is_hopeless(failed: Failed) -> bool:
    if failed.error is None:
        return False
    now = datetime.now(UTC)
    sent_at = float(_attribute(failed.record, "SentTimestamp", str(now.timestamp() * 1000))) / 1000
    is_old = now.timestamp() - sent_at > MAX_AGE.total_seconds()
    return is_old or (_tries(failed.record) >= MAX_TRIES and not _is_worth_waiting(failed.error))


def _is_worth_waiting(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_worth_waiting, error.exceptions))
    return isinstance(error, Unavailable)


def _tries(record: SQSRecord) -> int:
    return int(_attribute(record, "ApproximateReceiveCount", "1"))


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


def _queue_url(client: "SQSClient", record: SQSRecord) -> str:
    *_, account, name = record.event_source_arn.split(":")
    return f"{client.meta.endpoint_url}/{account}/{name}"


def _told(error: BaseException | None) -> str:
    # Of an error that is not this package's own the text may hold event data.
    own = isinstance(error, OrchestratorError | ExceptionGroup)
    text = str(error) if own else "see the function's log"
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:_MAX_TOLD] or "no text"


def _attributes(record: SQSRecord) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, attribute in (record.get("messageAttributes") or {}).items():
        if attribute.get("stringValue") is not None:
            yield name, {"StringValue": attribute["stringValue"], "DataType": attribute["dataType"]}
        elif attribute.get("binaryValue") is not None:
            binary = base64.b64decode(attribute["binaryValue"])
            yield name, {"BinaryValue": binary, "DataType": attribute["dataType"]}
