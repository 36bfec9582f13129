"""Builds events as Lambda receives them, and calls a handler as Lambda does."""

import copy
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.local.lambda_context import LocalContext
from tests.support.aws import ACCOUNT_ID, REGION

EVENTS = Path(__file__).parents[2] / "events"


SAMPLES = sorted(EVENTS.glob("tenant-*.json"))


def as_event(entry: Mapping[str, Any], event_id: str = "published") -> dict[str, Any]:
    """Convert a published entry to the event that a rule sends."""
    return {
        "version": "0",
        "id": event_id,
        "detail-type": entry["DetailType"],
        "source": entry["Source"],
        "account": ACCOUNT_ID,
        "time": datetime.fromtimestamp(int(entry["Time"]), UTC).isoformat(),
        "region": REGION,
        "resources": entry["Resources"],
        "detail": json.loads(entry["Detail"]),
    }


def state_change(build: Mapping[str, Any]) -> dict[str, Any]:
    """Create the event that CodeBuild publishes when a build changes its state."""
    return sample(
        "codebuild-build-state-change",
        id=f"{build['id']} {build['buildStatus']}",
        detail={
            "build-status": build["buildStatus"],
            "project-name": build["projectName"],
            "build-id": build["arn"],
            "additional-information": {
                "environment": {"environment-variables": build["environment"]["environmentVariables"]}
            },
        },
    )


def sample(name: str, **changes: Any) -> dict[str, Any]:
    """Read a sample event, with the current time and with these top-level fields replaced."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {**json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8")), "time": now, **changes}


def with_metadata(event: Mapping[str, Any], **metadata: str) -> dict[str, Any]:
    """Put an event into the envelope of a custom event bus whose subscriber has the transformer `WITH_METADATA`."""
    system = {"ContentType": "application/eventbridge+json", "aws:EventId": event["id"], "aws:DeliveryType": "LIVE"}
    return {"Data": event, "Metadata": {}, "SystemMetadata": {**system, **metadata}}


def failed_invocation(payload: Any, error: str = "ConfigurationError", text: str = "…") -> dict[str, Any]:
    """Build the record that Lambda sends after the last try of an asynchronous invocation."""
    return {
        "version": "1.0",
        "timestamp": "2026-11-24T09:05:00.000Z",
        "requestContext": {"requestId": "1", "condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": payload,
        "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        "responsePayload": {"errorType": error, "errorMessage": text, "stackTrace": ["do-not-tell"]},
    }


def undelivered(*events: Mapping[str, Any]) -> dict[str, Any]:
    """Build the record that a custom event bus sends to its subscriber's failure queue."""
    return {
        "version": "1.0",
        "busArn": "arn:aws:events:eu-west-1:123456789012:event-busv2/saas/EXAMPLE1234567890abcdefgh",
        "subscriberArn": "arn:aws:events:eu-west-1:123456789012:subscriber/orchestrator/EXAMPLEabcdef1234567890",
        "targetArn": "arn:aws:lambda:eu-west-1:123456789012:function:orchestrator",
        "errorCode": "THROTTLING",
        "errorMessage": "The delivery failed.",
        "exhaustedRetryCondition": "MaximumEventAgeInSeconds",
        "retryAttempts": 4,
        "failedMessages": [
            {"eventId": event["id"], "eventGroupId": None, "timestamp": event["time"], "targetRequestId": "r"}
            for event in events
        ],
    }


def changed(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Copy an event and replace the value at a dotted path; `...` removes it."""
    event = copy.deepcopy(event)
    *parents, last = path.split(".")
    target: Any = event
    for part in parents:
        target = target[int(part) if isinstance(target, list) else part]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return event


def invoke(handler: Callable[[Any, Any], Any], event: Any) -> Any:
    """Call a handler as Lambda does: the event and the answer pass through JSON."""
    answer = handler(json.loads(json.dumps(event)), LocalContext())
    assert json.loads(json.dumps(answer)) == answer
    return answer


def json_lines(text: str) -> list[dict[str, Any]]:
    """Parse the lines of a log that are JSON objects."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
