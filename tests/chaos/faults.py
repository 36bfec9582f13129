"""Decides which fault each request meets."""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

T = TypeVar("T")

# Failures come in series: with this chance, a child's next request fails in the same way.
_LASTING = 0.6
# Requests at which senders are killed; the driver also kills at random moments.
_KILL_POINTS = (
    "UpdateItem idempotency",
    "TransactWriteItems",
    "StartBuild",
    "buildWithParameters",
    "PutEvents",
    "SendMessage",
    "ChangeMessageVisibility",
    "Query idempotency",
    "/webhook",
)
_STARTS = ("StartBuild", "buildWithParameters")
# Share of the requests to start a job that a full builder refuses.
_FULL = 0.2
# Share of the requests to Jenkins that take effect late.
_LATE = 0.3


class Fault(Enum):
    """What can happen to a request."""

    NONE = auto()
    BROKEN = auto()
    """The request fails (500, 503) without effect."""
    FULL = auto()
    """The builder refuses the request, because it is full."""
    THROTTLED = auto()
    """The request is throttled, without effect."""
    ANSWER_LOST = auto()
    """The request takes effect, and the connection drops."""
    LATE = auto()
    """The connection drops, and the request takes effect later, before its sender's invocation times out."""
    SLOW = auto()
    """The request is delayed."""
    KILLED_BEFORE = auto()
    """The sender is killed (SIGKILL), and the request has no effect."""
    KILLED_AFTER = auto()
    """The request takes effect, and the sender is killed before it gets the answer."""


FAILING = (Fault.BROKEN, Fault.THROTTLED, Fault.ANSWER_LOST, Fault.ANSWER_LOST)
COUNTED = (*FAILING, Fault.LATE)
KILLING = (Fault.KILLED_BEFORE, Fault.KILLED_AFTER)


@dataclass(frozen=True)
class Hold:
    """Delays a request until `released`, for at most ten seconds; `arrived` is set when the request comes in."""

    arrived: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        self.arrived.set()
        self.released.wait(10)


class Faults:
    """Draws faults from a seeded generator; planned faults come first."""

    def __init__(self, *, failing: float = 0.0, slow: float = 0.0, killing: float = 0.0, seed: int = 0) -> None:
        """Start with nothing planned.

        Args:
            failing: Share of the calls at which a series of failures begins: the call fails or loses its answer, and
                the sender's next calls often do, too.
            slow: Share of the calls that are delayed.
            killing: Share of the calls at the kill points whose sender is killed.
            seed: Repeats the sequence of draws; which call gets which draw still depends on timing.
        """
        self._failing = failing
        self._slow = slow
        self._killing = killing
        self._late = _LATE if failing else 0.0
        self._full = _FULL if failing else 0.0
        self._random = random.Random(seed)  # noqa: S311 (chance, no secret)
        self._planned: list[tuple[str, Fault | Hold]] = []
        self._last: dict[str, Fault] = {}
        self._lock = threading.Lock()

    def plan(self, fault: Fault, *, on: str, times: int = 1) -> None:
        """Plan a fault for the next requests whose line (see `world.line`) contains `on`."""
        self._planned.extend([(on, fault)] * times)

    def hold(self, *, on: str) -> Hold:
        """Delay the next request whose line contains `on`, until it is released."""
        hold = Hold()
        self._planned.append((on, hold))
        return hold

    def next(self, sender: str, line: str) -> Fault | Hold:
        """Return the fault of a request."""
        with self._lock:
            for plan in self._planned:
                if plan[0] in line:
                    self._planned.remove(plan)
                    return plan[1]
            fault = self._by_chance(sender, line)
            self._last[sender] = fault
            return fault

    def calm(self) -> None:
        """Stop drawing faults; planned ones remain."""
        with self._lock:
            self._failing = self._slow = self._killing = self._late = self._full = 0.0
            self._last.clear()

    def strikes(self) -> bool:
        """Draw whether something fails, with the probability `failing`."""
        with self._lock:
            return self._random.random() < self._failing

    def share(self) -> float:
        """Draw a share between 0 and 1."""
        with self._lock:
            return self._random.random()

    def pick(self, choices: Sequence[T]) -> T:
        """Pick one of several."""
        with self._lock:
            return self._random.choice(choices)

    def _by_chance(self, sender: str, line: str) -> Fault:
        last = self._last.get(sender, Fault.NONE)
        if last in FAILING and self._random.random() < _LASTING:
            return last
        if any(start in line for start in _STARTS) and self._random.random() < self._full:
            return Fault.FULL
        if "buildWithParameters" in line and self._random.random() < self._late:
            return Fault.LATE
        chance = self._random.random()
        if chance < self._failing:
            return self._random.choice(FAILING)
        if chance < self._failing + self._slow:
            return Fault.SLOW
        if chance > 1 - self._killing and any(point in line for point in _KILL_POINTS):
            return self._random.choice(KILLING)
        return Fault.NONE
