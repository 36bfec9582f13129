"""Returns the current time, from one function that tests can replace, and formats times."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def written(time: datetime) -> str:
    """Format a time in UTC, to the millisecond: `2026-11-24T09:00:00.000Z`. Such texts sort by time.

    Args:
        time: A time with a time zone.
    """
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
