"""The waiting queue, as SQS keeps it: messages are hidden for a while, and each receive has a handle of its own.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""

import hashlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class NotInFlight(Exception):
    """The handle is of no use any more: its message is gone, is visible, or has been received again."""


@dataclass
class Message:
    """A message of the queue.

    Attributes:
        visible_at: From when on it can be received, by the monotonic clock.
        handle: The receipt handle of the latest receive.
        receives: How often it was received.
        is_woken: Whether somebody has made it visible since the latest receive.
    """

    id: str
    body: str
    attributes: Mapping[str, Any]
    sent_at: float
    visible_at: float
    handle: str = ""
    receives: int = 0
    is_woken: bool = False


class Queue:
    """A standard queue.

    Attributes:
        name: Its name.
        counts: How many messages were sent, were woken (made visible at once), and came back by themselves.
        visibility: For how many seconds a received message stays hidden.
        on_visible: Called with a message, and when it will be visible, each time that this moment is set.
    """

    def __init__(self, name: str, visibility: float) -> None:
        """Create an empty queue; `visibility` is the attribute of that name."""
        self.name = name
        self.on_visible: Callable[[Message, float], None] = lambda message, at: None
        self.counts: Counter[str] = Counter({"waiting": 0, "woken": 0, "came back": 0})
        self.visibility = visibility
        self._messages: dict[str, Message] = {}
        self._lock = threading.Lock()

    def messages(self) -> list[Message]:
        """List the messages that nobody has deleted."""
        with self._lock:
            return list(self._messages.values())

    def send(self, body: str, attributes: Mapping[str, Any], delay: float) -> Message:
        """Add a message that becomes visible after `delay` seconds."""
        message = Message(
            id=str(uuid.uuid4()),
            body=body,
            attributes=attributes,
            sent_at=time.time(),
            visible_at=time.monotonic() + delay,
        )
        with self._lock:
            self._messages[message.id] = message
            self.counts["waiting"] += 1
        self.on_visible(message, message.visible_at)
        return message

    def receive(self, message_id: str, *, hidden: bool = False) -> dict[str, Any] | None:
        """Receive a message, as the record in which Lambda delivers it.

        Args:
            message_id: The message.
            hidden: Receive it even while it is hidden, as SQS may do once in a while.

        Returns:
            `None` if the message is gone, or is hidden.
        """
        with self._lock:
            message = self._messages.get(message_id)
            if message is None or (message.visible_at > time.monotonic() and not hidden):
                return None
            self.counts["came back"] += message.receives > 0 and not message.is_woken
            message.is_woken = False
            message.handle = str(uuid.uuid4())
            message.receives += 1
            message.visible_at = time.monotonic() + self.visibility
            record = self._record(message)
        self.on_visible(message, message.visible_at)
        return record

    def change_visibility(self, handle: str, seconds: float) -> None:
        """Hide a message for so many seconds from now on.

        Raises:
            NotInFlight: The message cannot be changed by this handle any more.
        """
        with self._lock:
            message = self._held(handle)
            message.is_woken = seconds == 0
            self.counts["woken"] += message.is_woken
            message.visible_at = time.monotonic() + seconds
        self.on_visible(message, message.visible_at)

    def show_all(self) -> None:
        """Let the time pass after which each hidden message becomes visible by itself."""
        with self._lock:
            messages = list(self._messages.values())
            for message in messages:
                message.visible_at = min(message.visible_at, time.monotonic())
        for message in messages:
            self.on_visible(message, message.visible_at)

    def delete(self, handle: str) -> bool:
        """Delete the message with this handle, unless it was received again; return whether it was deleted."""
        with self._lock:
            for message in self._messages.values():
                if message.handle == handle:
                    del self._messages[message.id]
                    return True
        return False

    def _held(self, handle: str) -> Message:
        for message in self._messages.values():
            if message.handle == handle and message.visible_at > time.monotonic():
                return message
        raise NotInFlight(handle)

    def _record(self, message: Message) -> dict[str, Any]:
        return {
            "messageId": message.id,
            "receiptHandle": message.handle,
            "body": message.body,
            "attributes": {
                "SentTimestamp": str(round(message.sent_at * 1000)),
                "ApproximateReceiveCount": str(message.receives),
            },
            "messageAttributes": {
                name: {"stringValue": value["StringValue"], "dataType": "String"}
                for name, value in message.attributes.items()
            },
            "md5OfBody": md5(message.body),
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:eu-west-1:123456789012:{self.name}",
            "awsRegion": "eu-west-1",
        }


def md5(text: str) -> str:
    """Return the digest that SQS adds to a message."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
