"""Defines limits of Python, DynamoDB, EventBridge, SQS and DNS, and finds values that exceed a limit."""

import json
from collections.abc import Callable, Mapping
from typing import Any

MAX_DIGITS = 4300
"""Most digits of an integer that Python converts to or from text (`sys.int_info.default_max_str_digits`)."""

TOO_MANY_DIGITS = f"a number of more than {MAX_DIGITS:,} digits"

MAX_ITEM_BYTES = 400 * 1024
"""Size of the largest DynamoDB item. `MAX_KEY_BYTES` is the size of the largest partition key.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
"""
MAX_KEY_BYTES = 2048

MAX_ENTRY_BYTES = 1024 * 1024
"""Size of the largest event that EventBridge accepts: its source, type, detail, resources and time together.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html
"""

MAX_MESSAGE_BYTES = 1024 * 1024
"""Size of the largest SQS message: its body, and the names, types and values of its attributes together.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

MAX_HOST_LENGTH = 253
"""Longest host name, in characters.

An encoded name has at most 255 octets. Its first and last octet (a length and a zero) are not written.

https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4
"""

_FIRST_TOO_LONG: int = 10**MAX_DIGITS


def has_too_many_digits(value: object) -> bool:
    """Return whether a value is an integer with more than `MAX_DIGITS` digits, which Python cannot convert to text."""
    return isinstance(value, int) and not -_FIRST_TOO_LONG < value < _FIRST_TOO_LONG


def is_whole(text: str) -> bool:
    """Return whether a text contains no half of a surrogate pair, which neither UTF-8 nor any AWS service can hold."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def place_of(value: Any, exceeds: Callable[[Any], bool]) -> tuple[int | str, ...] | None:
    """Search a value for the first scalar that exceeds a limit.

    Args:
        value: A JSON-like value. It must not be nested too deep for recursion.
        exceeds: Returns whether a scalar exceeds the limit.

    Returns:
        The keys of mappings and indexes of lists that lead to the scalar; empty if `value` itself is the scalar. `None`
        if no scalar exceeds the limit.
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
    """Parse JSON, even if it contains integers with more than `MAX_DIGITS` digits.

    Python refuses to parse such an integer. It is replaced by 10 to the power of `MAX_DIGITS`, which
    `has_too_many_digits` recognizes.

    Args:
        options: Further arguments of `json.loads`.

    Raises:
        ValueError: The text is not JSON.
        RecursionError: The value is nested too deep.
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
