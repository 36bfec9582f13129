"""Objects of Jenkins' remote API, and the `tree` parameter that selects some of their properties."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Json: TypeAlias = "str | int | bool | list[Json] | dict[str, Json] | None"
Value: TypeAlias = "str | int | bool | Bean | list[Bean] | None"

_NAME = re.compile(r"\w+")
_RANGE = re.compile(r"\{(\d+),(\d+)\}")
# Jenkins shows this property only if a tree names it, because the list can be long.
_ON_REQUEST = "allBuilds"


@dataclass(frozen=True)
class Bean:
    """An object of the API.

    Attributes:
        java_class: Its Java class; empty if Jenkins shows none.
        fields: Its properties.
        reference: Names of the properties that Jenkins shows where another object contains this one, unless a tree
            selects others. `None` shows all.
    """

    java_class: str
    fields: Mapping[str, Value] = field(default_factory=dict)
    reference: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Tree:
    """The properties that a `tree` parameter selects from an object.

    From a list of objects, only those from index `start` up to, but not including, `stop` are selected.
    """

    children: Mapping[str, Tree] = field(default_factory=dict)
    start: int = 0
    stop: int | None = None


def parse_tree(text: str) -> Tree:
    """Parse a `tree` parameter, such as `builds[number,url]{0,50}`.

    Raises:
        ValueError: The parameter is malformed, or one of its ranges is not of the form `{0,50}`.
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
    """Return the JSON of an object: the properties that `tree` selects, or those that Jenkins shows by default."""
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
