"""Receives, hides and deletes the messages of the failure queue."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from orchestrator.aws.errors import aws_errors
from orchestrator.cli.account import Account
from orchestrator.cli.failed_event import FailedEvent, read
from orchestrator.cli.stack import YOUR_ROLE
from orchestrator.errors import OrchestratorError

_HIDDEN_SECONDS = 300
_PAGE = 10
# A request that waits asks all of SQS's servers, so an answer without messages means that none are visible:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
_WAIT_SECONDS = 1


class FailureQueue:
    """The failure queue. Every method raises `ConfigurationError` or `Unavailable` if the queue cannot be used."""

    def __init__(self, account: Account) -> None:
        self._url = account.queue_url("FAILURE_QUEUE_URL")
        self._client = account.sqs
        self._deleted: set[str] = set()

    def count(self) -> int:
        """Return the approximate number of messages in the queue, including hidden and delayed ones."""
        return sum(counts(self._client, self._url).values())

    @contextmanager
    def received(self, limit: int) -> Iterator[list[FailedEvent]]:
        """Receive up to `limit` messages, hide them from other receivers, and yield their events, the oldest first.

        A message may hold several events.

        After the `with` block, the messages that were not deleted are made visible again. If that fails, or if the
        process is killed, they become visible five minutes after they were received, or at the time that `keep_hidden`
        has set.
        """
        found: dict[str, list[FailedEvent]] = {}
        try:
            self._receive(found, limit)
            yield sorted(chain.from_iterable(found.values()), key=_age)
        finally:
            left = [events[0] for name, events in found.items() if name not in self._deleted]
            try:
                self._hide(left, 0)
            except OrchestratorError as error:  # must not take the place of what was found
                print(f"orchestrator: {type(error).__name__}: {error}", file=sys.stderr)

    def keep_hidden(self, events: Sequence[FailedEvent], seconds: int) -> None:
        """Keep the messages of some events hidden from other receivers for `seconds`, counted from now.

        Args:
            events: Events that `received` has yielded.
        """
        self._hide([*{failed.message_id: failed for failed in events}.values()], seconds)

    def delete(self, failed: FailedEvent) -> None:
        """Delete the message that holds an event. Any other events in the message are deleted, too."""
        with aws_errors(f"message {failed.message_id} could not be deleted", role=YOUR_ROLE):
            self._client.delete_message(QueueUrl=self._url, ReceiptHandle=failed.receipt)
        self._deleted.add(failed.message_id)

    def _receive(self, found: dict[str, list[FailedEvent]], limit: int) -> None:
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
    """Return the approximate numbers of messages in a queue, by the keys `available`, `inFlight` and `delayed`.

    Raises:
        ConfigurationError: The queue does not exist or may not be read.
        Unavailable: AWS was not reached, failed or throttled the request.
    """
    names = {
        "available": "ApproximateNumberOfMessages",
        "inFlight": "ApproximateNumberOfMessagesNotVisible",
        "delayed": "ApproximateNumberOfMessagesDelayed",
    }
    with aws_errors(f"queue {url.rpartition('/')[2]} could not be read", role=YOUR_ROLE):
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names.values()))["Attributes"]
    return {name: int(found[attribute]) for name, attribute in names.items()}


def _age(failed: FailedEvent) -> tuple[str, int]:
    return failed.time or "", failed.sent
