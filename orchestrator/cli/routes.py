"""The command `orchestrator routes`: shows the consumers of a registry as a table, as JSON, or as a diagram."""

import argparse
import sys
from collections.abc import Sequence
from typing import TypedDict

from orchestrator.cli.flow import condition, following_types, follows, identifiers, name_of
from orchestrator.cli.load import load_registry
from orchestrator.cli.output import print_json, print_table
from orchestrator.registry import Registry

_COLUMNS = ("EVENT TYPE", "CONSUMER", "CONDITION", "LEADS TO", "FUNCTION")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command `routes` to the parser's commands.

    Args:
        parents: Parsers that define the options which `routes` shares with other commands.
    """
    parser = commands.add_parser(
        "routes", parents=parents, help="show which consumer takes which event, on which condition, and what follows"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--mermaid", action="store_true", help="print a Mermaid diagram")
    parser.set_defaults(run=_routes)


def _routes(options: argparse.Namespace) -> int:
    registry = load_registry(options.handler)
    entries = routes(registry)
    if options.json:
        print_json(entries, sys.stdout)
    elif options.mermaid:
        print(as_mermaid(registry))
    else:
        print_table(_COLUMNS, _rows(entries), sys.stdout)
    return 0


class Route(TypedDict):
    """One event type, and one consumer that takes events of this type.

    Attributes:
        condition: Name of the function that decides whether the consumer takes an event, or the expression of a
            lambda. `None` means that the consumer takes every event of the type.
        function: The function that the consumer runs, as `module:name`.
        leadsTo: What the consumer declares that it leads to: types of events, and descriptions of effects that are not
            events, such as `status webhook`.
    """

    eventType: str
    consumer: str
    condition: str | None
    function: str
    leadsTo: list[str]


def routes(registry: Registry) -> list[Route]:
    """Return a route for each pair of a consumer in the registry and an event type that the consumer takes."""
    return [
        Route(
            eventType=event_type,
            consumer=consumer.name,
            condition=condition(consumer),
            function=f"{getattr(consumer.function, '__module__', '?')}:{name_of(consumer.function)}",
            leadsTo=follows(consumer),
        )
        for consumer in registry
        for event_type in consumer.types
    ]


def _rows(entries: Sequence[Route]) -> list[tuple[str | None, ...]]:
    return [
        (entry["eventType"], entry["consumer"], entry["condition"], ", ".join(entry["leadsTo"]), entry["function"])
        for entry in entries
    ]


def as_mermaid(registry: Registry) -> str:
    """Write the routes of a registry as the source of a Mermaid flowchart.

    An event type is drawn as a box with round ends, a consumer as a rectangle, and an effect that is not an event as a
    flag. A solid arrow leads from an event type to each consumer that takes events of this type; its label is the
    consumer's condition. A dotted arrow leads from a consumer to each event type and effect in `Route.leadsTo`.
    """
    entries = routes(registry)
    types = [*(entry["eventType"] for entry in entries), *following_types(registry)]
    effects = [text for entry in entries for text in entry["leadsTo"] if text not in types]
    events, consumers, ends = identifiers(types, (consumer.name for consumer in registry), effects)
    lines = ["flowchart LR"]
    lines += [f'    {node}(["{_quoted(event_type)}"])' for event_type, node in events.items()]
    lines += [f'    {node}["{_quoted(name)}"]' for name, node in consumers.items()]
    lines += [f'    {node}>"{_quoted(text)}"]' for text, node in ends.items()]
    for entry in entries:
        label = f'|"{_quoted(entry["condition"])}"|' if entry["condition"] else ""
        lines.append(f"    {events[entry['eventType']]} -->{label} {consumers[entry['consumer']]}")
    targets = {**events, **ends}
    dotted = [(consumers[entry["consumer"]], targets[text]) for entry in entries for text in entry["leadsTo"]]
    lines += [f"    {source} -.-> {target}" for source, target in dict.fromkeys(dotted)]
    return "\n".join(lines)


def _quoted(text: str | None) -> str:
    # Mermaid writes special characters as #code; (https://mermaid.js.org/syntax/flowchart.html).
    return "".join(c if c.isalnum() or c in " _-.:" else f"#{ord(c)};" for c in text or "")
