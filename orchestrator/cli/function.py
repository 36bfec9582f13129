"""Invokes the deployed function, and reads from the answer whether the function handled the event."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.aws.errors import aws_errors
from orchestrator.cli.failed_event import error_of
from orchestrator.cli.stack import YOUR_ROLE

# Lambda's longest time limit, for a function whose own limit is unknown.
LONGEST_SECONDS = 900
_NETWORK_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """The function's answer to one event.

    Attributes:
        is_handled: Whether at least one consumer took the event, and no consumer failed. An event that waits until its
            job can be started counts as handled.
        text: The outcomes of the consumers; or, if `is_handled` is false, the reason.
    """

    is_handled: bool
    text: str


class DeployedFunction:
    """Invokes one deployed function. A request that fails is not sent again."""

    def __init__(self, name: str, region: str | None, timeout: int = LONGEST_SECONDS) -> None:
        """Create the client.

        Args:
            name: The function's name or ARN.
            region: The function's region; `None` uses the SDK's own configuration.
            timeout: How long an invocation may take, in seconds.

        Raises:
            ConfigurationError: The region is missing, or the SDK's configuration is wrong.
        """
        import boto3
        from botocore.config import Config

        self.name = name
        self.timeout = timeout
        # One attempt: if the answer is lost, the person decides whether to send the event again.
        config = Config(read_timeout=timeout + _NETWORK_SECONDS, retries={"total_max_attempts": 1})
        make: Any = boto3.client  # only the services that the package uses have type stubs
        with aws_errors(f"function {name} was not invoked", role=YOUR_ROLE):
            self._client = make("lambda", region_name=region, config=config)

    def invoke(self, payload: Mapping[str, Any]) -> Answer:
        """Invoke the function and wait for its answer.

        If the function itself fails, no error is raised; the answer's `text` names the function's error.

        Raises:
            ConfigurationError: The function does not exist, or may not be invoked.
            Unavailable: Lambda was not reached or has no concurrency left, or the answer was lost.
        """
        with aws_errors(f"function {self.name} was not invoked", role=YOUR_ROLE):
            response = self._client.invoke(FunctionName=self.name, Payload=json.dumps(payload).encode())
            answer = _parsed(response["Payload"].read())
        if "FunctionError" in response:
            name, text = error_of(answer) or (response["FunctionError"], "see the function's log")
            return Answer(False, f"{name}: {text}")
        consumers = answer.get("consumers") if isinstance(answer, dict) else None
        if not isinstance(consumers, list):
            return Answer(False, "the answer names no consumers, so it is not that of this package's handler")
        if not consumers:
            return Answer(False, "no consumer took it; the function's log says why")
        return Answer(True, "; ".join(map(_did, consumers)))


def _did(consumer: Mapping[str, Any]) -> str:
    statuses = ", ".join(str(outcome.get("status")) for outcome in consumer.get("outcomes", ()))
    return f"{consumer.get('name')}: {statuses or 'nothing to do'}"


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
