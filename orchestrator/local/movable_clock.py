"""A clock that can be moved forward, so that local commands do not have to wait."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest import mock

from orchestrator.timing import clock


class MovableClock:
    """The real time plus the time that `advance` has added."""

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
    """Within the `with` block, replace `orchestrator.timing.clock.now` by a clock that can be moved forward.

    Yields:
        The new clock, which at first shows the real time.
    """
    moved = MovableClock()
    with mock.patch.object(clock, "now", moved.now):
        yield moved
