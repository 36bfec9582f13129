"""Validates events against an AsyncAPI document with an independent validator."""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft7Validator


def problems(document: Mapping[str, Any], event: Mapping[str, Any], name: str | None = None) -> list[str]:
    """Return what a document says against an event.

    Args:
        document: The AsyncAPI document. Its schemas are a superset of JSON Schema, draft 7.
        event: The event, as Lambda receives it.
        name: Name of the message that the event must fit; by default, the event's type.
    """
    wanted = name or event["detail-type"]
    messages = document["components"]["messages"]
    (key,) = (key for key, message in messages.items() if message["name"] == wanted)
    validator = Draft7Validator({**document, "$ref": f"#/components/messages/{key}/payload"})
    return [error.message for error in validator.iter_errors(event)]
