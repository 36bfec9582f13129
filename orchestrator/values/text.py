"""JSON values as text: as a person writes them, and as compact JSON."""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any


def to_text(value: Any) -> str:
    """Write a value as a job variable's text.

    Args:
        value: A JSON-like value; numbers may be `Decimal`, as DynamoDB gives them, and sets count as lists.

    Returns:
        `true` or `false`, numbers as a person writes them (`3600`, never `3600.0` or an exponent), an empty
        text for `None`, objects and lists as compact JSON, text as it is.

    Raises:
        ValueError: A number is not finite, or a text holds half of a surrogate pair or a NUL.
        TypeError: The value, or one inside it, is not JSON-like.
    """
    match value:
        case None:
            text = ""
        case str():
            text = str.__str__(value)  # of a member of an enumeration, its value
        case bool():
            text = "true" if value else "false"
        case int() | float() | Decimal():
            text = _number(value)
        case _:
            text = to_json(value)
    if "\0" in text:
        raise ValueError("NUL character")
    text.encode()
    return text


def to_json(value: Any) -> str:
    """Write a value as compact JSON.

    Args:
        value: A JSON-like value; numbers may be `Decimal`, and sets count as lists.

    Returns:
        JSON without spaces, keys in their order, non-ASCII characters as they are, `1` for `1.0`.

    Raises:
        ValueError: A number is not finite.
        TypeError: The value, or one inside it, is not JSON-like.
    """
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _number(value: int | float | Decimal) -> str:
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise ValueError("number is not finite")
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    text = format(exact, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(name): _plain(member) for name, member in value.items()}
        case list() | tuple():
            return [_plain(member) for member in value]
        case set() | frozenset():
            return sorted(_plain(member) for member in value)
        case float() | Decimal() if math.isfinite(value) and value == int(value):
            return int(value)
        case Decimal():
            return float(value)
        case _:
            return value
