"""Builds and reads the payloads that AWS sends to the function: EventBridge events and batches of SQS messages."""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator.intake import envelopes
from orchestrator.timing import clock
from orchestrator.timing.clock import written

_ACCOUNT_ID = "123456789012"


def from_bus(entry: Mapping[str, Any], region: str) -> dict[str, Any]:
    """Build the event that EventBridge delivers for an entry of a PutEvents request."""
    return _event(
        entry["DetailType"],
        entry["Source"],
        region,
        json.loads(entry["Detail"]),
        time=entry.get("Time"),
        resources=list(entry.get("Resources", ())),
    )


def state_change(build: Mapping[str, Any]) -> dict[str, Any]:
    """Build the event that CodeBuild publishes when a build has ended.

    https://docs.aws.amazon.com/codebuild/latest/userguide/sample-build-notifications.html

    Args:
        build: The build, in the form that CodeBuild returns.
    """
    detail = {
        "build-status": build["buildStatus"],
        "project-name": build["projectName"],
        "build-id": build["arn"],
        "current-phase": "COMPLETED",
        "current-phase-context": "[]",
        "additional-information": {
            "build-complete": True,
            "initiator": "orchestrator",
            "environment": {"environment-variables": build["environment"]["environmentVariables"]},
        },
        "version": "1",
    }
    region = build["arn"].split(":")[3]
    return _event("CodeBuild Build State Change", "aws.codebuild", region, detail, resources=[build["arn"]])


def status_change(execution: Mapping[str, Any]) -> dict[str, Any]:
    """Build the event that Step Functions publishes when the status of an execution has changed.

    https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html

    Args:
        execution: The execution, in the form that Step Functions returns.
    """
    given = {name: execution.get(name) for name in ("stopDate", "output", "error", "cause")}
    arn = execution["executionArn"]
    region = arn.split(":")[3]
    detail = {**execution, **given}
    return _event("Step Functions Execution Status Change", "aws.states", region, detail, resources=[arn])


def scheduled(region: str) -> dict[str, Any]:
    """Build the event that EventBridge Scheduler sends to start a sweep, which checks unfinished runs."""
    schedule = f"arn:aws:scheduler:{region}:{_ACCOUNT_ID}:schedule/default/orchestrator-sweep"
    return _event("Scheduled Event", "aws.scheduler", region, "{}", resources=[schedule])


def batch(message: Mapping[str, Any], queue_url: str, region: str) -> dict[str, Any]:
    """Build the batch in which Lambda delivers one message of a queue.

    Args:
        message: The message, as SQS returns it.
        queue_url: The queue's URL.
        region: The queue's region.
    """
    attributes = message.get("MessageAttributes", {})
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {
            name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
            for name, value in attributes.items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{region}:{_ACCOUNT_ID}:{queue_url.rpartition('/')[2]}",
        "awsRegion": region,
    }
    return {"Records": [record]}


def sent_now(payload: Any) -> Any:
    """Return a copy of an event, or of an array of events, in which the present time replaces each event's `time`.

    Anything else, such as an event without `time`, is returned unchanged.
    """
    if isinstance(payload, list):
        return [sent_now(member) for member in payload]
    if isinstance(payload, dict) and isinstance(payload.get("Data"), dict):
        return {**payload, "Data": sent_now(payload["Data"])}
    if isinstance(payload, dict) and isinstance(payload.get("time"), str):
        return {**payload, "time": written(clock.now())}
    return payload


def records(event: Any) -> list[Any]:
    """Return the messages of a batch. For anything else, such as a single event, return an empty list."""
    found = event.get("Records") if isinstance(event, Mapping) else None
    return found if isinstance(found, list) else []


def events(payload: Any) -> list[Any]:
    """Return the events in a payload: the members of an array, or the single event.

    Each event is taken out of its envelope, if it has one (see `orchestrator.intake.envelopes`). A batch counts as a
    single event, and so does an empty array.
    """
    return [envelopes.opened(member).event for member in envelopes.members(payload) or [payload]]


def type_of(payload: Any) -> str:
    """Return an event's type, or a text that describes several events.

    The text is, for example, `array of 2` for an array of more than one event, and `batch of 1` for a batch of
    messages. An event without a type, and a payload that is not a JSON object, have the type `without a type`.
    """
    if found := records(payload):
        return f"batch of {len(found)}"
    first, *others = events(payload)
    if others:
        return f"array of {1 + len(others)}"
    event_type = first.get("detail-type") if isinstance(first, Mapping) else None
    return "without a type" if event_type is None else str(event_type)


def _event(
    event_type: str,
    source: str,
    region: str,
    detail: Any,
    *,
    resources: list[str],
    time: datetime | None = None,
) -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": event_type,
        "source": source,
        "account": _ACCOUNT_ID,
        "time": written(time or clock.now()),
        "region": region,
        "resources": resources,
        "detail": detail,
    }
