"""Reads values from the JSON answer to a callback, and inserts them into the bodies of later callbacks.

See `FromAnswer`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from orchestrator.action import Action, Following, FromAnswer, SendCallback
from orchestrator.errors import ConfigurationError, json_type, shown

ActionT = TypeVar("ActionT", bound=Action | Following)

MAX_ANSWER_BYTES = 16 * 1024
"""Size of the largest answer from which values are read."""

_MAX_TEXT_LENGTH = 1024
# This is ECMAScript's Number.MAX_SAFE_INTEGER. JSON.parse may round a larger integer.
_MAX_INTEGER = 2**53 - 1


def read(body: bytes, names: Iterable[str]) -> dict[str, str | int]:
    """Read the members with the given names from a JSON object, and return their values by name.

    Each value must be a string of at most 1024 characters, or an integer whose absolute value is below 2^53.

    Raises:
        ValueError: `body` is larger than `MAX_ANSWER_BYTES` or not a JSON object, a member is missing, or a value is
            invalid. The message continues a sentence that begins with "its answer".
    """
    if len(body) > MAX_ANSWER_BYTES:
        raise ValueError(f"has more than {MAX_ANSWER_BYTES // 1024} KiB")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(answer, dict):
        raise ValueError(f"is {json_type(answer)}, not an object")
    return {name: _member(answer, name) for name in names}


def check(actions: Sequence[Action | Following], consumer: str) -> None:
    """Check that every `FromAnswer` placeholder names a value that an earlier callback keeps from its answer.

    `SendCallback.keeps` lists the members of the answer's JSON object that are kept for later callbacks.

    Args:
        actions: All actions that one consumer returned for one event, in order.
        consumer: The consumer's name, for error messages.

    Raises:
        ConfigurationError: No earlier callback keeps a value that a placeholder names; or the `keeps` of a callback is
            a single string instead of a list of names.
    """
    kept: set[str] = set()
    for action in actions:
        for name in sorted(awaited(action)):
            if name not in kept:
                raise ConfigurationError(
                    f"consumer {shown(consumer)} returned FromAnswer({shown(name)}), but no earlier callback keeps it; "
                    "add it to the keeps of an earlier SendCallback"
                )
        if not isinstance(action, SendCallback):
            continue
        if isinstance(action.keeps, str):
            raise ConfigurationError(
                f"consumer {shown(consumer)} returned a callback whose keeps is a text; give it a list of names"
            )
        kept.update(action.keeps)


def awaited(action: Action | Following) -> frozenset[str]:
    """Return the names of the values that the `FromAnswer` placeholders of an action stand for.

    The result is empty if the action is not a callback, or if its body is nested too deep. (`Callbacks.check` refuses
    such a body.)
    """
    if not isinstance(action, SendCallback):
        return frozenset()
    try:
        return frozenset(_members(action.body))
    except RecursionError:  # a body that is nested too deep is refused when the callback is checked
        return frozenset()


def fill(action: ActionT, answer: Mapping[str, str | int]) -> ActionT:
    """Return a copy of the action in which values from earlier answers replace the `FromAnswer` placeholders.

    An action without placeholders is returned unchanged.

    Args:
        action: Any action; only the body of a callback can contain a `FromAnswer`.
        answer: The values that were kept from the answers to earlier callbacks, by member name (see
            `SendCallback.keeps`).

    Raises:
        ConfigurationError: `answer` lacks a value that a placeholder names. This happens if an older version of the
            consumer sent the earlier callback, without that name in `keeps`.
    """
    names = awaited(action)
    for name in sorted(names):
        if name not in answer:
            raise ConfigurationError(
                f"a callback needs {shown(name)} of an earlier answer, but an earlier delivery of the event did not "
                "keep it; send the event again with another id"
            )
    if not names or not isinstance(action, SendCallback):
        return action
    return replace(action, body=_filled(action.body, answer))


def blank(action: ActionT) -> ActionT:
    """Return the action with an empty string in place of every `FromAnswer`.

    The result can be checked before the answers to the earlier callbacks are known.
    """
    return fill(action, dict.fromkeys(awaited(action), ""))


def _member(answer: Mapping[str, Any], name: str) -> str | int:
    if name not in answer:
        raise ValueError(f"has no {shown(name)}")
    value = answer[name]
    if isinstance(value, str) and len(value) <= _MAX_TEXT_LENGTH:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_INTEGER:
        return value
    raise ValueError(
        f"has a {shown(name)} that is neither a text of at most {_MAX_TEXT_LENGTH} characters nor an integer below 2^53"
    )


def _members(value: Any) -> Iterator[str]:
    match value:
        case FromAnswer():
            yield value.member
        case Mapping():
            for part in value.values():
                yield from _members(part)
        case list() | tuple():
            for part in value:
                yield from _members(part)


def _filled(value: Any, answer: Mapping[str, str | int]) -> Any:
    match value:
        case FromAnswer():
            return answer[value.member]
        case Mapping():
            return {name: _filled(part, answer) for name, part in value.items()}
        case list():
            return [_filled(part, answer) for part in value]
        case tuple():
            return tuple(_filled(part, answer) for part in value)
        case _:
            return value
