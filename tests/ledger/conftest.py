"""A clock that only a test moves."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.timing import clock

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Clock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time

    def advance(self, time: timedelta) -> None:
        self.time += time


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    time = Clock()
    monkeypatch.setattr(clock, "now", time.now)
    return time
