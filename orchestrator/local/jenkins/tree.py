"""Cuts objects of Jenkins' remote API to the shape that `tree` and `depth` ask for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Json: TypeAlias = "str | int | bool | list[Json] | dict[str, Json] | None"
Value: TypeAlias = "str | int | bool | Bean | list[Bean] | None"
Fields: TypeAlias = "Mapping[str, Value | Field | Callable[[], Value]]"


@dataclass(frozen=True)
class Field:
    """A property: its value or how to get it, and the nesting down to which it is shown."""

    value: Value | Callable[[], Value]
    visibility: int
    inline: bool = False


@dataclass(frozen=True)
class Bean:
    """An object of the API: its Java class and its properties."""

    kind: str
    fields: Fields = field(default_factory=dict)
    visibility: int = 1


@dataclass
class Tree:
    """The `tree` parameter: the wanted properties by name, and the wanted range of a list."""

    children: dict[str, Tree] = field(default_factory=dict)
    start: int | None = None
    stop: int | None = None

    def enter(self, name: str, _visibility: int, _inline: bool) -> Tree | None:
        """What is wanted below a property; nothing if it was not asked for."""
        return self.children.get(name) or self.children.get("*")


@dataclass(frozen=True)
class Depth:
    """The `depth` parameter: a property is shown if it is visible at this nesting."""

    level: int
    start: None = None
    stop: None = None

    def enter(self, _name: str, visibility: int, inline: bool) -> Depth | None:
        """What is wanted below a property; nothing if it is not shown at this nesting."""
        if visibility < self.level:
            return None
        return self if inline else Depth(self.level + 1)


def export(bean: Bean, tree: str | None = None, depth: int = 0) -> dict[str, Json]:
    """The JSON of a bean.

    Args:
        bean: What to show.
        tree: Wanted properties, such as `builds[number,url]{0,50}`; it overrides `depth`.
        depth: How far below the object its relations are shown whole.

    Raises:
        ValueError: `tree` is malformed.
    """
    return _export(bean, Depth(1 - depth) if tree is None else parse_tree(tree))


def parse_tree(text: str) -> Tree:
    """Read a `tree` expression.

    Raises:
        ValueError: The expression is malformed.
    """
    tokens = [*re.findall(r"[\[\]{},]|[^\[\]{},]+", text), ""]
    tree = _parse_list(tokens)
    if tokens != [""]:
        message = f"unexpected {tokens[0]!r}"
        raise ValueError(message)
    return tree


def _parse_list(tokens: list[str]) -> Tree:
    tree = Tree()
    while True:
        name = tokens.pop(0)
        if not name or name in "[]{},":
            message = f"expected a name before {name!r}"
            raise ValueError(message)
        child = Tree()
        if tokens[0] == "[":
            tokens.pop(0)
            child = _parse_list(tokens)
            _expect(tokens, "]")
        if tokens[0] == "{":
            tokens.pop(0)
            child.start, child.stop = _parse_range(tokens)
        tree.children[name] = child
        if tokens[0] != ",":
            return tree
        tokens.pop(0)


def _parse_range(tokens: list[str]) -> tuple[int, int | None]:
    start = int(tokens.pop(0)) if tokens[0] != "," else 0
    stop: int | None = start + 1
    if tokens[0] == ",":
        tokens.pop(0)
        stop = int(tokens.pop(0)) if tokens[0] != "}" else None
    _expect(tokens, "}")
    return start, stop


def _expect(tokens: list[str], token: str) -> None:
    if tokens[0] != token:
        message = f"expected {token!r}, not {tokens[0]!r}"
        raise ValueError(message)
    tokens.pop(0)


def _export(bean: Bean, pruner: Tree | Depth) -> dict[str, Json]:
    shown: dict[str, Json] = {"_class": bean.kind} if bean.kind else {}
    for name, value in bean.fields.items():
        prop = value if isinstance(value, Field) else Field(value, bean.visibility)
        below = pruner.enter(name, prop.visibility, prop.inline)
        if below is not None:
            shown[name] = _plain(prop.value() if callable(prop.value) else prop.value, below)
    return shown


def _plain(value: Value, pruner: Tree | Depth) -> Json:
    if isinstance(value, Bean):
        return _export(value, pruner)
    if isinstance(value, list):
        return [_export(item, pruner) for item in value[pruner.start : pruner.stop]]
    return value
