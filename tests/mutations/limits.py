"""The documented limits of AWS on what this package sends; each function returns what a request breaks."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from tests.chaos.expressions import Item

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
_MAX_ITEM_BYTES = 409_600
_MAX_KEY_BYTES = 2048
_MAX_SORT_KEY_BYTES = 1024
_DEEPEST = 32
_MOST_DIGITS = 38
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html
_MAX_ENTRY_BYTES = 1_048_576
_MOST_ENTRIES = 10
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_MAX_MESSAGE_BYTES = 1_048_576
_MAX_DELAY_SECONDS = 900
_MAX_HIDDEN_SECONDS = 43_200
_NOT_FOR_SQS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuild.html
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-_]{1,254}")
_MAX_TOKEN_LENGTH = 64
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
_MAX_INPUT_BYTES = 262_144
_EXECUTION = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}")


def is_too_large(item: Item) -> bool:
    """Whether DynamoDB refuses an item because of its size."""
    return _map_bytes(item) > _MAX_ITEM_BYTES


def of_item(item: Item, key: str, indexed: Iterable[str]) -> Iterator[str]:
    """Check an item, which is not too large."""
    if not 0 < len(item[key]["S"].encode()) <= _MAX_KEY_BYTES:
        yield f"the key {key} is empty or too long"
    for name in indexed:
        if name in item and not 0 < len(item[name]["S"].encode()) <= _MAX_SORT_KEY_BYTES:
            yield f"the index key {name} is empty or too long"
    if "" in item:
        yield "an attribute has no name"
    for value in item.values():
        yield from _of_attribute(value, 1)


def _of_attribute(attribute: Mapping[str, Any], depth: int) -> Iterator[str]:
    ((form, value),) = attribute.items()
    match form:
        case "M" | "L" if depth >= _DEEPEST:
            yield f"an attribute has more than {_DEEPEST} levels"
        case "M":
            for member in value.values():
                yield from _of_attribute(member, depth + 1)
        case "L":
            for member in value:
                yield from _of_attribute(member, depth + 1)
        case "N":
            number = Decimal(value)
            digits = "".join(map(str, number.as_tuple().digits)).strip("0")
            if len(digits) > _MOST_DIGITS or (number and not -131 < number.adjusted() < 126):
                yield "a number is out of range"
        case "SS" if not value:
            yield "a set is empty"


def _map_bytes(item: Item) -> int:
    return sum(len(name.encode()) + _bytes(value) for name, value in item.items())


def _bytes(attribute: Mapping[str, Any]) -> int:
    ((form, value),) = attribute.items()
    match form:
        case "M":
            return 3 + len(value) + _map_bytes(value)
        case "L":
            return 3 + sum(1 + _bytes(member) for member in value)
        case "S":
            return len(value.encode())
        case "N":
            return 1 + len(value) // 2
        case _:
            return len(json.dumps(value))


def of_events(entries: list[dict[str, Any]]) -> Iterator[str]:
    """Check the entries of PutEvents."""
    if not 0 < len(entries) <= _MOST_ENTRIES:
        yield "too many entries, or none"
    for entry in entries:
        texts = [entry["Source"], entry["DetailType"], entry["Detail"], *entry.get("Resources", ())]
        if sum(len(text.encode()) for text in texts) + 14 > _MAX_ENTRY_BYTES:
            yield "an entry is too large"
        if not isinstance(strictly(entry["Detail"]), dict):
            yield "a detail is no object"
        if not 0 < len(entry["DetailType"]) <= 128 or not 0 < len(entry["Source"]) <= 256:
            yield "a detail-type or source is empty or too long"
        if entry["Source"].startswith("aws."):
            yield "a source is reserved"


def of_message(body: Mapping[str, Any]) -> Iterator[str]:
    """Check a SendMessage request."""
    attributes = body.get("MessageAttributes", {})
    texts = [body["MessageBody"]]
    for name, value in attributes.items():
        texts += [name, value["DataType"], value["StringValue"]]
    if sum(len(text.encode()) for text in texts) > _MAX_MESSAGE_BYTES:
        yield "the message is too large"
    if not all(texts):
        yield "the body or an attribute is empty"
    if len(attributes) > 10 or not 0 <= body.get("DelaySeconds", 0) <= _MAX_DELAY_SECONDS:
        yield "too many attributes, or too long a delay"
    for name in ("MessageGroupId", "MessageDeduplicationId"):
        if name in body and not re.fullmatch(r"[\x21-\x7e]{1,128}", body[name]):
            yield f"{name} is malformed"


def has_refused_characters(body: Mapping[str, Any]) -> bool:
    """Whether SQS answers InvalidMessageContents to a SendMessage request."""
    texts = [body["MessageBody"], *(value["StringValue"] for value in body.get("MessageAttributes", {}).values())]
    return any(_NOT_FOR_SQS.search(text) for text in texts)


def of_visibility(entries: list[dict[str, Any]]) -> Iterator[str]:
    """Check the entries of ChangeMessageVisibilityBatch."""
    if not 0 < len(entries) <= _MOST_ENTRIES or len({entry["Id"] for entry in entries}) < len(entries):
        yield "too many entries, none, or one twice"
    if any(not 0 <= entry["VisibilityTimeout"] <= _MAX_HIDDEN_SECONDS for entry in entries):
        yield "a visibility timeout is out of range"


def of_build(body: Mapping[str, Any]) -> Iterator[str]:
    """Check a StartBuild request."""
    if not _PROJECT.fullmatch(body["projectName"]):
        yield "the project's name is malformed"
    if not 0 < len(body["idempotencyToken"]) <= _MAX_TOKEN_LENGTH:
        yield "the token is empty or too long"
    variables = body["environmentVariablesOverride"]
    if any(not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", variable["name"]) for variable in variables):
        yield "a variable's name is malformed"
    if any("\0" in variable["value"] for variable in variables):
        yield "a variable has a NUL"


def of_execution(body: Mapping[str, Any]) -> Iterator[str]:
    """Check a StartExecution request."""
    if not _EXECUTION.fullmatch(body["name"]):
        yield "the execution's name is malformed"
    if len(body["input"].encode()) > _MAX_INPUT_BYTES or not isinstance(strictly(body["input"]), dict):
        yield "the input is too large, or no object"


def strictly(text: str | bytes) -> Any:
    """Parse JSON as AWS does, which takes neither NaN nor half of a surrogate pair.

    Raises:
        ValueError: It is not JSON.
    """
    value = json.loads(text, parse_constant=_refuse)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
