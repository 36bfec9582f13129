"""Records what the function logs about each event: what its consumers did, what failed, and why no consumer took it.

A consumer takes an event if the consumer's condition is true. The handler's answer does not say all of this: if a
consumer failed, there is no answer, and the answer to a batch only names the messages that failed.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from orchestrator import application, telemetry
from orchestrator.action import OutcomeStatus
from orchestrator.errors import OrchestratorError


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """At least one consumer took the event, or failed. If a consumer failed, there is a `Failed` for it, too.

    Attributes:
        outcomes: The results of all consumers' actions, in order; see `orchestrator.action.Outcome`.
        idle: The names of the consumers that did not fail, but returned no actions.
    """

    event_type: str
    outcomes: Sequence[Mapping[str, Any]]
    idle: Sequence[str]

    @property
    def waits(self) -> bool:
        """Whether the event waits, because a job cannot be started yet."""
        return any(outcome["status"] == OutcomeStatus.WAITING for outcome in self.outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A consumer of the event failed; or the event failed before its consumers were called, for example as invalid.

    Attributes:
        error: Class name of the error.
        text: The error's text.
    """

    error: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotTaken:
    """No consumer took the event.

    Attributes:
        text: The reason, in words.
    """

    event_type: str
    text: str


Result: TypeAlias = Handled | Failed | NotTaken

_LOGGING_RESULTS = (application.__file__, telemetry.__file__)


class NoConsumer(OrchestratorError):
    """No consumer takes an event. This is an error only with the option `--strict`."""


@contextmanager
def recorded(conditions: Mapping[str, str]) -> Iterator[list[Result]]:
    """Record the results of all events that are handled in the `with` block, whatever the log level.

    Args:
        conditions: Each consumer's condition in words, by the consumer's name.

    Yields:
        The list to which the results are added.
    """
    results: list[Result] = []
    logger, listener = telemetry.logger._logger, _Listener(results, conditions)  # Powertools' own removes no handlers
    level, handlers = logger.level, list(logger.handlers)
    for handler in handlers:
        handler.setLevel(level)
    logger.setLevel(min(level, logging.INFO))
    logger.addHandler(listener)
    try:
        yield results
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
        for handler in handlers:
            handler.setLevel(logging.NOTSET)


class _Listener(logging.Handler):
    def __init__(self, results: list[Result], conditions: Mapping[str, str]) -> None:
        super().__init__()
        self._results = results
        self._conditions = conditions

    def emit(self, record: logging.LogRecord) -> None:
        result = self._result(record)
        if result is not None:
            self._results.append(result)

    def _result(self, record: logging.LogRecord) -> Result | None:
        """Read a result from a log record. Return `None` if the record is something else, such as a consumer's log."""
        known = vars(record)
        if record.pathname not in _LOGGING_RESULTS:
            return None
        if "not_taken" in known:
            text = self._not_taken(known["not_taken"], known.get("declined"))
            return NotTaken(event_type=known["event_type"], text=text)
        if "consumers" in known:
            consumers = known["consumers"]
            outcomes = [outcome for consumer in consumers for outcome in consumer["outcomes"]]
            idle = [one["name"] for one in consumers if not one["outcomes"] and not one["failed"]]
            return Handled(event_type=known["event_type"], outcomes=outcomes, idle=idle)
        if "error" in known:
            return Failed(error=known["error"], text=record.getMessage())
        return None

    def _not_taken(self, reason: str, declined: Sequence[str] | None) -> str:
        """Return a text that says why no consumer took an event.

        Args:
            reason: The reason that the function logged.
            declined: The names of the consumers that were asked, whose conditions were all false. `None` if the
                function ignored the event before it called the conditions.
        """
        if declined is None:
            return f"ignored: {reason}"
        texts = "; ".join(self._conditions[name] for name in declined if name in self._conditions)
        return f"no consumer takes it: {reason}{f' ({texts})' if texts else ''}"
