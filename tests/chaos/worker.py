"""The program of a child: handles the deliveries from a connection and answers each."""

import importlib
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

import urllib3.connection
from botocore.retries.standard import ExponentialBackoff

from orchestrator.intake import redelivery
from orchestrator.local.lambda_context import LocalContext
from orchestrator.timing import clock

READY = b"ready"
PRELOADED = "tests.chaos.preloaded"
# The function's time limits, as a share of an invocation's.
_WAITS = {
    ("orchestrator.aws.clients", "CONNECT_TIMEOUT_SECONDS"): 0.1,
    ("orchestrator.aws.clients", "READ_TIMEOUT_SECONDS"): 0.3,
    ("orchestrator.builders.jenkins.connection", "CONNECT_TIMEOUT_SECONDS"): 0.1,
    ("orchestrator.builders.jenkins.connection", "READ_TIMEOUT_SECONDS"): 0.3,
    ("orchestrator.performers.callbacks", "CONNECT_TIMEOUT_SECONDS"): 0.1,
    ("orchestrator.performers.callbacks", "READ_TIMEOUT_SECONDS"): 0.3,
    ("orchestrator.timing.deadline", "LEAST_SECONDS"): 0.05,
    ("orchestrator.timing.deadline", "MARGIN_SECONDS"): 0.1,
    ("orchestrator.ledger.record", "CLOCK_TOLERANCE_SECONDS"): 0.4,
}
# The pauses before the checks of a job, as the same share.
_PAUSES = {
    ("orchestrator.ledger.record", "FIRST_CHECK"): 0.3,
    ("orchestrator.ledger.record", "LONGEST_PAUSE"): 0.3,
    ("orchestrator.endings.sweep", "_END_OF_DOUBT"): 2.0,
    ("orchestrator.ledger.gate", "_REFUSAL"): 0.3,
    ("orchestrator.ledger.waiting_line", "_INDEX_LAG"): 1.0,
    ("orchestrator.ledger.waiting_line", "_LONG"): 1.0,
}
# For how long a failed message is hidden, as the same share; each lasts for at least a second.
_HIDDEN = {
    "FIRST_WAIT_SECONDS": 1.2,
    "LONGEST_WAIT_SECONDS": 4.0,
    "LONGEST_SLEEP_SECONDS": 200.0,
    "_SOON_SECONDS": 0.3,
}


class _Log(io.TextIOBase):
    """Discards the function's logs and metrics, except for what the latest event's consumers did."""

    consumers: Sequence[Mapping[str, Any]] = ()

    def write(self, text: str) -> int:
        if text.startswith("{") and '"consumers":' in text:
            self.consumers = json.loads(text)["consumers"]
        return len(text)


def work(connection: Connection, timeout: float, ahead: float, environment: Mapping[str, str]) -> None:
    """Handle deliveries until the connection is closed.

    Args:
        connection: Brings events and takes results.
        timeout: Seconds that an invocation may take.
        ahead: Seconds by which the clock is ahead.
        environment: The environment variables.
    """
    os.environ.clear()
    os.environ.update(environment)
    sys.stdout = log = _Log()
    importlib.import_module(PRELOADED)
    _hurry(timeout)
    clock.now = lambda: datetime.now(UTC) + timedelta(seconds=ahead)
    from orchestrator.handler import lambda_handler

    with suppress(EOFError):
        connection.send_bytes(READY)
        while True:
            event = json.loads(connection.recv_bytes())
            log.consumers = ()
            try:
                answer = lambda_handler(event, LocalContext(timeout=timeout))
                result = {"ok": True, "answer": answer}
                if "batchItemFailures" in answer:
                    # The driver delivers one message at a time; its answer lacks the outcomes, which the log has.
                    failed = bool(answer["batchItemFailures"])
                    result = {"ok": not failed, "error": "Waiting", "answer": {"consumers": log.consumers}}
            except Exception as error:
                result = {"ok": False, "error": type(error).__name__, "text": str(error)}
            connection.send_bytes(json.dumps(result).encode())


def _replace(module: str, name: str, value: object) -> None:
    owner = importlib.import_module(module)
    getattr(owner, name)  # fails if the constant has moved
    setattr(owner, name, value)


def _hurry(timeout: float) -> None:
    """Scale every wait to the time limit of the run."""
    for (module, name), share in _WAITS.items():
        _replace(module, name, share * timeout)
    for (module, name), share in _PAUSES.items():
        _replace(module, name, timedelta(seconds=share * timeout))
    for name, share in _HIDDEN.items():
        _replace("orchestrator.intake.redelivery", name, max(1, round(share * timeout)))
    redelivery.wait_seconds.__defaults__ = (redelivery.LONGEST_WAIT_SECONDS,)
    # Callbacks carry no credentials; the user agent identifies the child.
    urllib3.connection._get_default_user_agent = lambda: os.environ["AWS_ACCESS_KEY_ID"]
    ExponentialBackoff.delay_amount = lambda self, context: 0.02  # type: ignore[method-assign]
