"""Defines the objects of Jenkins' remote API, and parses the query parameter `tree`.

With this parameter, a client selects which properties of an object Jenkins returns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Json: TypeAlias = "str | int | bool | list[Json] | dict[str, Json] | None"
Value: TypeAlias = "str | int | bool | Bean | list[Bean] | None"

_NAME = re.compile(r"\w+")
_RANGE = re.compile(r"\{(\d+),(\d+)\}")
# This property of a job lists all its builds. Jenkins shows it only if a tree names it, because the list can be long.
_ON_REQUEST = "allBuilds"


@dataclass(frozen=True)
class Bean:
    """An object of Jenkins' remote API.

    Attributes:
        java_class: The object's Java class, which Jenkins shows as `_class`; empty if Jenkins shows none.
        fields: The object's properties, by name.
        reference: Names of the properties that Jenkins shows if this object is part of another object and the request
            has no `tree`. `None` means all properties.
    """

    java_class: str
    fields: Mapping[str, Value] = field(default_factory=dict)
    reference: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Tree:
    """The properties that the query parameter `tree` selects from an object, or from each object in a list.

    Attributes:
        children: The names of the selected properties. Each name is mapped to the tree for the property's value.
        start: For a list, the index of the first object to select.
        stop: For a list, the index after the last object to select. `None` selects up to the end of the list.
    """

    children: Mapping[str, Tree] = field(default_factory=dict)
    start: int = 0
    stop: int | None = None


def parse_tree(text: str) -> Tree:
    """Parse the value of a query parameter `tree`, such as `builds[number,url]{0,50}`.

    Raises:
        ValueError: The value is malformed, or a range lacks a number, as in `{,50}`, which Jenkins would accept.
    """
    children, rest = _parse_list(text)
    if rest:
        raise ValueError(f"unexpected {rest!r}")
    return Tree(children)


def _parse_list(text: str) -> tuple[dict[str, Tree], str]:
    children: dict[str, Tree] = {}
    while name := _NAME.match(text):
        text = text[name.end() :]
        below: dict[str, Tree] = {}
        if text.startswith("["):
            below, text = _parse_list(text[1:])
            if not text.startswith("]"):
                raise ValueError(f"expected ] before {text!r}")
            text = text[1:]
        start, stop = 0, None
        if span := _RANGE.match(text):
            start, stop = int(span[1]), int(span[2])
            text = text[span.end() :]
        children[name[0]] = Tree(below, start, stop)
        if not text.startswith(","):
            return children, text
        text = text[1:]
    raise ValueError(f"expected a name before {text!r}")


def export(bean: Bean, tree: Tree | None) -> dict[str, Json]:
    """Return the properties of a bean, and its Java class as `_class`, as a JSON object.

    Args:
        bean: An object of Jenkins' remote API.
        tree: The properties to return; names that the bean does not have are ignored. `None` stands for the properties
            that Jenkins shows without the parameter `tree`: all except `allBuilds`.
    """
    if tree is None:
        return _whole(bean, [name for name in bean.fields if name != _ON_REQUEST])
    shown = _java_class(bean)
    for name, value in bean.fields.items():
        if name in tree.children:
            shown[name] = _selected(value, tree.children[name])
    return shown


def _selected(value: Value, tree: Tree) -> Json:
    match value:
        case Bean():
            return export(value, tree)
        case list():
            return [export(bean, tree) for bean in value[tree.start : tree.stop]]
    return value


def _whole(bean: Bean, names: list[str] | tuple[str, ...]) -> dict[str, Json]:
    return _java_class(bean) | {name: _by_default(bean.fields[name]) for name in names}


def _by_default(value: Value) -> Json:
    match value:
        case Bean():
            return _whole(value, tuple(value.fields) if value.reference is None else value.reference)
        case list():
            return [_by_default(bean) for bean in value]
    return value


def _java_class(bean: Bean) -> dict[str, Json]:
    return {"_class": bean.java_class} if bean.java_class else {}
