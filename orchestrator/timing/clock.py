"""Returns the time of day, in one place so that tests can replace it, and formats it."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def written(time: datetime) -> str:
    """Format a time with a zone in UTC to the millisecond: `2026-11-24T09:00:00.000Z`; the texts sort by time."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
