"""Builds SQS messages, and delivers them to a handler."""

import json
from collections.abc import Mapping
from typing import Any

from orchestrator import Application
from tests.support.events import invoke

QUEUE = "arn:aws:sqs:eu-west-1:123456789012:events"


def record(body: Any, number: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "messageId": f"message-{number}",
        "receiptHandle": "handle",
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {"SentTimestamp": "1795510800000", "ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "md5OfBody": "x",
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE,
        "awsRegion": "eu-west-1",
        **fields,
    }


def as_delivered(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Convert message attributes from the form in which they are sent to that in which Lambda delivers them."""
    return {
        name: {"stringValue": value["StringValue"], "dataType": value["DataType"]} for name, value in attributes.items()
    }


def connector_record(event_type: str, detail: Any, number: int = 1) -> dict[str, Any]:
    attribute = {"EventType": {"stringValue": event_type, "dataType": "String"}}
    return record(detail, number, messageAttributes=attribute)


def deliver(handler: Application, *records: dict[str, Any]) -> list[str]:
    answer = invoke(handler, {"Records": list(records)})
    assert set(answer) == {"batchItemFailures"}
    return sorted(failure["itemIdentifier"] for failure in answer["batchItemFailures"])


def fifo(event_type: str, number: int, group: str) -> dict[str, Any]:
    message = connector_record(event_type, {"number": number}, number)
    message["eventSourceARN"] = f"{QUEUE}.fifo"
    message["attributes"]["MessageGroupId"] = group
    return message
