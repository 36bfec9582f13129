"""How long an invocation may still act: it stops by itself, with a margin, rather than be killed half-way."""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

from orchestrator.errors import Unavailable

MARGIN_SECONDS = 1.0
"""Time left over for what must still be done once acting has stopped: logs, metrics, the answer."""

# A context variable, because the SDK's own tries must see it too, and threads of consumers copy it.
_end: ContextVar[float] = ContextVar("end", default=math.inf)


def of_invocation(lambda_context: Any) -> AbstractContextManager[None]:
    """Let the body act for as long as the invocation lasts, less the margin.

    Args:
        lambda_context: What Lambda passed as context; without `get_remaining_time_in_millis` there is no end.

    Returns:
        A context manager.
    """
    ask = getattr(lambda_context, "get_remaining_time_in_millis", None)
    return within((ask() / 1000 if callable(ask) else math.inf) - MARGIN_SECONDS)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let the body act for so long at most.

    Args:
        seconds: How long; what is left of the invocation bounds it all the same.

    Yields:
        Nothing.
    """
    token = _end.set(min(_end.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _end.reset(token)


def seconds_left() -> float:
    """Say how long the current invocation may still act.

    Returns:
        Seconds, never less than 0; infinite outside an invocation.
    """
    return max(0.0, _end.get() - time.monotonic())


def require(seconds: float, what: str, *, ambiguous: bool = False) -> None:
    """Make sure that something which can take a while may still be begun.

    Args:
        seconds: How long it can take at most.
        what: What would not be done, as the message's beginning.
        ambiguous: Whether an earlier try of the same thing may have been acted upon.

    Raises:
        Unavailable: Less time than that is left.
    """
    left = seconds_left()
    if left < seconds:
        raise Unavailable(
            f"{what}: {left:.1f} s are left of this invocation and up to {seconds:.1f} s may be needed; it will be "
            "retried; if that goes on, raise the function's timeout",
            ambiguous=ambiguous,
        )
