"""Reads queues of the emulated SQS, and removes the delays of messages, so that local commands do not have to wait."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore import handlers

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

_SEND = "before-parameter-build.sqs.SendMessage"
# moto counts a message as visible only a millisecond after it has come back, so a receive waits for it.
_PATIENCE_SECONDS = 1
# Longer than the handling of all messages takes: none of them must come back by itself meanwhile.
_HIDDEN_SECONDS = 3600


class EmulatedQueue:
    """A queue of the emulated SQS.

    Attributes:
        url: The queue's URL.
        region: The queue's region.
    """

    def __init__(self, url: str, client: "SQSClient") -> None:
        self.url = url
        self.region = client.meta.region_name
        self._client = client

    def receive_all(self) -> list[Mapping[str, Any]]:
        """Receive every visible message.

        A received message is hidden for an hour, unless its visibility timeout is changed, for example by `give_back`.
        """
        received: list[Mapping[str, Any]] = []
        while self._length() > len(received):
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=10,
                VisibilityTimeout=_HIDDEN_SECONDS,
                WaitTimeSeconds=_PATIENCE_SECONDS,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
            if not answer.get("Messages"):
                break
            received.extend(answer["Messages"])
        return received

    def delete(self, message: Mapping[str, Any]) -> None:
        """Delete a received message."""
        self._client.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])

    def give_back(self, message: Mapping[str, Any]) -> None:
        """Return a received message to the queue, so that it can be received again at once."""
        handle = message["ReceiptHandle"]
        self._client.change_message_visibility(QueueUrl=self.url, ReceiptHandle=handle, VisibilityTimeout=0)

    def _length(self) -> int:
        attributes = self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"]) + int(attributes["ApproximateNumberOfMessagesNotVisible"])


@contextmanager
def without_delays() -> Iterator[None]:
    """Within the `with` block, messages are sent without the delay that the sender asks for.

    moto would apply the delay in real time. The delay is removed only from messages of SDK clients whose session was
    created within the block.
    """

    def send(params: dict[str, Any], **_: Any) -> None:
        params["DelaySeconds"] = 0

    # The SDK has no public hook for clients that are created later, so botocore's own list is extended.
    entry = (_SEND, send)
    handlers.BUILTIN_HANDLERS.append(entry)
    try:
        yield
    finally:
        handlers.BUILTIN_HANDLERS.remove(entry)
