"""The time of day, asked for here alone so that tests can move it, and how it is written."""

from datetime import UTC, datetime


def now() -> datetime:
    """Give the time.

    Returns:
        Now, in UTC.
    """
    return datetime.now(UTC)


def written(time: datetime) -> str:
    """Write a time so that texts compare as the times do.

    Args:
        time: Any time with a zone.

    Returns:
        It in UTC to the millisecond, as in `2026-11-24T09:00:00.000Z`.
    """
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
