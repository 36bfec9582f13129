"""Describes the events of a registry as an AsyncAPI document, version 3.0 (https://www.asyncapi.com/docs/reference).

All events are messages of one channel. Each consumer is an operation that receives messages. If the consumer can cause
further events, a second operation sends these events.
"""

import inspect
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from orchestrator.cli.detail_schemas import models_of, schemas_of
from orchestrator.cli.flow import condition, follows, identifiers
from orchestrator.consumer import Consumer
from orchestrator.lifecycle.endings import ENDINGS
from orchestrator.registry import Registry
from orchestrator.run import FAILURE_SUFFIX, SUCCESS_SUFFIX

_CHANNEL = "events"
_SCHEMAS = "#/components/schemas/"
_FRAME_NAME = "EventBridgeEvent"
_TEXT = {"type": "string"}
_FILLED = {"type": "string", "minLength": 1}
_FRAME = {
    "description": "An event as EventBridge delivers it: "
    "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html",
    "type": "object",
    "required": ["version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"],
    "properties": {
        "version": _TEXT,
        "id": {**_FILLED, "description": "the same on every redelivery"},
        "detail-type": {**_FILLED, "description": "the event's type"},
        "source": {**_FILLED, "description": "who sent it"},
        "account": _TEXT,
        "time": {"type": "string", "format": "date-time"},
        "region": _TEXT,
        "resources": {"type": "array", "items": _TEXT},
        "detail": {
            "description": "EventBridge Scheduler sends an empty detail as the text {}",
            "anyOf": [{"type": "object"}, {"const": "{}"}],
        },
        "replay-name": {"type": ["string", "null"], "description": "the archive's replay that sent it again"},
    },
}


def document(registry: Registry, place: str) -> dict[str, Any]:
    """Return the AsyncAPI document of a registry's events.

    Args:
        place: The handler's module and name, for the document's title.

    Raises:
        ConfigurationError: Pydantic cannot create a JSON schema for the model of a consumer's detail.
    """
    models = models_of(registry)
    schemas, definitions = schemas_of(models, _SCHEMAS + "{model}")
    (messages,) = identifiers(models)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Events of {place}",
            "version": version("tenant-orchestrator"),
            "description": "The events that the handler receives and publishes, printed by `orchestrator schema`. The "
            "version is that of tenant-orchestrator.",
        },
        "defaultContentType": "application/json",
        "channels": {
            _CHANNEL: {
                "description": "The EventBridge bus of the control plane, on which the handler also publishes. Events "
                "of AWS itself come from the default bus.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages.values()},
            }
        },
        "operations": _operations(registry, messages),
        "components": {
            "messages": {
                name: {"name": event_type, "payload": _payload(event_type, schemas[event_type])}
                for event_type, name in messages.items()
            },
            "schemas": {_FRAME_NAME: _FRAME, **definitions},
        },
    }


def _payload(event_type: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    exactly = {"const": event_type}
    if event_type == ENDINGS:
        exactly = {"pattern": f"({SUCCESS_SUFFIX}|{FAILURE_SUFFIX})$"}
    own: dict[str, Any] = {"detail-type": exactly}
    if detail != {"type": "object"}:
        own["detail"] = detail
    return {"allOf": [{"$ref": _SCHEMAS + _FRAME_NAME}, {"properties": own}]}


def _operations(registry: Registry, messages: Mapping[str, str]) -> dict[str, Any]:
    receiving, sending = identifiers(
        (consumer.name for consumer in registry), (f"{consumer.name} leads to" for consumer in registry)
    )
    operations: dict[str, Any] = {}
    for consumer in registry:
        operations[receiving[consumer.name]] = _operation("receive", consumer.types, messages, **_about(consumer))
        published = [text for text in follows(consumer) if text in messages]
        if published:
            name = sending[f"{consumer.name} leads to"]
            summary = f"What may follow from {consumer.name}: published by the handler, or by the job that it started."
            operations[name] = _operation("send", published, messages, summary=summary)
    return operations


def _operation(action: str, types: Any, messages: Mapping[str, str], **about: str) -> dict[str, Any]:
    channel = f"#/channels/{_CHANNEL}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        **about,
        "messages": [{"$ref": f"{channel}/messages/{messages[event_type]}"} for event_type in types],
    }


def _about(consumer: Consumer) -> dict[str, str]:
    summary = (inspect.getdoc(consumer.function) or "").partition("\n\n")[0]
    only_if = condition(consumer)
    about = {
        "summary": " ".join(summary.split()),
        "description": "" if only_if is None else f"Only events for which this is true: {only_if}",
    }
    return {name: text for name, text in about.items() if text}
