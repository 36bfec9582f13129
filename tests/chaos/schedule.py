"""The deliveries to come."""

import heapq
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SWEEP = "sweep"


@dataclass(order=True)
class Delivery:
    """An event that is to be handed over at a moment of the monotonic clock.

    Attributes:
        due: The moment.
        serial: Orders deliveries of one moment.
        event: The event.
        builder: The build system that it has to do with, or `SWEEP`.
        start: Id of the start event that it has to do with; `None` for a sweep.
        attempt: Which attempt of Lambda's it is, from 1 on.
    """

    due: float
    serial: int
    event: Mapping[str, Any] = field(compare=False)
    builder: str = field(compare=False)
    start: str | None = field(compare=False)
    attempt: int = field(compare=False)


class Schedule:
    """The deliveries to come, and how many are under way."""

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
        """Wait for the next delivery; `None` once the schedule is closed. Each one taken must be reported `done`."""
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
        """Whether nothing is to come and nothing under way."""
        with self._changed:
            return not self._heap and not self._under_way

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
