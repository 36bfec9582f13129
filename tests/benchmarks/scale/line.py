"""The events that wait for one gate, as the index `waiting` shows them."""

import heapq
import itertools
import math
from dataclasses import dataclass

from orchestrator.ledger import gate, waiting_line
from tests.benchmarks.scale.services import Message


@dataclass(eq=False, slots=True)
class Entry:
    """The item of an event that waits.

    Attributes:
        since: Since when it waits; for a build system, when it was put to sleep last.
        written: When the item was written.
        until: When the message becomes visible by itself.
        gone: When it was taken, or written anew; infinite if neither.
    """

    since: float
    written: float
    line: "Line"
    message: Message
    until: float
    gone: float = math.inf

    def has_slept(self, now: float) -> bool:
        """Whether the sweep may wake the event, if it waits for the build system; see `waiting_line._has_slept`."""
        return now - self.since > min((self.until - self.since) / 4, waiting_line._LONG.total_seconds())


class Line:
    """The events that wait for a slot or for the build system.

    Attributes:
        refused: When the build system refused a job last.
        is_awaited: Whether an event has begun to wait.
        size: How many runs the slot lets through; `None` for a build system.
        runs: How many runs are in the slot.
    """

    def __init__(self, lag: float, size: int | None = None) -> None:
        self._lag = lag
        self._entries: list[tuple[float, int, Entry]] = []
        self._numbers = itertools.count()
        self.refused = -math.inf
        self.is_awaited = False
        self.size = size
        self.runs = 0

    @property
    def room(self) -> int | None:
        """How many more runs may join; `None` if only the build system knows."""
        return None if self.size is None else self.size - self.runs

    def may_try(self, now: float) -> bool:
        """Whether an event should be tried that nobody has woken; see `WaitingLine.check_turn`."""
        if self.size is not None:
            return self.runs < self.size
        return now - self.refused > gate._REFUSAL.total_seconds()

    def join(self, message: Message, now: float) -> Entry:
        """Let an event wait."""
        since = now if self.size is None else message.came
        entry = Entry(since=since, written=now, line=self, message=message, until=message.visible)
        heapq.heappush(self._entries, (entry.since, next(self._numbers), entry))
        self.is_awaited = True
        return entry

    def first(self, most: int, now: float) -> list[Entry]:
        """Return the first entries as the index shows them: what changed just now, it still shows as it was."""
        shown: list[Entry] = []
        kept: list[tuple[float, int, Entry]] = []
        while self._entries and len(shown) < most + waiting_line._SPARE:
            place = heapq.heappop(self._entries)
            entry = place[2]
            if entry.gone + self._lag <= now:
                continue
            kept.append(place)
            if entry.written + self._lag <= now:
                shown.append(entry)
        for place in kept:
            heapq.heappush(self._entries, place)
        return shown
