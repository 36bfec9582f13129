"""The queue of planned deliveries."""

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
    """

    due: float
    serial: int
    event: Mapping[str, Any] = field(compare=False)
    builder: str = field(compare=False)
    start: str | None = field(compare=False)
    attempt: int = field(compare=False)


class Schedule:
    """The planned deliveries, and the number in progress."""

    def __init__(self) -> None:
        self._heap: list[Delivery] = []
        self._under_way = 0
        self._serial = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def add(self, due: float, event: Mapping[str, Any], builder: str, start: str | None, attempt: int = 1) -> None:
        with self._changed:
            self._serial += 1
            heapq.heappush(self._heap, Delivery(due, self._serial, event, builder, start, attempt))
            self._changed.notify_all()

    def take(self) -> Delivery | None:
        """Wait for the next delivery; `None` once the schedule is closed. Call `done` after each delivery."""
        with self._changed:
            while not self._is_closed:
                pause = self._heap[0].due - time.monotonic() if self._heap else None
                if pause is not None and pause <= 0:
                    self._under_way += 1
                    return heapq.heappop(self._heap)
                self._changed.wait(pause)
            return None

    def done(self) -> None:
        with self._changed:
            self._under_way -= 1

    def is_idle(self) -> bool:
        """Whether no delivery is planned or in progress."""
        with self._changed:
            return not self._heap and not self._under_way

    def close(self) -> None:
        """Wake all waiting threads; `take` returns `None` from now on."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
