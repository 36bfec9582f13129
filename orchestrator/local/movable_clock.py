"""A clock that can be moved forward, so that nobody has to wait for what is due later."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest import mock

from orchestrator.timing import clock


class MovableClock:
    """The real time, plus everything that `advance` has added to it."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        """Return the clock's time in UTC."""
        return datetime.now(UTC) + self._ahead

    def advance(self, time: timedelta) -> None:
        """Move the clock forward."""
        self._ahead += time


@contextmanager
def movable() -> Iterator[MovableClock]:
    """Replace the function's clock while a `with` block runs.

    Yields:
        The clock that replaces it. At first, this clock shows the real time.
    """
    moved = MovableClock()
    with mock.patch.object(clock, "now", moved.now):
        yield moved
