"""Logs and metrics: wired in here once, with what every line must carry."""

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TextIO

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from orchestrator.event import Event

SERVICE = os.environ.get("POWERTOOLS_SERVICE_NAME") or "orchestrator"
NAMESPACE = os.environ.get("POWERTOOLS_METRICS_NAMESPACE") or "Orchestrator"
# CloudWatch takes at most 1024 characters for a dimension's value; names of ours are far shorter.
_MAX_DIMENSION_LENGTH = 255


# Its warnings hold whole addresses, query and all.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class _CurrentStdout(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stdout` is when a line is written, so that whoever redirects it gets the log, too."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        raise AttributeError("the log follows sys.stdout")


def _message(text: Any) -> Any:
    """Read a message that is JSON; Powertools by itself tries that with every text, which costs an exception."""
    return json.loads(text) if text.startswith(("{", "[")) else text


def _logger() -> Logger:
    make = partial(
        Logger,
        service=SERVICE,
        logger_handler=_CurrentStdout(),
        use_rfc3339=True,
        utc=True,
        json_deserializer=_message,
    )
    try:
        made = make()
        # Powertools prefers Lambda's own setting, which the template leaves at INFO for the sake of the metrics.
        logging.getLogger(made.name).setLevel(os.environ.get("POWERTOOLS_LOG_LEVEL", "").upper() or made.log_level)
        return made
    except ValueError:
        # A function that cannot even be imported would tell nobody why.
        made = make(level="INFO")
        made.warning("POWERTOOLS_LOG_LEVEL is no log level; INFO is used until it is corrected")
        return made


logger = _logger()


_metrics = EphemeralMetrics(service=SERVICE, namespace=NAMESPACE)
_metrics_lock = threading.Lock()


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
    logger.thread_safe_append_keys(**keys)
    try:
        yield
    finally:
        logger.thread_safe_remove_keys(keys)


def count(metric: str, dimensions: Mapping[str, str] | None = None, value: float = 1) -> None:
    """Emit one count in CloudWatch's embedded metric format, on standard output.

    Args:
        metric: The metric's name.
        dimensions: What to count by, besides the service.
        value: How many.
    """
    with _metrics_lock:  # messages of a batch are counted side by side
        _metrics.add_metric(name=metric, unit=MetricUnit.Count, value=value)
        for name, text in (dimensions or {}).items():
            _metrics.add_dimension(name=name, value=text[:_MAX_DIMENSION_LENGTH])
        _metrics.flush_metrics()
