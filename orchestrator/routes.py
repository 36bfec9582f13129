"""Shows a registry to a person or a program: as a table, as JSON, or as a diagram."""

from collections.abc import Mapping, Sequence

from orchestrator.registry import Registry

_COLUMNS = ("EVENT TYPE", "CONSUMER", "CONDITION", "FUNCTION")


def routes(registry: Registry) -> list[dict[str, str | None]]:
    """List which consumer takes which event type.

    Args:
        registry: The registry.

    Returns:
        An entry for each event type of each consumer: `eventType`, `consumer`, `condition` (the condition's
        name, `None` where there is none), `function` (where the consumer is defined).
    """
    return [
        {
            "eventType": kind,
            "consumer": consumer.name,
            "condition": None if consumer.when is None else _name(consumer.when),
            "function": f"{getattr(consumer.function, '__module__', '?')}:{_name(consumer.function)}",
        }
        for consumer in registry
        for kind in consumer.types
    ]


def as_table(entries: Sequence[Mapping[str, str | None]]) -> str:
    """Lay routes out in columns.

    Args:
        entries: What `routes` returned.

    Returns:
        A line for the heading and one for each entry.
    """
    rows = [_COLUMNS, *(tuple(value or "-" for value in entry.values()) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def as_mermaid(entries: Sequence[Mapping[str, str | None]]) -> str:
    """Draw routes as a Mermaid flowchart.

    Args:
        entries: What `routes` returned.

    Returns:
        The flowchart's source.
    """
    kinds = list(dict.fromkeys(entry["eventType"] for entry in entries))
    names = list(dict.fromkeys(entry["consumer"] for entry in entries))
    lines = ["flowchart LR"]
    lines += [f'    event{number}(["{_quoted(kind)}"])' for number, kind in enumerate(kinds)]
    lines += [f'    consumer{number}["{_quoted(name)}"]' for number, name in enumerate(names)]
    for entry in entries:
        label = f'|"{_quoted(entry["condition"])}"|' if entry["condition"] else ""
        source, target = kinds.index(entry["eventType"]), names.index(entry["consumer"])
        lines.append(f"    event{source} -->{label} consumer{target}")
    return "\n".join(lines)


def _name(function: object) -> str:
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def _quoted(text: str | None) -> str:
    # Mermaid writes special characters as #code; (https://mermaid.js.org/syntax/flowchart.html).
    return "".join(c if c.isalnum() or c in " _-.:" else f"#{ord(c)};" for c in text or "")
