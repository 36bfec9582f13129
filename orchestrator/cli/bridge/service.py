"""Keeps whether a service answers, and decides how long to wait after a failure."""

import random

from orchestrator import telemetry

_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0
_TEXT_LENGTH = 300


class Service:
    """A service that the bridge depends on, and whether its last answer was a good one.

    Attributes:
        failure: What is wrong with the service now, in one line; `None` if nothing is.
    """

    def __init__(self, name: str) -> None:
        """Store the service's name, for log lines. The service counts as failing until it has answered."""
        self.name = name
        self.failure: str | None = "has not answered yet"
        self._has_failed = False

    def worked(self) -> None:
        """Note that the service has answered. The first answer after a failure is logged."""
        if self._has_failed:
            telemetry.logger.info(f"{self.name} answers again")
        self.failure, self._has_failed = None, False

    def failed(self, error: Exception) -> None:
        """Note and log a failure. The errors of the libraries that are used have no secrets in their texts."""
        text = " ".join(str(error).split())[:_TEXT_LENGTH]
        self.failure, self._has_failed = f"{type(error).__name__}: {text}", True
        telemetry.logger.warning(f"{self.name} failed, and is tried again: {text}", error=type(error).__name__)


def wait_seconds(tries: int) -> float:
    """Return how long to wait after so many failures in a row.

    The wait is a second at first, and twice as long after each failure, up to a minute. It is shortened at random by up
    to a half, so that jobs that failed together are tried at different times.
    """
    wait: float = min(_FIRST_WAIT_SECONDS * 2.0 ** min(tries - 1, 10), _LONGEST_WAIT_SECONDS)
    return wait * random.uniform(0.5, 1)  # noqa: S311 (spreads requests, guards no secret)
