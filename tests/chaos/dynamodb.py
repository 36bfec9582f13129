"""As much of DynamoDB as Powertools Idempotency and this package ask for, each operation atomic."""

import re
import threading
from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeAlias

Item: TypeAlias = Mapping[str, Mapping[str, Any]]

_EXPRESSIONS = frozenset({"ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues"})
_KNOWN = {
    "GetItem": frozenset({"TableName", "Key", "ConsistentRead"}),
    "PutItem": frozenset({"TableName", "Item", "ReturnValues", "ReturnValuesOnConditionCheckFailure"}) | _EXPRESSIONS,
    "UpdateItem": frozenset({"TableName", "Key", "UpdateExpression", "ReturnValuesOnConditionCheckFailure"})
    | _EXPRESSIONS,
    "DeleteItem": frozenset({"TableName", "Key", "ReturnValuesOnConditionCheckFailure"}) | _EXPRESSIONS,
}
_TOKEN = re.compile(r"\(|\)|<>|<=|>=|[=<>]|[#:]?\w+")
_ASSIGNMENT = re.compile(r"(#\w+)\s*=\s*(:\w+)")
_ORDER = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


class Unsupported(Exception):
    """The emulation was asked for something that it does not know; the run proves nothing."""


class ConditionFailed(Exception):
    """The item does not meet the request's condition."""

    def __init__(self, item: Item | None) -> None:
        super().__init__("the conditional request failed")
        self.item = item


class DynamoDB:
    """Tables with a plain text key."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """Create the tables.

        Args:
            keys: The name of each table's key, by the table's name.
        """
        self.tables: dict[str, dict[str, Item]] = {table: {} for table in keys}
        self._keys = keys
        self._lock = threading.Lock()

    def perform(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Perform one operation.

        Raises:
            ConditionFailed: Nothing was changed, because the item does not meet the condition.
            Unsupported: The operation, or a part of it, is not known here.
        """
        unknown = body.keys() - _KNOWN.get(operation, frozenset())
        if operation not in _KNOWN or unknown:
            raise Unsupported(f"{operation} {sorted(unknown)}")
        table = self.tables[body["TableName"]]
        key_name = self._keys[body["TableName"]]
        key = body["Item" if operation == "PutItem" else "Key"][key_name]["S"]
        with self._lock:
            old = table.get(key)
            _check_placeholders(body)
            if "ConditionExpression" in body and not _Condition(body, old or {}).holds():
                raise ConditionFailed(old if body.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" else None)
            match operation:
                case "GetItem":
                    return {} if old is None else {"Item": old}
                case "PutItem":
                    table[key] = body["Item"]
                case "UpdateItem":
                    table[key] = {**(old or body["Key"]), **_assignments(body)}
                case "DeleteItem":
                    table.pop(key, None)
            return {"Attributes": old} if old is not None and body.get("ReturnValues") == "ALL_OLD" else {}


def _check_placeholders(body: Mapping[str, Any]) -> None:
    """Refuse, as DynamoDB does, names and values that no expression uses, or that are missing."""
    text = body.get("ConditionExpression", "") + " " + body.get("UpdateExpression", "")
    given = {*body.get("ExpressionAttributeNames", ()), *body.get("ExpressionAttributeValues", ())}
    if given != set(re.findall(r"[#:]\w+", text)):
        raise Unsupported(f"{text}: its names and values do not match {sorted(given)}")


def _assignments(body: Mapping[str, Any]) -> Item:
    verb, _, rest = body["UpdateExpression"].partition(" ")
    parts = [_ASSIGNMENT.fullmatch(part.strip()) for part in rest.split(",")]
    if verb != "SET" or not all(parts):
        raise Unsupported(body["UpdateExpression"])
    names, values = body["ExpressionAttributeNames"], body["ExpressionAttributeValues"]
    return {names[part[1]]: values[part[2]] for part in parts if part is not None}


class _Condition:
    """A condition over `#names` and `:values`: comparisons, attribute_exists, AND, OR, NOT, parentheses."""

    def __init__(self, body: Mapping[str, Any], item: Item) -> None:
        self._text = body["ConditionExpression"]
        self._names = body.get("ExpressionAttributeNames", {})
        self._values = body.get("ExpressionAttributeValues", {})
        self._item = item
        self._tokens = deque(_TOKEN.findall(self._text))
        if "".join(self._tokens) != "".join(self._text.split()):
            raise Unsupported(self._text)

    def holds(self) -> bool:
        result = self._any()
        if self._tokens:
            raise Unsupported(self._text)
        return result

    def _any(self) -> bool:
        result = self._all()
        while self._skips("OR"):
            result = self._all() or result  # the right side first: it must be read in any case
        return result

    def _all(self) -> bool:
        result = self._one()
        while self._skips("AND"):
            result = self._one() and result
        return result

    def _one(self) -> bool:
        if self._skips("NOT"):
            return not self._one()
        if self._skips("("):
            result = self._any()
            self._expect(")")
            return result
        for function, wanted in (("attribute_exists", True), ("attribute_not_exists", False)):
            if self._skips(function):
                self._expect("(")
                there = self._operand() is not None
                self._expect(")")
                return there is wanted
        left, sign, right = self._operand(), self._next(), self._operand()
        return self._compared(left, sign, right)

    def _compared(self, left: Mapping[str, Any] | None, sign: str, right: Mapping[str, Any] | None) -> bool:
        if sign == "=":
            return left is not None and right is not None and _value(left) == _value(right)
        if sign == "<>":
            return left is None or right is None or _value(left) != _value(right)
        if sign not in _ORDER:
            raise Unsupported(self._text)
        if left is None or right is None or left.keys() != right.keys():
            return False
        return bool(_ORDER[sign](_value(left)[1], _value(right)[1]))

    def _operand(self) -> Mapping[str, Any] | None:
        token = self._next()
        if token.startswith(":"):
            found: Mapping[str, Any] = self._values[token]
            return found
        if token.startswith("#"):
            return self._item.get(self._names[token])
        raise Unsupported(self._text)

    def _next(self) -> str:
        return self._tokens.popleft() if self._tokens else ""

    def _skips(self, token: str) -> bool:
        if self._tokens and self._tokens[0] == token:
            self._tokens.popleft()
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._skips(token):
            raise Unsupported(self._text)


def _value(attribute: Mapping[str, Any]) -> tuple[str, Any]:
    ((kind, value),) = attribute.items()
    return kind, Decimal(value) if kind == "N" else value
