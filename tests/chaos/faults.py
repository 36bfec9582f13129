"""Decides which requests meet with which misfortune."""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

T = TypeVar("T")

# Trouble lasts: what a child asks for next after a failure is likely to fail in the same way.
_LASTING = 0.6
# Where the moment of a kill matters most; other moments are the driver's.
_KILL_POINTS = (
    "UpdateItem idempotency",
    "StartBuild",
    "buildWithParameters",
    "PutEvents",
    "/webhook",
)
# Share of the requests to Jenkins that take effect late.
_LATE = 0.3


class Fault(Enum):
    """What can happen to a request."""

    NONE = auto()
    BROKEN = auto()
    """It fails (500, 503), and nothing is done."""
    THROTTLED = auto()
    """It is turned away, and nothing is done."""
    ANSWER_LOST = auto()
    """It is done, and the connection drops."""
    LATE = auto()
    """The connection drops, and it is done some time after that, within the time of its sender's invocation."""
    SLOW = auto()
    """It is done after a while."""
    KILLED_BEFORE = auto()
    """Its sender dies (SIGKILL), and nothing is done."""
    KILLED_AFTER = auto()
    """It is done, and its sender dies without the answer."""


FAILING = (Fault.BROKEN, Fault.THROTTLED, Fault.ANSWER_LOST, Fault.ANSWER_LOST)
COUNTED = (*FAILING, Fault.LATE)
KILLING = (Fault.KILLED_BEFORE, Fault.KILLED_AFTER)


@dataclass(frozen=True)
class Hold:
    """A request that is kept waiting, at most ten seconds: `arrived` once it is here, until it is `released`."""

    arrived: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        self.arrived.set()
        self.released.wait(10)


class Faults:
    """Misfortunes by chance, from a seed, and planned ones."""

    def __init__(self, *, failing: float = 0.0, slow: float = 0.0, killing: float = 0.0, seed: int = 0) -> None:
        """Start with nothing planned.

        Args:
            failing: Share of the calls at which trouble begins: they fail or lose their answer, and often the next
                ones of their sender, too.
            slow: Share of the calls that take long.
            killing: Share of the calls at the kill points whose sender is killed.
            seed: Gives the same sequence of chances again; which call meets which still depends on timing.
        """
        self._failing = failing
        self._slow = slow
        self._killing = killing
        self._late = _LATE if failing else 0.0
        self._random = random.Random(seed)  # noqa: S311 (chance, no secret)
        self._planned: list[tuple[str, Fault | Hold]] = []
        self._last: dict[str, Fault] = {}
        self._lock = threading.Lock()

    def plan(self, fault: Fault, *, on: str, times: int = 1) -> None:
        """Let this happen to the next requests whose line (see `world.line`) holds the text `on`."""
        self._planned.extend([(on, fault)] * times)

    def hold(self, *, on: str) -> Hold:
        """Keep the next request whose line holds the text `on` waiting."""
        hold = Hold()
        self._planned.append((on, hold))
        return hold

    def next(self, sender: str, line: str) -> Fault | Hold:
        """Say what happens to a request."""
        with self._lock:
            for plan in self._planned:
                if plan[0] in line:
                    self._planned.remove(plan)
                    return plan[1]
            fault = self._by_chance(sender, line)
            self._last[sender] = fault
            return fault

    def calm(self) -> None:
        """Let nothing happen by chance any more."""
        with self._lock:
            self._failing = self._slow = self._killing = self._late = 0.0
            self._last.clear()

    def strikes(self) -> bool:
        """Say whether one more thing fails, with the chance of a call."""
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
