"""Evaluates the DynamoDB expressions that this package writes, and refuses all others."""

import re
from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

Value: TypeAlias = Mapping[str, Any]
Item: TypeAlias = Mapping[str, Value]
Path: TypeAlias = tuple[str, ...]

_TOKEN = re.compile(r"<>|<=|>=|[()=<>,.]|[#:]?\w+")
_PLACEHOLDER = re.compile(r"[#:]\w+")
_WORD = re.compile(r"[A-Za-z]\w*")
_RESERVED = frozenset(word.upper() for word in ReservedKeywords.get_reserved_keywords())
_ORDER = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
_EXPRESSIONS = ("ConditionExpression", "UpdateExpression", "KeyConditionExpression")


class Unsupported(Exception):
    """The request is not emulated, or DynamoDB refuses it."""


def check_placeholders(body: Mapping[str, Any]) -> None:
    """Refuse, as DynamoDB does, unused and missing names and values."""
    text = " ".join(body.get(name, "") for name in _EXPRESSIONS)
    given = {*body.get("ExpressionAttributeNames", ()), *body.get("ExpressionAttributeValues", ())}
    if given != set(_PLACEHOLDER.findall(text)):
        raise Unsupported(f"{text}: its names and values do not match {sorted(given)}")


def holds(body: Mapping[str, Any], item: Item, expression: str = "ConditionExpression") -> bool:
    """Whether an item meets a request's condition."""
    return _Condition(body, expression, item).result()


def updated(body: Mapping[str, Any], item: Item) -> Item:
    """Apply a request's `UpdateExpression` to a copy of an item."""
    return _Update(body, "UpdateExpression", item).result()


def key_names(body: Mapping[str, Any]) -> list[str]:
    """List the attributes of a `KeyConditionExpression`, in order; the first is compared with `=`."""
    text = body["KeyConditionExpression"]
    form = re.fullmatch(r"(#?\w+) = :\w+(?: AND (#?\w+) (?:(?:=|<=?|>=?) :\w+|BETWEEN :\w+ AND :\w+))?", text)
    if form is None:
        raise Unsupported(text)
    names = body.get("ExpressionAttributeNames", {})
    return [names.get(name, name) for name in form.groups() if name]


def value_of(attribute: Value) -> tuple[str, Any]:
    """Return an attribute's type, and its value in a form that compares as in DynamoDB."""
    ((type_name, value),) = attribute.items()
    return type_name, Decimal(value) if type_name == "N" else value


class _Expression:
    """The tokens of one expression, its names and values, and the item to which it applies."""

    def __init__(self, body: Mapping[str, Any], expression: str, item: Item) -> None:
        self._text: str = body[expression]
        self._names: Mapping[str, str] = body.get("ExpressionAttributeNames", {})
        self._values: Mapping[str, Value] = body.get("ExpressionAttributeValues", {})
        self._item = item
        self._tokens = deque(_TOKEN.findall(self._text))
        if "".join(self._tokens) != "".join(self._text.split()):
            raise Unsupported(self._text)

    def _path(self) -> Path:
        names = [self._name()]
        while self._skips("."):
            names.append(self._name())
        return tuple(names)

    def _name(self) -> str:
        token = self._next()
        if token.startswith("#"):
            return self._names[token]
        if not _WORD.fullmatch(token) or token.upper() in _RESERVED:
            raise Unsupported(f"{self._text}: {token!r} is no name, or a reserved word")
        return token

    def _operand(self) -> Value | None:
        if self._skips("size"):
            self._expect("(")
            members = _at(self._item, self._path())
            self._expect(")")
            if members is not None and "SS" not in members:
                raise Unsupported(f"{self._text}: size is emulated for string sets")
            return None if members is None else {"N": str(len(members["SS"]))}
        if self._tokens and self._tokens[0].startswith(":"):
            return self._values[self._next()]
        return _at(self._item, self._path())

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


class _Condition(_Expression):
    """Comparisons, BETWEEN, IN and functions of attributes, with AND, OR, NOT and parentheses."""

    def result(self) -> bool:
        result = self._any()
        if self._tokens:
            raise Unsupported(self._text)
        return result

    def _any(self) -> bool:
        result = self._all()
        while self._skips("OR"):
            result = self._all() or result  # the right side first: its tokens must be consumed
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
                is_present = _at(self._item, self._path()) is not None
                self._expect(")")
                return is_present is wanted
        if self._skips("contains"):
            return self._contains()
        left = self._operand()
        if self._skips("BETWEEN"):
            lower = self._operand()
            self._expect("AND")
            return self._compared(lower, "<=", left) & self._compared(left, "<=", self._operand())
        if self._skips("IN"):
            return any(self._compared(left, "=", choice) for choice in self._choices())
        return self._compared(left, self._next(), self._operand())

    def _contains(self) -> bool:
        self._expect("(")
        members = _at(self._item, self._path())
        self._expect(",")
        given = self._operand()
        self._expect(")")
        if given is None or "S" not in given or (members is not None and "SS" not in members):
            raise Unsupported(f"{self._text}: contains is emulated for string sets")
        return members is not None and given["S"] in members["SS"]

    def _choices(self) -> list[Value | None]:
        self._expect("(")
        choices = [self._operand()]
        while self._skips(","):
            choices.append(self._operand())
        self._expect(")")
        return choices

    def _compared(self, left: Value | None, sign: str, right: Value | None) -> bool:
        if sign == "=":
            return left is not None and right is not None and value_of(left) == value_of(right)
        if sign == "<>":
            return left is None or right is None or value_of(left) != value_of(right)
        if sign not in _ORDER:
            raise Unsupported(self._text)
        if left is None or right is None or left.keys() != right.keys():
            return False
        return bool(_ORDER[sign](value_of(left)[1], value_of(right)[1]))


class _Update(_Expression):
    """SET with values, attributes and if_not_exists, REMOVE, and ADD and DELETE of string sets.

    All read the item as it was before the update.
    """

    def result(self) -> Item:
        item, changed, clauses = self._item, set[Path](), set[str]()
        while self._tokens:
            clause = self._next()
            if clause not in ("SET", "REMOVE", "ADD", "DELETE") or clause in clauses:
                raise Unsupported(self._text)
            clauses.add(clause)
            more = True
            while more:
                path = self._path()
                if any(path[: len(other)] == other or other[: len(path)] == path for other in changed):
                    raise Unsupported(f"{self._text}: two of its paths overlap")
                changed.add(path)
                item = self._replaced(item, path, self._value(clause, path))
                more = self._skips(",")
        return item

    def _value(self, clause: str, path: Path) -> Value | None:
        if clause == "SET":
            return self._assigned()
        if clause == "REMOVE":
            return None
        present, given = _at(self._item, path), self._operand()
        if given is None or "SS" not in given or (present is not None and "SS" not in present):
            raise Unsupported(f"{self._text}: {clause} is emulated for string sets")
        members = set(present["SS"] if present is not None else ())
        members = members | set(given["SS"]) if clause == "ADD" else members - set(given["SS"])
        return {"SS": sorted(members)} if members else None

    def _assigned(self) -> Value:
        self._expect("=")
        value = self._source()
        if value is None:
            raise Unsupported(f"{self._text}: the value to set is missing")
        return value

    def _source(self) -> Value | None:
        if not self._skips("if_not_exists"):
            return self._operand()
        self._expect("(")
        present = _at(self._item, self._path())
        self._expect(",")
        other = self._source()
        self._expect(")")
        return other if present is None else present

    def _replaced(self, item: Item, path: Path, value: Value | None) -> Item:
        name, *below = path
        if below:
            if "M" not in item.get(name, {}):
                raise Unsupported(f"{self._text}: there is no map at {name}")
            value = {"M": self._replaced(item[name]["M"], tuple(below), value)}
        kept = {other: attribute for other, attribute in item.items() if other != name}
        return kept if value is None else {**kept, name: value}


def _at(item: Item, path: Path) -> Value | None:
    name, *below = path
    value = item.get(name)
    if value is None or not below:
        return value
    return _at(value["M"], tuple(below)) if "M" in value else None
