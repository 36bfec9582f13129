"""Tracks how long an invocation may still act, so that it stops itself before Lambda kills it."""

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
"""Time that is reserved for logs, metrics and the answer, after the invocation has stopped acting."""

LEAST_SECONDS = 0.5
"""Another call is started only if at least this much time is left."""

# The deadline is kept by two clocks, because neither is reliable: the monotonic clock stops while Lambda freezes the
# environment, and the time of day may be changed. A context variable is also visible inside the SDK's retries, and can
# be copied to threads.
_ends: ContextVar[tuple[float, float]] = ContextVar("ends", default=(math.inf, math.inf))


def of_invocation(lambda_context: Any) -> AbstractContextManager[None]:
    """Limit the `with` block to the invocation's remaining time, less the margin.

    Args:
        lambda_context: The context from Lambda; one without `get_remaining_time_in_millis` sets no limit.
    """
    return within(_remaining(lambda_context) - MARGIN_SECONDS)


def _remaining(lambda_context: Any) -> float:
    ask = getattr(lambda_context, "get_remaining_time_in_millis", None)
    return ask() / 1000 if callable(ask) else math.inf


class TimeLimit:
    """Warns once if the function's timeout is shorter than its slowest call."""

    def __init__(self, longest_call: float) -> None:
        """Set the longest time that a call may take, in seconds."""
        self._needed = longest_call + MARGIN_SECONDS
        self._is_done = False

    def check(self, lambda_context: Any) -> None:
        """Compare the first invocation's time with the longest call; call this at the start of each invocation."""
        if self._is_done:
            return
        self._is_done = True
        limit = _remaining(lambda_context)
        if limit < self._needed - 0.5:  # some of the invocation's time has already passed
            telemetry.logger.warning(
                f"the function's timeout is about {limit:.0f} s, but one call may take {self._needed:.0f} s: slow "
                "calls are cut off and their events retried; raise the timeout, for example to 60 s"
            )


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit the `with` block to this many seconds, or to the time left if that is shorter."""
    steady_end, wall_end = _ends.get()
    token = _ends.set((min(steady_end, time.monotonic() + seconds), min(wall_end, clock.now().timestamp() + seconds)))
    try:
        yield
    finally:
        _ends.reset(token)


def seconds_left() -> float:
    """Return how long the invocation may still act, at least 0; infinite outside an invocation."""
    steady_end, wall_end = _ends.get()
    return max(0.0, min(steady_end - time.monotonic(), wall_end - clock.now().timestamp()))


def has_time(pause: float = 0.0) -> bool:
    """Return whether enough time to start another call, half a second, is left after a pause of this many seconds.

    The call itself may need longer; `orchestrator.timing.http` ends it at the deadline.
    """
    return seconds_left() >= pause + LEAST_SECONDS


def require(failure: str, *, ambiguous: bool = False) -> None:
    """Raise `Unavailable` if too little time is left for another call.

    Args:
        failure: The beginning of error messages; it says what did not happen.
        ambiguous: Whether an earlier try of the same call may have succeeded.
    """
    if not has_time():
        raise Unavailable(
            f"{failure}: only {seconds_left():.1f} s are left of this invocation; it will be retried; if that goes on, "
            "raise the function's timeout",
            ambiguous=ambiguous,
        )
