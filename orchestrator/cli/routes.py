"""The command `orchestrator routes`: shows the consumers of a registry as a table, as JSON, or as a diagram."""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from orchestrator.cli.load import load
from orchestrator.cli.output import print_json
from orchestrator.errors import ConfigurationError
from orchestrator.registry import Registry

_COLUMNS = ("EVENT TYPE", "CONSUMER", "CONDITION", "FUNCTION")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command `routes` to the parser's commands.

    Args:
        parents: Parsers that define the options which `routes` shares with other commands.
    """
    parser = commands.add_parser("routes", parents=parents, help="show which consumer takes which event")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--mermaid", action="store_true", help="print a Mermaid diagram")
    parser.set_defaults(run=_routes)


def _routes(options: argparse.Namespace) -> int:
    loaded = load(options.handler)
    registry = loaded if isinstance(loaded, Registry) else getattr(loaded, "registry", None)
    if not isinstance(registry, Registry):
        raise ConfigurationError(
            f"--handler {options.handler}: has no registry; create the handler with create_handler(registry)"
        )
    entries = routes(registry)
    if options.json:
        print_json(entries, sys.stdout)
    else:
        print(as_mermaid(entries) if options.mermaid else as_table(entries))
    return 0


class Route(TypedDict):
    """One event type, and one consumer that takes events of this type.

    Attributes:
        condition: Name of the function that decides whether the consumer takes an event. `None` means that the
            consumer takes every event of the type.
        function: The function that the consumer runs, as `module:name`.
        leadsTo: What the consumer can cause: the types of further events, and descriptions of effects that are not
            events, such as `status webhook`.
    """

    eventType: str
    consumer: str
    condition: str | None
    function: str
    leadsTo: list[str]


def routes(registry: Registry) -> list[Route]:
    """Return one route for each event type of each consumer in the registry."""
    return [
        Route(
            eventType=event_type,
            consumer=consumer.name,
            condition=None if consumer.when is None else _name(consumer.when),
            function=f"{getattr(consumer.function, '__module__', '?')}:{_name(consumer.function)}",
            leadsTo=list(dict.fromkeys(filter(None, (*consumer.leads_to, consumer.failure_type)))),
        )
        for consumer in registry
        for event_type in consumer.types
    ]


def as_table(entries: Sequence[Route]) -> str:
    """Format routes as a table with a heading."""
    rows: list[Sequence[str]] = [_COLUMNS]
    rows += [(entry["eventType"], entry["consumer"], entry["condition"] or "-", entry["function"]) for entry in entries]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def as_mermaid(entries: Sequence[Route]) -> str:
    """Write routes as the source of a Mermaid flowchart.

    An event type is drawn as a box with round ends, a consumer as a rectangle, and an effect that is not an event as a
    flag. A solid arrow leads from an event type to each consumer that takes events of this type. A dotted arrow leads
    from a consumer to everything that the consumer can cause: event types, and effects that are not events.
    """
    follows = [text for entry in entries for text in entry["leadsTo"]]
    types = _numbered("event", [entry["eventType"] for entry in entries] + [text for text in follows if _is_type(text)])
    ends = _numbered("end", [text for text in follows if not _is_type(text)])
    names = _numbered("consumer", [entry["consumer"] for entry in entries])
    lines = ["flowchart LR"]
    lines += [f'    {node}(["{_quoted(event_type)}"])' for event_type, node in types.items()]
    lines += [f'    {node}["{_quoted(name)}"]' for name, node in names.items()]
    lines += [f'    {node}>"{_quoted(text)}"]' for text, node in ends.items()]
    for entry in entries:
        label = f'|"{_quoted(entry["condition"])}"|' if entry["condition"] else ""
        lines.append(f"    {types[entry['eventType']]} -->{label} {names[entry['consumer']]}")
    dotted = [(names[entry["consumer"]], ({**types, **ends})[text]) for entry in entries for text in entry["leadsTo"]]
    lines += [f"    {source} -.-> {target}" for source, target in dict.fromkeys(dotted)]
    return "\n".join(lines)


def _numbered(prefix: str, texts: Iterable[str]) -> Mapping[str, str]:
    return {text: f"{prefix}{number}" for number, text in enumerate(dict.fromkeys(texts))}


def _is_type(text: str) -> bool:
    return text.isupper() and " " not in text


def _name(function: object) -> str:
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def _quoted(text: str | None) -> str:
    # Mermaid writes special characters as #code; (https://mermaid.js.org/syntax/flowchart.html).
    return "".join(c if c.isalnum() or c in " _-.:" else f"#{ord(c)};" for c in text or "")
