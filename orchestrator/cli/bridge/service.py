"""Stores whether Redis or SQS works, and computes how long to wait before another try."""

import random

from orchestrator import telemetry

_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0
_TEXT_LENGTH = 300


class Service:
    """The state of Redis or SQS, as the last request showed it.

    Attributes:
        failure: One line about the failure of the last request; `None` if the last request succeeded.
    """

    def __init__(self, name: str) -> None:
        """Store the service's name, for log lines. Until `worked` is called, the service counts as failing."""
        self.name = name
        self.failure: str | None = "has not answered yet"
        self._has_failed = False

    def worked(self) -> None:
        """Record that a request succeeded. The first success after a failure is logged."""
        if self._has_failed:
            telemetry.logger.info(f"{self.name} answers again")
        self.failure, self._has_failed = None, False

    def failed(self, error: Exception) -> None:
        """Record and log the failure of a request. The error's text is logged, so it must not contain secrets."""
        text = " ".join(str(error).split())[:_TEXT_LENGTH]
        self.failure, self._has_failed = f"{type(error).__name__}: {text}", True
        telemetry.logger.warning(f"{self.name} failed, and is tried again: {text}", error=type(error).__name__)


def wait_seconds(tries: int) -> float:
    """Return how many seconds to wait before the next try, after `tries` failures in a row.

    The wait is one second after the first failure, and doubles with each further failure, up to one minute. It is then
    shortened at random, by up to a half, so that jobs that failed together are tried again at different times.
    """
    wait: float = min(_FIRST_WAIT_SECONDS * 2.0 ** min(tries - 1, 10), _LONGEST_WAIT_SECONDS)
    return wait * random.uniform(0.5, 1)  # noqa: S311 (spreads requests, guards no secret)
