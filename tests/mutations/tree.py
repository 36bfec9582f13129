"""JSON as a tree that can be mutated, also into what Python's own values cannot hold, such as repeated names."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass
class Literal:
    """JSON text that is written as it is, such as `1e400`."""

    text: str


@dataclass
class Array:
    members: list["Node"]


@dataclass
class Object:
    """An object. A name may occur more than once."""

    members: list[tuple[str, "Node"]]


@dataclass
class Embedded:
    """A string that has JSON in it, such as the body of an SQS message."""

    value: "Node"


Node: TypeAlias = Literal | Array | Object | Embedded | str
Slot: TypeAlias = tuple["Array | Object | Embedded", int]
"""Where a node is: what holds it, and its place there."""

NO_NAME = ""


def tree_of(value: Any) -> Node:
    """Convert a value as `json.loads` returns it. Strings that have a JSON object or list in them become `Embedded`."""
    match value:
        case str():
            return _of_text(value)
        case dict():
            return Object([(name, tree_of(member)) for name, member in value.items()])
        case list():
            return Array([tree_of(member) for member in value])
        case _:
            return Literal(json.dumps(value))


def _of_text(text: str) -> Node:
    if not text.startswith(("{", "[")):
        return text
    try:
        return Embedded(tree_of(json.loads(text)))
    except ValueError:
        return text


def copied(node: Node) -> Node:
    match node:
        case Object():
            return Object([(name, copied(member)) for name, member in node.members])
        case Array():
            return Array([copied(member) for member in node.members])
        case Embedded():
            return Embedded(copied(node.value))
        case Literal():
            return Literal(node.text)
        case _:
            return node


def written(node: Node) -> str:
    """Write a tree as JSON."""
    match node:
        case Literal():
            return node.text
        case Array():
            return f"[{','.join(written(member) for member in node.members)}]"
        case Object():
            return "{" + ",".join(f"{json.dumps(name)}:{written(member)}" for name, member in node.members) + "}"
        case Embedded():
            return json.dumps(written(node.value))
        case _:
            return json.dumps(node)


def slots(node: Node) -> Iterator[Slot]:
    """Yield the place of every node below a node."""
    for place, member in enumerate(children(node)):
        assert not isinstance(node, Literal | str)
        yield node, place
        yield from slots(member)


def children(node: Node) -> list[Node]:
    match node:
        case Object():
            return [member for _, member in node.members]
        case Array():
            return node.members
        case Embedded():
            return [node.value]
        case _:
            return []


def at(slot: Slot) -> Node:
    holder, place = slot
    return children(holder)[place]


def name_of(slot: Slot) -> str:
    """Return the name that an object gives a node; an empty text for members of others."""
    holder, place = slot
    return holder.members[place][0] if isinstance(holder, Object) else NO_NAME


def put(slot: Slot, node: Node) -> None:
    holder, place = slot
    if isinstance(holder, Object):
        holder.members[place] = (holder.members[place][0], node)
    elif isinstance(holder, Array):
        holder.members[place] = node
    else:
        holder.value = node
