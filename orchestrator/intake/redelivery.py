"""Decides when a failed SQS message is delivered again, and when it is moved to the failure queue.

A queue's redrive policy limits how often a message is delivered. The limit is the same for every failure: for a broken
event, and for an event that only has to wait until a build system is less busy. The function therefore decides itself
when to move a message to the failure queue. It also sets each failed message's visibility timeout, which is the time
until the message is delivered again.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from orchestrator import telemetry
from orchestrator.aws.errors import aws_errors
from orchestrator.errors import InvalidEvent, OrchestratorError, Unavailable, Wait, shown
from orchestrator.intake import message
from orchestrator.intake.message import Queue
from orchestrator.job import Untraceable
from orchestrator.ledger.waiting_line import WaitingLine
from orchestrator.timing import clock

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

# Lambda makes the same number of tries for an event that a rule sends to the function directly.
MAX_TRIES = 3
# SQS silently deletes a message after at most 14 days.
MAX_AGE_SECONDS = 13 * 86400
# A quarter less than this is still longer than an action's lock, which a message that comes back would meet.
FIRST_WAIT_SECONDS = 75
LONGEST_WAIT_SECONDS = 3600
# A message that is woken when its job can be started comes back by itself only after so long. It must still be in the
# queue then, after its last try (see MAX_AGE_SECONDS), and SQS hides no message for longer than 12 hours.
LONGEST_SLEEP_SECONDS = 11 * 3600
# A message that has been received more often is not woken any more, because the queue's redrive policy moves it to the
# failure queue after 500 times.
_MOST_WOKEN = 400
# When a message comes back whose job has got room while the message was put to sleep.
_SOON_SECONDS = 5
# A message whose last try failed for another reason than that its job waits is tried for so much longer.
_GRACE_SECONDS = 12 * 3600
# The most entries that one ChangeMessageVisibilityBatch request may have.
_PAGE = 10
# Longer error texts are cut.
_MAX_REASON_LENGTH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A message that was not handled.

    Attributes:
        record: The message.
        error: The exception that handling the message raised. If this is `None`, handling was not tried, because an
            earlier message of the same FIFO group failed.
        is_last: Whether `is_last_try` was true when the handling of the message began.
    """

    record: SQSRecord
    error: BaseException | None
    is_last: bool = False


class Redelivery:
    """Delays the retries of failed messages, and moves a message to the failure queue once a retry is pointless."""

    def __init__(self, failure_queue: Queue, line: WaitingLine | None) -> None:
        """Store the arguments.

        Args:
            failure_queue: The failure queue. Its SQS client is also used for the queues that the messages come from.
            line: Makes a message visible again once there may be room for its job; `None` if the ledger has no table.
        """
        self._queue = failure_queue
        self._client = failure_queue.client
        self._line = line

    def arrange(self, failures: Sequence[Failed]) -> set[str]:
        """Schedule the retries of failed messages, and move messages to the failure queue if a retry is pointless.

        A message is retried after about a minute. After each further failure, the wait is twice as long, up to an hour.
        If a job cannot be started yet, and nothing else failed, the wait is up to eleven hours, and ends early if there
        may be room for the job (see `orchestrator.ledger.waiting_line`). However, if the ledger has no table, no wait
        is longer than an hour. A message that was not tried (see `Failed.error`) is retried without a wait.

        The error decides when a message is moved to the failure queue:

        - An `Unavailable` whose `waits_for` says that a job cannot be started yet: when the message is more than 13
          days old.
        - Any other `Unavailable`, except `Untraceable`: when the message is more than 13.5 days old.
        - `Untraceable`, or any other error: when the message has been received at least three times.
        - No error, because the message was not tried: when the message is more than 13 days old.

        For an exception group, the first rule applies if every error in the group falls under it. Otherwise, the second
        rule applies if at least one error falls under the first or second rule. Otherwise, the third rule applies.

        The failure queue gets the original message body. However, if this body is only an event's detail (see
        `orchestrator.intake.message`) and is JSON, the failure queue gets an EventBridge event with the original id.
        The message attribute `ErrorCode` holds the error's class name, or `NotTried`. The message attribute
        `ErrorMessage` holds the error's text, unless the text may contain event data. If the failure queue refuses this
        message, for example because it is too large, the original body is sent without these two attributes. If sending
        fails, the message stays in its own queue, and that queue's redrive policy applies.

        If the messages come from the failure queue itself, nothing is done, so that no message is moved back to that
        queue for ever.

        Args:
            failures: The messages, all from one queue.

        Returns:
            The ids of the messages that are now in the failure queue. Their own queue must not deliver them again.
        """
        if not failures or _queue_name(failures[0].record) == self._queue.url.rstrip("/").rpartition("/")[2]:
            return set()  # a message that came from the failure queue would be moved back there for ever
        hopeless = [failed for failed in failures if _is_hopeless(failed)]
        self._space_out([failed for failed in failures if failed not in hopeless])
        return {failed.record.message_id for failed in hopeless if self._give_up(failed)}

    def _give_up(self, failed: Failed) -> bool:
        record, error = failed.record, failed.error
        failure = f"SQS message {shown(record.message_id)} was not sent to the failure queue"
        try:
            identity = _identity(record)
            reason = {
                message.ERROR_ATTRIBUTE: message.text("NotTried" if error is None else type(error).__name__),
                "ErrorMessage": message.text(_reason(error)),
            }
            try:
                whole = _as_event(record) if identity else None
                self._send(record, failure, whole or record.body, reason if whole else {**identity, **reason})
            except Unavailable:
                raise
            except OrchestratorError:  # the converted message may be too large, so send the original
                self._send(record, failure, record.body, identity)
        except OrchestratorError as second:
            telemetry.logger.error(str(second), error=type(second).__name__)
            return False
        except Exception as second:  # a failure here must not affect the other messages of the batch
            telemetry.logger.error(f"{failure} ({type(second).__name__})", error=type(second).__name__)
            return False
        return True

    def _send(self, record: SQSRecord, failure: str, body: str, attributes: Mapping[str, Any]) -> None:
        fifo: dict[str, Any] = {}
        if self._queue.url.endswith(".fifo"):
            group = _attribute(record, "MessageGroupId", record.message_id)
            fifo = {"MessageGroupId": group, "MessageDeduplicationId": record.message_id}
        self._queue.send(body, attributes, failure, **fifo)

    def _space_out(self, failures: Sequence[Failed]) -> None:
        late = sum(_age_seconds(failed.record) > LONGEST_WAIT_SECONDS for failed in failures if failed.error)
        if late:
            telemetry.count("EventsWaitingLong", value=late)
        for page in (failures[start : start + _PAGE] for start in range(0, len(failures), _PAGE)):
            pauses = {failed.record.message_id: self._pause(failed) for failed in page}
            hidden = self._hide(page, pauses)
            sooner = {failed.record.message_id: self._put_to_sleep(failed, pauses) for failed in hidden}
            changed = {name: pause for name, pause in sooner.items() if pause is not None}
            self._hide([failed for failed in hidden if failed.record.message_id in changed], changed)

    def _pause(self, failed: Failed) -> int:
        """Return for how many seconds to hide a message in its queue; 0 if the message was not tried."""
        if failed.error is None:  # it needs no delay: the failed one of its FIFO group holds it up
            return 0
        sleeps = self._line is not None and _waits(failed.error)
        return wait_seconds(message.tries(failed.record), LONGEST_SLEEP_SECONDS if sleeps else LONGEST_WAIT_SECONDS)

    def _put_to_sleep(self, failed: Failed, pauses: Mapping[str, int]) -> int | None:
        """Store a hidden message's receipt handle, to make the message visible early if there may be room for its job.

        Nothing is stored if the message failed for any other reason, too. Nothing is stored either if the message has
        been received more than 400 times, because the redrive policy of its queue allows only about 500.

        Args:
            failed: The message.
            pauses: For how many seconds each message is hidden, by the message's id.

        Returns:
            A new time to hide the message, in seconds: at most five if there is room for one of its jobs by now, or at
            most an hour if the ledger's table could not be written. `None` if the time does not change.
        """
        waits, tries = _waits(failed.error), message.tries(failed.record)
        if self._line is None or not waits or tries > _MOST_WOKEN:
            return None
        client = self._client()
        queue = _queue_url(client, failed.record)
        until = clock.now() + timedelta(seconds=pauses[failed.record.message_id])
        try:
            has_to_wait = [self._line.join(one, queue, failed.record.receipt_handle, until) for one in waits]
        except OrchestratorError as error:
            telemetry.logger.warning(str(error), error=type(error).__name__)
            return wait_seconds(tries)
        return None if all(has_to_wait) else random.randint(1, _SOON_SECONDS)  # noqa: S311 (guards no secret)

    def _hide(self, failures: Sequence[Failed], pauses: Mapping[str, int]) -> Sequence[Failed]:
        """Hide at most ten messages in their queue, by their visibility timeouts. Return the messages that were hidden.

        If SQS refuses or cannot be reached, a warning is logged.

        Args:
            failures: The messages.
            pauses: For how many seconds to hide each message, by the message's id.
        """
        failure = "the visibility timeout of failed SQS messages was not set, so their queue's own applies"
        if not failures:
            return ()
        try:
            client = self._client()
            with aws_errors(failure):
                answer = client.change_message_visibility_batch(
                    QueueUrl=_queue_url(client, failures[0].record),
                    Entries=[
                        {
                            "Id": str(place),
                            "ReceiptHandle": failed.record.receipt_handle,
                            "VisibilityTimeout": pauses[failed.record.message_id],
                        }
                        for place, failed in enumerate(failures)
                    ],
                )
        except OrchestratorError as error:
            telemetry.logger.warning(str(error), error=type(error).__name__)
            return ()
        refused = {int(entry["Id"]) for entry in answer.get("Failed", ())}
        if refused:
            telemetry.logger.warning(f"{failure} (SQS refused {len(refused)} of {len(failures)})")
        return [failed for place, failed in enumerate(failures) if place not in refused]


def is_last_try(record: SQSRecord) -> bool:
    """Whether a message is more than 13 days old: if its job still cannot be started, this try is the last one.

    If this try fails for another reason, the message may be tried again (see `Redelivery.arrange`). SQS deletes
    messages after at most 14 days.
    """
    return _age_seconds(record) > MAX_AGE_SECONDS


def _is_hopeless(failed: Failed) -> bool:
    if failed.error is None:
        return is_last_try(failed.record)
    if not _is_temporary(failed.error):
        return message.tries(failed.record) >= MAX_TRIES
    # If the consumer's failure could not be published at the last try, the error says that, and not that a job waits.
    is_over = _is_waiting(failed.error) or _age_seconds(failed.record) > MAX_AGE_SECONDS + _GRACE_SECONDS
    return failed.is_last and is_over


def _is_temporary(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_temporary, error.exceptions))
    return isinstance(error, Unavailable) and not isinstance(error, Untraceable)


def _is_waiting(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_waiting, error.exceptions))
    return isinstance(error, Unavailable) and error.waits_for is not None


def _waits(error: BaseException | None) -> Sequence[Wait]:
    """Return what the jobs of a failed message wait for, according to the message's error.

    Return an empty sequence if anything failed for another reason than that a job cannot be started yet.
    """
    if isinstance(error, BaseExceptionGroup):
        waits = [_waits(one) for one in error.exceptions]
        return [wait for some in waits for wait in some] if all(waits) else ()
    return (error.wait,) if isinstance(error, Unavailable) and error.wait is not None else ()


def _age_seconds(record: SQSRecord) -> float:
    now = datetime.now(UTC).timestamp()
    try:
        return now - float(_attribute(record, "SentTimestamp", str(now * 1000))) / 1000
    except ValueError:  # SQS sends digits
        return 0.0


def _attribute(record: SQSRecord, name: str, otherwise: str) -> str:
    text: str = (record.get("attributes") or {}).get(name) or otherwise  # a test batch may lack attributes
    return text


def wait_seconds(tries: int, longest: int = LONGEST_WAIT_SECONDS) -> int:
    """Return the time to wait, in seconds, before a message is tried again.

    The wait is 75 seconds after the first try, and doubles with each further try. Each wait is then shortened at random
    by up to a quarter, so that messages that failed together come back at different times.

    Args:
        tries: How many times the message has been tried.
        longest: The longest wait, in seconds.
    """
    wait: int = min(FIRST_WAIT_SECONDS * 2 ** min(tries - 1, 16), longest)
    return round(wait * random.uniform(0.75, 1))  # noqa: S311 (spreads messages, guards no secret)


def _queue_name(record: SQSRecord) -> str:
    return record.event_source_arn.rpartition(":")[2]


def _queue_url(client: "SQSClient", record: SQSRecord) -> str:
    account = record.event_source_arn.split(":")[-2]
    return f"{client.meta.endpoint_url.rstrip('/')}/{account}/{_queue_name(record)}"


def _as_event(record: SQSRecord) -> str | None:
    """Return what `message.as_eventbridge_event` returns for a message, as JSON that `message.body_of` makes.

    Return `None` if the message cannot be converted, for example because its body is not JSON. The JSON may be larger
    than SQS allows.
    """
    try:
        return message.body_of(message.as_eventbridge_event(record))
    except (InvalidEvent, RecursionError, ValueError):  # see `message.body_of`
        return None


def _identity(record: SQSRecord) -> Mapping[str, Any]:
    """Return the message attributes that a copy of the message needs to keep the event's id, type and time.

    They are the attributes `EventId`, `EventType` and `EventTime`. If the message has no attribute `EventType`, its
    body contains the id, type and time, and the result is empty.
    """
    if not (record.get("messageAttributes") or {}).get(message.TYPE_ATTRIBUTE):
        return {}
    identity = message.identity(record)
    names = {"detail-type": message.TYPE_ATTRIBUTE, "id": message.ID_ATTRIBUTE, "time": message.TIME_ATTRIBUTE}
    return {name: message.text(text) for key, name in names.items() if (text := identity[key])}


def _reason(error: BaseException | None) -> str:
    # The text of an exception that other code raised may contain data of the event.
    own = isinstance(error, OrchestratorError | ExceptionGroup)
    text = str(error) if own else "see the function's log"
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:_MAX_REASON_LENGTH] or "no text"
