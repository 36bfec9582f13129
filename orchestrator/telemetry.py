"""Writes the logs and metrics of this package. The loggers of code that uses the package stay separate."""

import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import Any, TextIO

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from orchestrator.errors import OrchestratorError
from orchestrator.event import Event

SERVICE = os.environ.get("POWERTOOLS_SERVICE_NAME") or "orchestrator"
NAMESPACE = os.environ.get("POWERTOOLS_METRICS_NAMESPACE") or "Orchestrator"
# Longer values of dimensions are cut. CloudWatch itself accepts up to 1024 characters.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html
_MAX_DIMENSION_LENGTH = 255


# Messages of a batch are handled in parallel threads. The lock keeps two of them from writing into the same line.
_stdout_lock = threading.RLock()


class _CurrentStdout(logging.StreamHandler[TextIO]):
    """A logging handler that writes to the current `sys.stdout`, even if `sys.stdout` is replaced later."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    def createLock(self) -> None:  # noqa: N802 (logging's name)
        self.lock = _stdout_lock

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        raise AttributeError("the log's stream is always sys.stdout")


def _message(text: Any) -> Any:
    """Parse a log message as JSON if it begins with `{` or `[`. Return any other message unchanged.

    By default, Powertools tries to parse every message, which costs an exception for each message that is not JSON.

    Raises:
        ValueError: The message begins with `{` or `[`, but is not JSON. Powertools then logs the message unchanged.
    """
    return json.loads(text) if text.startswith(("{", "[")) else text


class _UnlistedLogger(logging.Logger):
    """A logger that is not in `logging`'s tree of loggers.

    An ordinary logger caches which levels are enabled. This logger caches nothing, because `logging` clears the caches
    only for loggers in its tree.
    """

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 (logging's name)
        return not self.disabled and self.manager.disable < level >= self.getEffectiveLevel()


class _PrivateLogger(Logger):
    """A Powertools Logger that uses an `_UnlistedLogger`, so that no other package shares its logger.

    An ordinary Powertools Logger uses the logger in `logging`'s tree whose name is the service name. Two packages with
    the same service name would therefore use the same logger.
    """

    def _get_logger(self) -> logging.Logger:
        # To avoid duplicate lines, Powertools adds a filter to the root logger's handlers. That filter would also drop
        # lines of a logger such as `my_orchestrator`. This logger does not need it, because lines from outside the tree
        # never reach the root logger's handlers.
        self._is_deduplication_disabled = True
        return _UnlistedLogger(self.service)

    def prefer(self, level: str | int) -> None:
        """Set the log level. Powertools itself would prefer the log level in Lambda's own settings, if there is one."""
        self._logger.setLevel(level)


# Powertools could store these keys, too, but all Loggers of the process would share them.
_event_keys: ContextVar[Mapping[str, Any]] = ContextVar("event_keys", default=MappingProxyType({}))


class _EventKeys(logging.Filter):
    """Adds the keys that `LogKeys` has set for the current event to each log line."""

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
        warnings.simplefilter("ignore", UserWarning)  # Powertools warns if Lambda's log level differs
        try:
            made = make()
            # The template sets Lambda's own level to INFO, because Lambda writes no metrics at a higher level.
            made.prefer(os.environ.get("POWERTOOLS_LOG_LEVEL", "").upper() or made.log_level)
        except ValueError:
            # Raising here would make the import fail, and nothing could log the reason.
            made = make(level="INFO")
            made.warning("POWERTOOLS_LOG_LEVEL is not a log level; correct it (INFO is used until then)")
    made.addFilter(_EventKeys())
    return made


logger = _logger()


_metrics = EphemeralMetrics(service=SERVICE, namespace=NAMESPACE)


class LogKeys:
    """Adds the event's id, its type and Lambda's request id to every log line of the `with` block.

    If the event was replayed, the replay's name is added, too. The keys are added in the current thread, and in threads
    that run in a copy of the current thread's context.
    """

    def __init__(self, event: Event[Any], lambda_context: Any) -> None:
        self._keys = {
            "correlation_id": event.id,
            "event_type": event.type,
            "function_request_id": getattr(lambda_context, "aws_request_id", None),
        }
        if event.replay_name is not None:
            self._keys["replay_name"] = event.replay_name

    def __enter__(self) -> None:
        self._token = _event_keys.set(self._keys)

    def __exit__(self, *_: object) -> None:
        _event_keys.reset(self._token)


class _FailuresLogged:
    """Logs and counts an `OrchestratorError` that the `with` block raises, and raises it again.

    Use this for code that runs before the consumers. `Application` logs the failures of consumers.
    """

    def __enter__(self) -> None:
        return

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OrchestratorError):
            name = type(error).__name__
            logger.error(str(error), error=name)
            count("EventFailed", {"error": name})
            count("FailedEvents")


failures_logged = _FailuresLogged()  # it has no state, so all blocks share it


_LIBRARIES = ("aws_lambda_powertools", "boto3", "botocore", "urllib3")
# boto3 may be imported for the first time by a consumer, while it handles an event. So that its loggers are filtered
# then, too, they are created now.
for _name in ("action", "base", "collection", "factory", "model"):
    logging.getLogger(f"boto3.resources.{_name}")


class _Quiet(logging.Filter):
    """Drops log lines of `_LIBRARIES` below ERROR during the `with` block, because they may contain secrets.

    At DEBUG, the SDK logs whole requests and responses. The warnings of urllib3 contain whole URLs.

    While any thread runs the block, the lines of all threads are dropped, not only the lines of that thread. A consumer
    may start threads of its own, and nothing shows that they belong to the block, because a new thread does not inherit
    context variables.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._events = 0
        self._seen = 0

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or self._events == 0

    def __enter__(self) -> None:
        with self._lock:
            self._events += 1
        if len(logging.root.manager.loggerDict) != self._seen:
            self.include_new_loggers()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._events -= 1

    def include_new_loggers(self) -> None:
        """Add this filter to every existing logger of `_LIBRARIES`, also to child loggers.

        A filter on a logger does not apply to the logger's children.
        """
        with self._lock:
            loggers = dict(logging.root.manager.loggerDict)
            for name, found in loggers.items():
                if name.partition(".")[0] in _LIBRARIES and isinstance(found, logging.Logger):
                    found.addFilter(self)
            self._seen = len(loggers)


quiet_libraries = _Quiet()


def quiet_new_loggers() -> None:
    """Apply the current `quiet_libraries` block to loggers that were created after the block began.

    Call this function after an import that may create loggers.
    """
    quiet_libraries.include_new_loggers()


def count(metric: str, dimensions: Mapping[str, str] | None = None, value: float = 1) -> None:
    """Write a count to standard output, in CloudWatch's embedded metric format.

    The metric always has the dimension `service`, in addition to `dimensions`.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    with _stdout_lock:
        _metrics.add_metric(name=metric, unit=MetricUnit.Count, value=value)
        for name, text in (dimensions or {}).items():
            _metrics.add_dimension(name=name, value=text[:_MAX_DIMENSION_LENGTH])
        _metrics.flush_metrics()
