"""Returns the current time and formats times. The current time comes from one function, which tests can replace."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def written(time: datetime) -> str:
    """Format a time in UTC with milliseconds, as in `2026-11-24T09:00:00.000Z`. Texts in this form sort by time.

    Args:
        time: A time with a time zone.
    """
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
