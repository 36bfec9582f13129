"""Validates EventBridge events, and converts them to `Event`, the form in which consumers receive them."""

from collections.abc import Mapping, Sequence
from datetime import UTC
from math import isfinite
from typing import Any

from aws_lambda_powertools.utilities.parser import parse as powertools_parse
from aws_lambda_powertools.utilities.parser.models import EventBridgeModel
from pydantic import ValidationError

from orchestrator.errors import InvalidEvent, json_type
from orchestrator.event import Event
from orchestrator.intake import envelopes
from orchestrator.run import is_own_source, recognised
from orchestrator.values.limits import TOO_MANY_DIGITS, has_too_many_digits, is_whole
from orchestrator.values.validation import explain, path_of

BUS_REPLAY = "custom event bus"
"""The `replay_name` of events that a custom event bus replays. Such replays have no names of their own."""

LONGEST_NAME = 1024
"""Most characters of an event's id, type and source, which every line of the log about the event has.

EventBridge itself allows fewer.
"""

_EARLIEST_YEAR = 2000
_DEEPEST = 64


def is_sqs_batch(raw: object) -> bool:
    """Return whether an invocation's payload is a batch of at least one SQS message."""
    records = raw.get("Records") if isinstance(raw, dict) else None
    return (
        isinstance(records, list)
        and bool(records)
        and all(isinstance(record, dict) and record.get("eventSource") == "aws:sqs" for record in records)
    )


def parse(payload: object, name: str = "event", *, delivery_id: str | None = None) -> Event[Mapping[str, Any]]:
    """Convert an EventBridge event to an `Event`.

    Args:
        payload: One event. It may be in an envelope that `envelopes.opened` removes; an array is refused.
        name: The event's name in error messages.
        delivery_id: An id that stays the same when AWS retries the delivery, such as Lambda's request id. It becomes
            part of `Event.redrive` if `payload` is Lambda's record of a failed invocation, or if a custom event bus
            replayed the event.

    Raises:
        InvalidEvent: `payload` is not an EventBridge event, or contains a value that cannot be stored or sent.
    """
    content = envelopes.opened(payload)
    raw = content.event
    if envelopes.is_undelivered(raw):
        raise InvalidEvent(
            f"{name}: the failure record of a custom event bus has only the ids of its events; have the bus send them "
            "again, by a subscriber that starts at a point in time"
        )
    if not isinstance(raw, dict):
        form = "an empty list" if raw == [] else json_type(raw)
        raise InvalidEvent(
            f"{name}: {form} is not an EventBridge event (a JSON object); send one like those in events/"
        )
    if "aws:EventId" in content.metadata:
        raw = {**raw, "id": content.event_id}
    detail = raw.get("detail")
    # EventBridge Scheduler sends the text "{}" for an empty detail, which Powertools' model accepts.
    is_empty = detail == "{}" and raw.get("source") == "aws.scheduler"
    if "detail" in raw and not isinstance(detail, dict) and not is_empty:
        raise InvalidEvent(f"{name}: detail is {json_type(detail)}; it must be a JSON object")
    if "time" in raw and not isinstance(raw["time"], str):
        raise InvalidEvent(f"{name}: time is {json_type(raw['time'])}; it must be a text, as in 2026-11-24T09:00:00Z")
    try:
        model = powertools_parse(event=raw, model=EventBridgeModel)
    except ValidationError as error:
        raise InvalidEvent(f"{name}: {explain(error)}; send an EventBridge event like those in events/") from None
    names = [("id", model.id), ("detail-type", model.detail_type), ("source", model.source)]
    if model.replay_name:
        names.append(("replay-name", model.replay_name))
    for field, value in names:
        _check_name(f"{name}: {field}", value)
    time = model.time if model.time.tzinfo else model.time.replace(tzinfo=UTC)
    if time.year < _EARLIEST_YEAR:
        raise InvalidEvent(f"{name}: time is before the year {_EARLIEST_YEAR}; send the time of the event")
    try:
        time.astimezone(UTC)
    except OverflowError:
        raise InvalidEvent(f"{name}: time is after the year 9999 in UTC; send the time of the event") from None
    detail = detail if isinstance(detail, dict) else {}
    fault = None if _passes_fast_check(detail) else _find_fault(detail)
    if fault is not None:
        raise InvalidEvent(f"{name}: {path_of('detail', fault[0])} {fault[1]}")
    event: Event[Mapping[str, Any]] = Event(
        id=model.id,
        type=model.detail_type,
        source=model.source,
        time=time,
        account=model.account,
        region=model.region,
        resources=model.resources,
        replay_name=model.replay_name or (BUS_REPLAY if content.is_replay else None),
        redrive=_redrive(content, model.replay_name, delivery_id),
        detail=detail,
    )
    return recognised(event) if is_own_source(event.source) else event


def _check_name(field: str, value: str) -> None:
    if not value.strip() or not value.isprintable():
        raise InvalidEvent(f"{field} is empty or contains control characters; send printable text")
    if len(value) > LONGEST_NAME:
        raise InvalidEvent(f"{field} has more than {LONGEST_NAME:,} characters; send a shorter text")


def _redrive(content: envelopes.Content, replay_name: str | None, delivery_id: str | None) -> str | None:
    """Return the text for `Event.redrive`, which identifies a redelivery that somebody requested.

    The invocation for a replayed event may fail, and somebody may send Lambda's record of this invocation to the
    function. The text then identifies the record, not the replay.

    Return `None` if the event is neither in such a record nor replayed.
    """
    if content.has_failed:
        return "record" if delivery_id is None else f"record {delivery_id}"
    if replay_name:
        return f"replay {replay_name}"
    if content.is_replay:
        return f"replay {delivery_id or BUS_REPLAY}"
    return None


def as_json(event: Event[Mapping[str, Any]]) -> dict[str, Any]:
    """Convert an `Event` to the JSON object that EventBridge delivers; `parse` converts it back.

    Values that EventBridge does not have, such as `redrive` and `delivery`, are lost.
    """
    replay = {} if event.replay_name is None else {"replay-name": event.replay_name}
    return {
        "version": "0",
        "id": event.id,
        "detail-type": event.type,
        "source": event.source,
        "account": event.account,
        "time": event.time.isoformat(),
        "region": event.region,
        "resources": list(event.resources),
        "detail": event.detail,
        **replay,
    }


def _passes_fast_check(detail: Mapping[str, Any]) -> bool:
    """Return whether a detail is surely free of the faults that `_find_fault` finds.

    This check is faster than `_find_fault`, but does not show where the fault is. It returns False for a detail with
    values or names of types that `json.loads` does not return.
    """
    if type(detail) is not dict:
        return False
    level: list[Any] = [detail]
    texts: list[str] = []
    for _ in range(_DEEPEST):
        deeper: list[Any] = []
        for value in level:
            members = value
            if type(value) is dict:
                texts += value
                members = value.values()
            for member in members:
                cls = type(member)
                if cls is str:
                    texts.append(member)
                elif cls is dict or cls is list:
                    deeper.append(member)
                elif cls is int:
                    if has_too_many_digits(member):
                        return False
                elif cls is float:
                    if not isfinite(member):
                        return False
                elif cls is not bool and member is not None:
                    return False
        if not deeper:
            return _are_whole(texts)
        level = deeper
    return False


def _are_whole(texts: Sequence[Any]) -> bool:
    try:
        return is_whole("".join(texts))
    except TypeError:  # the name of a member is not a text
        return False


def _find_fault(value: Any, depth: int = 1) -> tuple[tuple[int | str, ...], str] | None:
    """Find the first value in a detail that is valid JSON, but is refused.

    Refused are: a text or name with half of a surrogate pair; an integer of more than 4,300 digits; a number such as
    1e400, which Python reads as infinity; and an object or list on a level deeper than 64.

    Args:
        value: A detail, or a value inside it.
        depth: The level of `value` in the detail. The detail itself has level 1.

    Returns:
        The path of the faulty value within `value`, and a text that says what is wrong. `None` if there is no such
        value.
    """
    if isinstance(value, str):
        if is_whole(value):
            return None
        return (), "contains half of a surrogate pair; send whole text"
    if has_too_many_digits(value):
        return (), f"is {TOO_MANY_DIGITS}; send a shorter number, or text"
    if isinstance(value, float) and not isfinite(value):  # Python reads 1e400 as infinity
        return (), "is a number above 1.8e308; send a smaller one, or text"
    if not isinstance(value, dict | list):
        return None
    if depth > _DEEPEST:
        return (), f"is nested deeper than {_DEEPEST} levels; send fewer levels"
    if isinstance(value, dict):
        for name in value:
            fault = _find_fault(name)
            if fault is not None:
                return fault
    # The path is built only on the way back from a fault, so values without one cost little.
    for place, member in value.items() if isinstance(value, dict) else enumerate(value):
        fault = _find_fault(member, depth + 1)
        if fault is not None:
            return (place, *fault[0]), fault[1]
    return None
