"""The text form of times."""

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from orchestrator.timing.clock import written

if TYPE_CHECKING:
    pass


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND_LATER = timedelta(seconds=1)


def test_times_as_texts_sort_in_their_order() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    times = [NOON, NOON + timedelta(milliseconds=1), NOON.replace(hour=13), NOON.astimezone(east) + timedelta(hours=2)]

    assert sorted(map(written, times)) == list(map(written, times))
    assert written(NOON.astimezone(east)) == "2026-11-24T12:00:00.000Z"
