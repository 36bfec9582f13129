"""The child's program: takes a delivery from each line of standard input, and answers each with a line."""

import importlib
import io
import json
import sys

import botocore.session
from botocore.retries.standard import ExponentialBackoff

from orchestrator.local.lambda_context import LocalContext

# What the function waits for, as a share of the time that an invocation may take.
_WAITS = {
    ("orchestrator.aws", "CONNECT_TIMEOUT_SECONDS"): 0.1,
    ("orchestrator.aws", "READ_TIMEOUT_SECONDS"): 0.3,
    ("orchestrator.builders.jenkins.connection", "CONNECT_TIMEOUT_SECONDS"): 0.1,
    ("orchestrator.builders.jenkins.connection", "READ_TIMEOUT_SECONDS"): 0.3,
    ("orchestrator.deadline", "MARGIN_SECONDS"): 0.1,
}
_SERVICES = ("dynamodb", "codebuild", "secretsmanager", "events")


class _Nowhere(io.TextIOBase):
    """Takes the function's logs and metrics."""

    def write(self, text: str) -> int:
        return len(text)


def main() -> None:
    timeout = float(sys.argv[1])
    answers, sys.stdout = sys.stdout, _Nowhere()
    _hurry(timeout)
    from orchestrator.handler import lambda_handler

    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        try:
            result = {"ok": True, "answer": lambda_handler(json.loads(line), LocalContext(timeout=timeout))}
        except Exception as error:
            result = {"ok": False, "error": type(error).__name__, "text": str(error)}
        print(json.dumps(result), file=answers, flush=True)


def _hurry(timeout: float) -> None:
    """Shorten every wait to the scale of a run, and load before the first delivery what else would delay it."""
    for (module, name), share in _WAITS.items():
        setattr(importlib.import_module(module), name, share * timeout)
    ExponentialBackoff.delay_amount = lambda self, context: 0.02  # type: ignore[method-assign]
    importlib.import_module("aws_lambda_powertools.utilities.idempotency")
    session = botocore.session.get_session()
    loader = session.get_component("data_loader")
    botocore.session.create_loader = lambda search_path_string=None: loader
    for service in _SERVICES:
        session.create_client(service)


if __name__ == "__main__":
    main()
