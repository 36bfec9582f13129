"""The planned deliveries."""

import heapq
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SWEEP = "sweep"


@dataclass(order=True)
class Delivery:
    """An event to deliver at a moment of the monotonic clock.

    Attributes:
        due: The moment.
        serial: Orders deliveries with the same moment.
        event: The event.
        builder: The build system of its start event, or `SWEEP`.
        start: Id of the start event that it belongs to; `None` for a sweep.
        attempt: The number of Lambda's attempt, from 1.
        message: Id of the message of the waiting queue that has the event; `None` if it comes from EventBridge.
        hidden: Deliver the message even if it is hidden.
        sleeps: Whether the message is hidden. It is waited for only at the end, when all messages are shown.
        is_regular: Whether it is one of the sweeps that come all the time; none of them is waited for or repeated.
    """

    due: float
    serial: int
    event: Mapping[str, Any] = field(compare=False)
    builder: str = field(compare=False)
    start: str | None = field(compare=False)
    attempt: int = field(compare=False, default=1)
    message: str | None = field(compare=False, default=None)
    hidden: bool = field(compare=False, default=False)
    sleeps: bool = field(compare=False, default=False)
    is_regular: bool = field(compare=False, default=False)


class Schedule:
    """The planned deliveries.

    Attributes:
        awaited: How many deliveries are planned or in progress, apart from messages that sleep and regular sweeps.
    """

    def __init__(self) -> None:
        self._heap: list[Delivery] = []
        self.awaited = 0
        self._serial = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def add(self, due: float, event: Mapping[str, Any], builder: str, start: str | None, **others: Any) -> None:
        """Plan a delivery; `others` are further attributes of `Delivery`."""
        with self._changed:
            self._serial += 1
            delivery = Delivery(due, self._serial, event, builder, start, **others)
            heapq.heappush(self._heap, delivery)
            self.awaited += not (delivery.sleeps or delivery.is_regular)
            self._changed.notify()

    def forget(self, message: str) -> None:
        """Drop the planned deliveries of a message, except those that SQS makes while the message is hidden."""
        with self._changed:
            dropped = [one for one in self._heap if one.message == message and not one.hidden]
            self._heap = [one for one in self._heap if one.message != message or one.hidden]
            heapq.heapify(self._heap)
            self.awaited -= sum(not one.sleeps for one in dropped)

    def take(self) -> Delivery | None:
        """Wait for the next delivery; `None` once the schedule is closed. Call `done` with it afterwards."""
        with self._changed:
            while not self._is_closed:
                pause = self._heap[0].due - time.monotonic() if self._heap else None
                if pause is not None and pause <= 0:
                    delivery = heapq.heappop(self._heap)
                    self.awaited += delivery.sleeps
                    return delivery
                self._changed.wait(pause)
            return None

    def done(self, delivery: Delivery) -> None:
        with self._changed:
            self.awaited -= not delivery.is_regular

    def is_idle(self) -> bool:
        """Whether no delivery is awaited."""
        with self._changed:
            return not self.awaited

    def close(self) -> None:
        """Wake all waiting threads; `take` returns `None` from now on."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
