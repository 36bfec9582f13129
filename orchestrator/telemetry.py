"""Logs and metrics: wired in here once, with what every line must carry, and apart from those of the host."""

import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import Any, TextIO

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from orchestrator.event import Event

SERVICE = os.environ.get("POWERTOOLS_SERVICE_NAME") or "orchestrator"
NAMESPACE = os.environ.get("POWERTOOLS_METRICS_NAMESPACE") or "Orchestrator"
# CloudWatch takes at most 1024 characters for a dimension's value; names of ours are far shorter.
_MAX_DIMENSION_LENGTH = 255


# Messages of a batch are worked on side by side: no line of the log may end up within one of the metrics.
_stdout_lock = threading.RLock()


class _CurrentStdout(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stdout` is when a line is written, so that whoever redirects it gets the log, too."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    def createLock(self) -> None:  # noqa: N802 (logging's name)
        self.lock = _stdout_lock

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        raise AttributeError("the log follows sys.stdout")


def _message(text: Any) -> Any:
    """Read a message that is JSON; Powertools by itself tries that with every text, which costs an exception."""
    return json.loads(text) if text.startswith(("{", "[")) else text


class _UnlistedLogger(logging.Logger):
    """A logger that caches no level: `logging` clears the caches of the loggers that it lists, and this is none."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 (logging's name)
        return not self.disabled and self.manager.disable < level >= self.getEffectiveLevel()


class _PrivateLogger(Logger):
    """A Powertools Logger outside `logging`'s tree, where a Logger of the same service would be the same one."""

    def _get_logger(self) -> logging.Logger:
        # Powertools keeps the lines of a service from being written twice by a filter on the root logger's handlers,
        # which would also drop the host's lines of `my_orchestrator`. What is outside the tree never gets there.
        self._is_deduplication_disabled = True
        return _UnlistedLogger(self.service)

    def prefer(self, level: str | int) -> None:
        """Log from this level on, though Powertools prefers Lambda's own setting."""
        self._logger.setLevel(level)


# Not in Powertools' own place for such keys, which is one for all Loggers of the process.
_event_keys: ContextVar[Mapping[str, Any]] = ContextVar("event_keys", default=MappingProxyType({}))


class _EventKeys(logging.Filter):
    """Adds the event's identity to each line."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in _event_keys.get().items():
            record.__dict__.setdefault(name, value)
        return True


def _logger() -> Logger:
    make = partial(
        _PrivateLogger,
        service=SERVICE,
        logger_handler=_CurrentStdout(),
        use_rfc3339=True,
        utc=True,
        json_deserializer=_message,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # where Lambda's log level is another
        try:
            made = make()
            # Lambda's own is INFO in the template: at a higher one the metrics would not be written.
            made.prefer(os.environ.get("POWERTOOLS_LOG_LEVEL", "").upper() or made.log_level)
        except ValueError:
            # Raised, it would keep the module from being imported, and the reason from being logged.
            made = make(level="INFO")
            made.warning("POWERTOOLS_LOG_LEVEL is no log level; INFO is used until it is corrected")
    made.addFilter(_EventKeys())
    return made


logger = _logger()


_metrics = EphemeralMetrics(service=SERVICE, namespace=NAMESPACE)


@contextmanager
def log_keys(event: Event[Any], lambda_context: Any) -> Iterator[None]:
    """Put the event's identity on every log line of the body, in this thread and those started with its context.

    Args:
        event: The event that is being handled; its id becomes the correlation id.
        lambda_context: What Lambda passed as context.

    Yields:
        Nothing.
    """
    keys = {
        "correlation_id": event.id,
        "event_type": event.type,
        "function_request_id": getattr(lambda_context, "aws_request_id", None),
    }
    if event.replay_name is not None:
        keys["replay_name"] = event.replay_name
    token = _event_keys.set(keys)
    try:
        yield
    finally:
        _event_keys.reset(token)


_LIBRARIES = ("aws_lambda_powertools", "boto3", "botocore", "urllib3")


class _Quiet(logging.Filter):
    """Drops what a library logs below ERROR while an event is handled.

    What counts is whether one is, and not in which thread: a thread that a consumer starts has no context of ours.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._events = 0
        self._seen = 0

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or self._events == 0

    def begin(self) -> None:
        with self._lock:
            self._events += 1
        if len(logging.root.manager.loggerDict) != self._seen:
            self.include_new_loggers()

    def end(self) -> None:
        with self._lock:
            self._events -= 1

    def include_new_loggers(self) -> None:
        """Filter each logger by itself: a filter counts for one logger, and not for those below it."""
        with self._lock:
            loggers = dict(logging.root.manager.loggerDict)
            for name, found in loggers.items():
                if name.partition(".")[0] in _LIBRARIES and isinstance(found, logging.Logger):
                    found.addFilter(self)
            self._seen = len(loggers)


_quiet = _Quiet()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the libraries that send requests from logging them.

    At DEBUG the SDK logs whole requests and answers, and urllib3's warnings hold whole addresses. What the host does
    outside the body is logged as before.

    Yields:
        Nothing.
    """
    _quiet.begin()
    try:
        yield
    finally:
        _quiet.end()


def quiet_new_loggers() -> None:
    """Do the same for loggers that were made since the body began: call it after importing a library late."""
    _quiet.include_new_loggers()


def count(metric: str, dimensions: Mapping[str, str] | None = None, value: float = 1) -> None:
    """Emit one count in CloudWatch's embedded metric format, on standard output.

    Args:
        metric: The metric's name.
        dimensions: What to count by, besides the service.
        value: How many.
    """
    with _stdout_lock:
        _metrics.add_metric(name=metric, unit=MetricUnit.Count, value=value)
        for name, text in (dimensions or {}).items():
            _metrics.add_dimension(name=name, value=text[:_MAX_DIMENSION_LENGTH])
        _metrics.flush_metrics()
