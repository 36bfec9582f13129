"""How long an invocation may still act: it stops by itself, with a margin, rather than be killed half-way."""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

from orchestrator import telemetry
from orchestrator.errors import Unavailable
from orchestrator.timing import clock

MARGIN_SECONDS = 1.0
"""Time left over for what must still be done once acting has stopped: logs, metrics, the answer."""

LEAST_SECONDS = 0.5
"""What must be left for another call to be made."""

# The end by the monotonic clock and by the time of day: the first stands still while Lambda has frozen the environment,
# the second may be set. A context variable, because the SDK's own tries must see it too, and threads copy it.
_ends: ContextVar[tuple[float, float]] = ContextVar("ends", default=(math.inf, math.inf))


def of_invocation(lambda_context: Any) -> AbstractContextManager[None]:
    """Let the body act for as long as the invocation lasts, less the margin.

    Args:
        lambda_context: What Lambda passed as context; without `get_remaining_time_in_millis` there is no end.

    Returns:
        A context manager.
    """
    return within(_remaining(lambda_context) - MARGIN_SECONDS)


def _remaining(lambda_context: Any) -> float:
    ask = getattr(lambda_context, "get_remaining_time_in_millis", None)
    return ask() / 1000 if callable(ask) else math.inf


class TimeLimit:
    """Warns once of a function whose time limit is shorter than the slowest call that it is set up for."""

    def __init__(self, longest_call: float) -> None:
        """Take the seconds that this call may take."""
        self._needed = longest_call + MARGIN_SECONDS
        self._is_done = False

    def check(self, lambda_context: Any) -> None:
        """Compare them with the time that Lambda gives the first event."""
        if self._is_done:
            return
        self._is_done = True
        limit = _remaining(lambda_context)
        if limit < self._needed - 0.5:  # some of it has passed already
            telemetry.logger.warning(
                f"the function's time limit is about {limit:.0f} s, and one call may take {self._needed:.0f} s: a slow "
                "answer is cut off, and its event tried again; raise the function's timeout, to 60 s for example"
            )


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let the body act for so long at most.

    Args:
        seconds: How long; what is left of the invocation bounds it all the same.

    Yields:
        Nothing.
    """
    steady_end, wall_end = _ends.get()
    token = _ends.set((min(steady_end, time.monotonic() + seconds), min(wall_end, clock.now().timestamp() + seconds)))
    try:
        yield
    finally:
        _ends.reset(token)


def seconds_left() -> float:
    """Say how long the current invocation may still act.

    Returns:
        Seconds, never less than 0; infinite outside an invocation.
    """
    steady_end, wall_end = _ends.get()
    return max(0.0, min(steady_end - time.monotonic(), wall_end - clock.now().timestamp()))


def has_time(pause: float = 0.0) -> bool:
    """Say whether another call may be made.

    Args:
        pause: Seconds to wait before it.

    Returns:
        Whether half a second is left by then. The call itself must end in time: `orchestrator.timing.http` sees to it.
    """
    return seconds_left() >= pause + LEAST_SECONDS


def require(failure: str, *, ambiguous: bool = False) -> None:
    """Make sure that another call may be made.

    Args:
        failure: What has not happened if this fails, as the message's beginning.
        ambiguous: Whether an earlier try of the same call may have been acted upon.

    Raises:
        Unavailable: The time is up.
    """
    if not has_time():
        raise Unavailable(
            f"{failure}: {seconds_left():.1f} s are left of this invocation's time to act; it will be retried; if that "
            "goes on, raise the function's timeout",
            ambiguous=ambiguous,
        )
