"""Tracks how much time an invocation has left, so that the invocation ends before Lambda kills it.

This module interrupts nothing. Code that sends requests or waits must check the time that is left.
"""

import math
import time
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

from orchestrator import telemetry
from orchestrator.errors import Unavailable
from orchestrator.timing import clock

MARGIN_SECONDS = 1.0
"""Time at the end of an invocation that is reserved for logs, metrics and the answer, not for actions."""

LEAST_SECONDS = 0.5
"""A call to AWS or another service is started only if at least this much time is left."""

# The deadline is kept by two clocks, because neither is reliable: the monotonic clock stops while Lambda freezes the
# environment, and the time of day may be changed. A context variable is also visible inside the SDK's retries, and can
# be copied to threads.
_ends: ContextVar[tuple[float, float]] = ContextVar("ends", default=(math.inf, math.inf))


def of_invocation(lambda_context: Any) -> AbstractContextManager[None]:
    """Give the `with` block the invocation's remaining time, less `MARGIN_SECONDS`, as its time limit; see `within`.

    Args:
        lambda_context: The context that Lambda passes to the handler. If it has no method
            `get_remaining_time_in_millis`, there is no limit.
    """
    return within(_remaining(lambda_context) - MARGIN_SECONDS)


def _remaining(lambda_context: Any) -> float:
    ask = getattr(lambda_context, "get_remaining_time_in_millis", None)
    return ask() / 1000 if callable(ask) else math.inf


class TimeLimit:
    """Logs one warning if the function's timeout is too short for its slowest call to another service."""

    def __init__(self, longest_call: float) -> None:
        """Store the longest time, in seconds, that one call to another service may take."""
        self._needed = longest_call + MARGIN_SECONDS
        self._is_done = False

    def check(self, lambda_context: Any) -> None:
        """Log a warning if the invocation's time is too short for the slowest call.

        Call this method at the start of each invocation. It checks only the first invocation, because all invocations
        have the same timeout.
        """
        if self._is_done:
            return
        self._is_done = True
        limit = _remaining(lambda_context)
        if limit < self._needed - 0.5:  # some of the invocation's time has already passed
            telemetry.logger.warning(
                f"the function's timeout is about {limit:.0f} s, but one call may take {self._needed:.0f} s: slow "
                "calls are cut off and their events retried; raise the timeout, for example to 60 s"
            )


def within(seconds: float) -> AbstractContextManager[None]:
    """Give the `with` block a time limit, in seconds. If a surrounding block's limit ends sooner, that limit applies.

    The block is not interrupted: its code must check `seconds_left` or call `require`.
    """
    return _Limit(seconds)


class _Limit(AbstractContextManager[None]):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        steady_end, wall_end = _ends.get()
        steady, wall = time.monotonic() + self._seconds, clock.now().timestamp() + self._seconds
        self._token = _ends.set((min(steady_end, steady), min(wall_end, wall)))

    def __exit__(self, *_: object) -> None:
        _ends.reset(self._token)


def seconds_left() -> float:
    """Return the time that is left, in seconds: at least 0, and infinity if there is no limit."""
    steady_end, wall_end = _ends.get()
    return max(0.0, min(steady_end - time.monotonic(), wall_end - clock.now().timestamp()))


def has_time(pause: float = 0.0) -> bool:
    """Return whether there is time to pause for this many seconds and then start a call to another service.

    At least `LEAST_SECONDS` must be left after the pause. If the call then takes too long, `orchestrator.timing.http`
    ends the call at the deadline.
    """
    return seconds_left() >= pause + LEAST_SECONDS


def require(failure: str, *, ambiguous: bool = False) -> None:
    """Raise `Unavailable` if less than `LEAST_SECONDS` are left, which is too little to start a call.

    Args:
        failure: The beginning of the error message. It says what did not happen, such as `job 'x' was not started`.
        ambiguous: The exception's `ambiguous`: whether an earlier try of the call may have succeeded.
    """
    if not has_time():
        raise Unavailable(
            f"{failure}: only {seconds_left():.1f} s are left of this invocation; a retry may succeed; if none does, "
            "raise the function's timeout",
            ambiguous=ambiguous,
        )
