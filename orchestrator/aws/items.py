"""Converts DynamoDB items, computes their size, and checks what DynamoDB can store."""

from collections.abc import Mapping
from decimal import Decimal, DecimalException, Overflow
from math import isfinite
from typing import TYPE_CHECKING, Any

from botocore import exceptions

from orchestrator.errors import InvalidEvent
from orchestrator.values.limits import MAX_KEY_BYTES

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef, UniversalAttributeValueTypeDef


# Limits of DynamoDB's numbers, which have at most 38 significant digits:
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
_LONG, _FIRST_TOO_LARGE = 10**38, 10**126


_LEAST_EXPONENT, _GREATEST_EXPONENT = -130, 125
_MOST_LEVELS = 32


def from_item(item: "Mapping[str, AttributeValueTypeDef]") -> dict[str, Any]:
    """Convert an item of the DynamoDB client, such as `{"a": {"N": "1"}}`, to Python values: `{"a": Decimal(1)}`."""
    return {name: _python_value(value) for name, value in item.items()}


def _python_value(value: Any) -> Any:
    # boto3's `TypeDeserializer` does the same, except that it wraps bytes. It is not used here, because importing boto3
    # takes a twentieth of a cold start.
    ((name, content),) = value.items()
    match name:
        case "N":
            return Decimal(content)
        case "M":
            return from_item(content)
        case "L":
            return list(map(_python_value, content))
        case "NULL":
            return None
        case "SS" | "BS":
            return set(content)
        case "NS":
            return set(map(Decimal, content))
        case "S" | "B" | "BOOL":
            return content
        case _:
            raise TypeError(f"{name} is not a type of DynamoDB")


def plain(value: Any) -> Any:
    """Convert each whole `Decimal` in a value to `int`, each other `Decimal` to `float`, and each set to a list."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case Mapping():
            return {name: plain(member) for name, member in value.items()}
        case list() | set():
            return [plain(member) for member in value]
        case _:
            return value


def is_condition_failure(error: exceptions.ClientError) -> bool:
    """Return whether the condition of a request to change one item was not met. For a transaction, return False."""
    return error.response.get("Error", {}).get("Code") == "ConditionalCheckFailedException"


def to_item(attributes: Mapping[str, Any]) -> "dict[str, UniversalAttributeValueTypeDef]":
    """Convert JSON-like attributes to an item of the DynamoDB client.

    A `float` is stored in its shortest decimal form, so that 0.1 is stored as exactly 0.1.

    Raises:
        DecimalException: A number has more than 38 significant digits, is too large (magnitude of 1e126 or more), or is
            too small (magnitude below 1e-130, but not 0).
        TypeError: DynamoDB has no type for a value, or a number is not finite.
    """
    return {name: _attribute_value(value) for name, value in attributes.items()}


def is_unstorable(value: object) -> bool:
    """Return whether `to_item` cannot convert a scalar, for example because it is a number with too many digits."""
    try:
        to_item({"": value})
    except (DecimalException, TypeError):
        return True
    return False


def is_too_deep(value: object, level: int = 1) -> bool:
    """Return whether an attribute is nested too deeply for DynamoDB, which allows 32 levels.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html

    Args:
        value: The attribute's value, or a value inside it.
        level: The level of `value`. The attribute's value itself has level 1.
    """
    if not isinstance(value, Mapping | list | tuple):
        return False
    members = value.values() if isinstance(value, Mapping) else value
    return level >= _MOST_LEVELS or any(is_too_deep(member, level + 1) for member in members)


def is_too_large(error: exceptions.ClientError) -> bool:
    """Return whether an error means that DynamoDB refused an item because of its size.

    The reason is read from the error's text, because other invalid requests have the same error code.
    """
    answer = error.response.get("Error", {})
    return answer.get("Code") == "ValidationException" and "exceeded the maximum allowed size" in answer.get(
        "Message", ""
    )


def check_key(subject: str, key: str) -> None:
    """Refuse a value that is too long for a table's partition key.

    Args:
        subject: Start of the error message, such as `the tenant's id 'a'`.
        key: The value of the partition key.

    Raises:
        InvalidEvent: The key has more than 2,048 bytes.
    """
    size = len(key.encode())
    if size > MAX_KEY_BYTES:
        raise InvalidEvent(
            f"{subject} has {size:,} bytes, but a DynamoDB key may have at most {MAX_KEY_BYTES:,}; shorten it in the "
            "event"
        )


def item_bytes(item: "Mapping[str, UniversalAttributeValueTypeDef]") -> int:
    """Compute the size of an item in bytes.

    The result is approximate if the item contains numbers, because AWS documents their size only approximately.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Any) -> int:
    ((name, content),) = value.items()
    match name:
        case "M":
            return 3 + len(content) + item_bytes(content)
        case "L":
            return 3 + len(content) + sum(map(_value_bytes, content))
        case "S":
            return len(content.encode())
        case "B":
            return len(content)
        case "SS" | "NS" | "BS":
            return sum(_value_bytes({name[0]: member}) for member in content)
        case "N":
            return 1 + len(Decimal(content).normalize().as_tuple().digits) // 2
        case _:
            return 1


def _attribute_value(value: Any) -> Any:
    if isinstance(value, str):
        return {"S": value}
    if value is None:
        return {"NULL": True}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int) and -_LONG < value < _LONG:
        return {"N": str(int(value))}
    if isinstance(value, float) and isfinite(value):
        return {"N": str(_in_range(Decimal(repr(value))))}
    if isinstance(value, list | tuple):
        return {"L": [_attribute_value(member) for member in value]}
    if isinstance(value, Mapping):
        return {"M": to_item(value)}
    if isinstance(value, set | frozenset) and value and all(isinstance(member, str) for member in value):
        return {"SS": list(value)}
    from boto3.dynamodb.types import TypeSerializer

    return TypeSerializer().serialize(_exact(value))


def _exact(value: Any) -> Any:
    """Convert an `int` to a `Decimal`; return any other value unchanged.

    Raises:
        Overflow: The number is too large or too small for DynamoDB.
    """
    if isinstance(value, Decimal):
        return _in_range(value)
    return _without_zeros(value) if isinstance(value, int) else value


def _in_range(value: Decimal) -> Decimal:
    if value.is_finite() and value and not _LEAST_EXPONENT <= value.adjusted() <= _GREATEST_EXPONENT:
        raise Overflow  # the SDK would not refuse it, because the SDK's limits are wider
    return value


def _without_zeros(value: int) -> Decimal:
    if not -_FIRST_TOO_LARGE < value < _FIRST_TOO_LARGE:
        raise Overflow  # checked first, because converting a million digits takes seconds
    digits = str(value)
    significant = digits.rstrip("0")
    return Decimal(f"{significant}E{len(digits) - len(significant)}")
