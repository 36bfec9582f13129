"""Converts JSON values to the text of job variables, and to compact JSON."""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any


def to_text(value: Any) -> str:
    """Convert a value to the text of a job variable.

    A string stays as it is, `None` becomes an empty string, a boolean becomes `true` or `false`, and a mapping or list
    becomes compact JSON. A number is written without an exponent, and without zeros at the end of its fraction: `3600`,
    not `3600.0`.

    Args:
        value: A JSON-like value; numbers may be `Decimal`, as in DynamoDB's items, and sets count as lists.

    Raises:
        ValueError: A number is not finite or has too many digits, or the text would contain half of a surrogate pair or
            a NUL.
        TypeError: The value, or a value inside it, is not JSON-like.
        RecursionError: The value is nested too deep.
    """
    match value:
        case None:
            text = ""
        case str():
            text = str.__str__(value)  # the value of a StrEnum's member, even if its class overrides __str__
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
    """Convert a value to compact JSON, without spaces between its parts.

    Keys keep their order, non-ASCII characters are not escaped, and `1.0` is written as `1`.

    Args:
        value: A JSON-like value; numbers may be `Decimal`, and sets count as lists.

    Raises:
        ValueError: A number is not finite or has too many digits.
        TypeError: The value, or a value inside it, is not JSON-like.
        RecursionError: The value is nested too deep.
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
