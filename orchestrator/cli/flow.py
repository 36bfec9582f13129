"""Lists what consumers can lead to, describes their conditions, and derives identifiers for the nodes of diagrams."""

import ast
import inspect
import re
from collections.abc import Callable, Iterable

from orchestrator.consumer import Consumer
from orchestrator.registry import Registry

# Words of Mermaid's flowcharts that cannot be the name of a node.
_RESERVED = frozenset(
    {"call", "class", "classDef", "click", "default", "direction", "end", "flowchart", "graph", "href", "style"}
    | {"linkStyle", "subgraph"}
)


def follows(consumer: Consumer) -> list[str]:
    """Return what a consumer declares that it leads to: the event types of its `ending`, and its `leads_to`."""
    return list(dict.fromkeys((*consumer.ending_types, *consumer.leads_to)))


def following_types(registry: Registry) -> list[str]:
    """Return the types of the events that a registry's consumers declare in their `ending` and `leads_to`.

    A text in a consumer's `leads_to` counts as an event type if it has no space, or if a consumer of the registry takes
    events of that type or declares that type in an `EndingEvent`.
    """
    known = {event_type for consumer in registry for event_type in (*consumer.types, *consumer.ending_types)}
    texts = dict.fromkeys(text for consumer in registry for text in follows(consumer))
    return [text for text in texts if text in known or not re.search(r"\s", text)]


def condition(consumer: Consumer) -> str | None:
    """Describe the condition of a consumer: the name of the function, or the expression of a lambda.

    If the expression cannot be read from the source, the lambda's qualified name is returned instead, such as
    `register.<locals>.<lambda>`. Return `None` if the consumer has no condition.
    """
    if consumer.when is None:
        return None
    return (_expression(consumer.when) if inspect.isfunction(consumer.when) else None) or name_of(consumer.when)


def conditions_of(handler: object) -> dict[str, str]:
    """Return the conditions of a handler's consumers as texts, by the consumer's name.

    Consumers without a condition are left out. The result is empty if this package did not create the handler.
    """
    registry = getattr(handler, "registry", None)
    consumers = registry if isinstance(registry, Registry) else ()
    return {one.name: text for one in consumers if (text := condition(one)) is not None}


def name_of(function: object) -> str:
    """Return the qualified name of a function. For any other callable, return the qualified name of its class."""
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def identifiers(*groups: Iterable[str]) -> list[dict[str, str]]:
    """Derive an identifier of ASCII letters, digits and underscores from each string.

    Returns:
        For each group, a mapping from its strings to their identifiers. The identifiers are unique across all groups,
        and none is a reserved word of Mermaid.
    """
    taken = set(_RESERVED)
    found: list[dict[str, str]] = []
    for group in groups:
        names: dict[str, str] = {}
        for text in dict.fromkeys(group):
            plain = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "unnamed"
            candidates = (plain, *(f"{plain}_{number}" for number in range(2, len(taken) + 3)))
            names[text] = next(name for name in candidates if name not in taken)
            taken.add(names[text])
        found.append(names)
    return found


def _expression(function: Callable[..., object]) -> str | None:
    code = getattr(function, "__code__", None)
    if code is None or code.co_name != "<lambda>":
        return None
    try:
        lines, _ = inspect.findsource(function)
        tree = ast.parse("".join(lines))
    except (OSError, SyntaxError):
        return None
    places = set(code.co_positions())  # of the instructions; that of the return is the place of the expression
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    found = [body for body in bodies if (body.lineno, body.end_lineno, body.col_offset, body.end_col_offset) in places]
    return ast.unparse(found[0]) if len(found) == 1 else None
