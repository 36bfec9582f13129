"""Limits of the formats and services that an event's values pass through, and where in a value one is exceeded."""

import json
from collections.abc import Callable, Mapping
from typing import Any

MAX_DIGITS = 4300
"""Digits of an integer that Python writes or reads as text (`sys.int_info.default_max_str_digits`)."""

TOO_MANY_DIGITS = f"a number of more than {MAX_DIGITS:,} digits"

MAX_ITEM_BYTES = 400 * 1024
"""Size of a DynamoDB item; `MAX_KEY_BYTES` is that of its partition key.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
"""
MAX_KEY_BYTES = 2048

MAX_ENTRY_BYTES = 1024 * 1024
"""Size of an event that is published on EventBridge: its source, type, detail and resources.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html
"""

MAX_MESSAGE_BYTES = 1024 * 1024
"""Size of an SQS message: its body, and the names, types and values of its attributes.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

MAX_HOST_LENGTH = 253
"""Characters of a host's name: 255 octets with those for the lengths of its labels (RFC 1035, section 2.3.4)."""

_FIRST_TOO_LONG: int = 10**MAX_DIGITS


def has_too_many_digits(value: object) -> bool:
    """Say whether a value is an integer that cannot be written; does not convert it, which would take long."""
    return isinstance(value, int) and not -_FIRST_TOO_LONG < value < _FIRST_TOO_LONG


def place_of(value: Any, exceeds: Callable[[Any], bool]) -> tuple[int | str, ...] | None:
    """Find the first part of a value that exceeds a limit.

    Args:
        value: A JSON-like value that is not nested too deep for recursion.
        exceeds: Says of a part that is no object and no list whether it does.

    Returns:
        The names and indexes that lead there; `None` where no part does.
    """
    if isinstance(value, Mapping):
        members: Any = ((str(name), member) for name, member in value.items())
    elif isinstance(value, list | tuple):
        members = enumerate(value)
    else:
        return () if exceeds(value) else None
    for place, member in members:
        rest = place_of(member, exceeds)
        if rest is not None:
            return (place, *rest)
    return None


def read_json(text: str, **options: Any) -> Any:
    """Read JSON, whatever numbers are in it.

    Args:
        text: The JSON.
        options: Those of `json.loads`.

    Returns:
        The value. In place of an integer that has too many digits to be read, it holds another one that has, so that
        its place can be named.

    Raises:
        ValueError: The text is no JSON.
        RecursionError: It is nested too deep.
    """
    try:
        return json.loads(text, **options)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(text, **options, parse_int=_integer)


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        return _FIRST_TOO_LONG
