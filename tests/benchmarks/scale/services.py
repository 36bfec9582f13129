"""The services of AWS, as far as their quotas matter: CodeBuild, Lambda, and the pollers of a queue."""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.scale.assumptions import Quotas
from tests.benchmarks.scale.outcome import Outcome


class Agenda:
    """Calls functions in the order of their times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def at(self, time: float, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function at a point in time, or now if that has passed."""
        heapq.heappush(self._calls, (max(time, self.now), next(self._numbers), function, arguments))

    def run(self) -> None:
        """Call everything until nothing is left."""
        while self._calls:
            self.now, _, function, arguments = heapq.heappop(self._calls)
            function(*arguments)


class CodeBuild:
    """Runs builds up to the quota, queues some, and refuses the rest."""

    def __init__(self, agenda: Agenda, quotas: Quotas, seconds: float) -> None:
        self._agenda = agenda
        self._seconds = seconds
        self._running = quotas.running_builds
        self._places = quotas.queued_builds * quotas.running_builds
        self._queued: deque[Callable[[], None]] = deque()
        self.last_end = 0.0

    def start(self, ended: Callable[[], None]) -> bool:
        """Start or queue a build; return whether it was accepted. `ended` is called when it has ended."""
        if self._running:
            self._run(ended)
        elif self._places > len(self._queued):
            self._queued.append(ended)
        else:
            return False
        return True

    def _run(self, ended: Callable[[], None]) -> None:
        self._running -= 1
        self._agenda.at(self._agenda.now + self._seconds * random.uniform(0.8, 1.2), self._end, ended)

    def _end(self, ended: Callable[[], None]) -> None:
        self._running += 1
        self.last_end = self._agenda.now
        if self._queued:
            self._run(self._queued.popleft())
        ended()


class Lambda:
    """Runs invocations up to the account's concurrency, and throttles the rest."""

    def __init__(self, agenda: Agenda, quotas: Quotas, outcome: Outcome) -> None:
        self._agenda = agenda
        self._quotas = quotas
        self._outcome = outcome
        self._ends: list[float] = []

    def invoke(self, seconds: float) -> bool:
        """Run an invocation; return whether there was concurrency left for it."""
        while self._ends and self._ends[0] <= self._agenda.now:
            heapq.heappop(self._ends)
        if len(self._ends) >= self._quotas.concurrency:
            self._outcome.throttled += 1
            return False
        heapq.heappush(self._ends, self._agenda.now + seconds)
        self._outcome.run(seconds)
        return True

    def pause(self, throttles: int) -> float:
        """Return the seconds until a throttled invocation is tried again."""
        return min(2.0**throttles, self._quotas.longest_throttle) * random.uniform(0.75, 1)


@dataclass(eq=False, slots=True)
class Message:
    """A message of the waiting queue.

    Attributes:
        number: Number of the event.
        came: When the control plane published the event.
        has_slot: Whether the event is of the limited tier.
        is_forwarded: Whether the function sent the message.
        sent: When the message was sent.
        received: How often it was received.
        visible: When it becomes visible; infinite while it is handled or deleted.
    """

    number: int
    came: float
    has_slot: bool = False
    is_forwarded: bool = False
    sent: float = 0.0
    received: int = 0
    visible: float = math.inf


class Pollers:
    """Hand out the messages of a queue in batches, as many at a time as the configuration allows."""

    def __init__(self, agenda: Agenda, quotas: Quotas, most: int, handle: Callable[[list[Message]], None]) -> None:
        """Store the arguments.

        Args:
            agenda: The agenda.
            quotas: The quotas.
            most: How many batches are handled at the same time.
            handle: Handles a batch. The poller is busy until `release` is called.
        """
        self._agenda = agenda
        self._batch = quotas.batch
        self._handle = handle
        self._ready: list[Message] = []
        self._free = 0
        for number in range(most):
            agenda.at((number - quotas.first_pollers) / quotas.more_pollers, self.release)

    def hide(self, message: Message, until: float) -> None:
        """Keep a message, and hand it out after a point in time."""
        message.visible = until
        self._agenda.at(until, self._show, message, until)

    def show(self, message: Message) -> None:
        """Hand out a message that is hidden now."""
        self.hide(message, self._agenda.now)

    def release(self) -> None:
        """Let a poller receive the next batch."""
        self._free += 1
        self._receive()

    def _show(self, message: Message, until: float) -> None:
        if message.visible == until:  # otherwise, it was shown earlier
            message.visible = math.inf
            self._ready.append(message)
            self._receive()

    def _receive(self) -> None:
        while self._free and self._ready:
            self._free -= 1
            batch = _drawn(self._ready, self._batch)
            for message in batch:
                message.received += 1
            self._handle(batch)


def _drawn(ready: list[Message], most: int) -> list[Message]:
    """Take random messages, because a standard queue does not keep their order."""
    drawn = []
    for _ in range(min(most, len(ready))):
        place = random.randrange(len(ready))
        ready[place], ready[-1] = ready[-1], ready[place]
        drawn.append(ready.pop())
    return drawn
