"""Writes JSON as JavaScript does.

To check a callback's signature, the control plane parses the body and serializes it again with JavaScript. The result
must equal the body that was signed.
"""

import json
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

# The largest array index (https://tc39.es/ecma262/#array-index). In an object, JavaScript puts the keys that are array
# indexes before all other keys, in ascending order.
_MAX_INDEX = 2**32 - 2
# JavaScript writes numbers beyond these powers of ten with an exponent
# (https://tc39.es/ecma262/#sec-numeric-types-number-tostring).
_LARGE, _SMALL = 21, -6


def json_stringify(value: Any) -> str:
    """Return what `JSON.stringify` returns for the same value.

    Numbers are rounded to doubles, and keys are in JavaScript's order.

    Args:
        value: A JSON-like value; numbers may be `Decimal`.

    Raises:
        ValueError: A number is not finite, or is too large for a double.
        TypeError: The value, or a value inside it, is not JSON-like.
        RecursionError: The value is nested too deep.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case int() | float() | Decimal():
            return _number(value)
        case Mapping():
            return "{" + ",".join(f"{_text(key)}:{json_stringify(value[key])}" for key in _ordered(value)) + "}"
        case list() | tuple():
            return "[" + ",".join(map(json_stringify, value)) + "]"
        case _:
            raise TypeError(f"{type(value).__name__} is no JSON")


def is_beyond_double(value: object) -> bool:
    """Return whether a value is a finite number that is too large for a double."""
    if not isinstance(value, int | Decimal) or (isinstance(value, Decimal) and not value.is_finite()):
        return False
    try:
        return not math.isfinite(float(value))
    except OverflowError:
        return True


def _ordered(keys: Iterable[Any]) -> list[str]:
    names = list(keys)
    if not all(isinstance(name, str) for name in names):
        raise TypeError("a key of an object is no text")
    return sorted(names, key=lambda name: int(name) if _is_index(name) else _MAX_INDEX + 1)


def _is_index(name: str) -> bool:
    is_number = name.isascii() and name.isdigit() and (name == "0" or name[0] != "0")
    return is_number and len(name) <= len(str(_MAX_INDEX)) and int(name) <= _MAX_INDEX


def _text(text: str) -> str:
    # In JavaScript, two adjacent halves of a surrogate pair are one character, and a single half is escaped. Apart from
    # that, Python escapes the same characters as JavaScript.
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    written = json.dumps(whole, ensure_ascii=False)
    return "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in written)


def _number(value: int | float | Decimal) -> str:
    try:
        double = float(value)
    except OverflowError:
        double = math.inf
    if not math.isfinite(double):
        raise ValueError("number is not finite as a double")
    if double == 0:
        return "0"
    # Both languages write the shortest digits that read back as the same double; only the format differs.
    sign, digit_tuple, exponent = Decimal(repr(double)).as_tuple()
    digits = "".join(map(str, digit_tuple))
    return ("-" if sign else "") + _laid_out(digits.rstrip("0"), len(digits) + int(exponent))


def _laid_out(digits: str, point: int) -> str:
    """Format the digits of a number as ECMAScript's Number::toString does.

    Args:
        digits: The significant digits, without trailing zeros.
        point: The position of the decimal point, counted from the start of `digits`. The number is `0.digits` times
            10 to the power of `point`: `12` stands for 1.2 if `point` is 1, for 0.012 if it is -1, and for 1200 if it
            is 4.
    """
    if len(digits) <= point <= _LARGE:
        return digits.ljust(point, "0")
    if 0 < point <= _LARGE:
        return f"{digits[:point]}.{digits[point:]}"
    if _SMALL < point <= 0:
        return "0." + "0" * -point + digits
    mantissa = digits[0] + (f".{digits[1:]}" if len(digits) > 1 else "")
    return f"{mantissa}e{point - 1:+d}"
