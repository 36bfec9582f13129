"""Finds where the values of a job's variables come from, and which values may be shown."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from orchestrator.action import StartJob
from orchestrator.builders.refused_names import OWN_FAMILY, family_of
from orchestrator.local.summary import cut
from orchestrator.values.text import to_text

TIER, EVENT, RECORD, CONSUMER, FUNCTION = "tier", "event", "tenant record", "consumer", "function"
"""The places from which a variable's value may come."""

_SECRETIVE = re.compile(
    r"secret|context|token|passw|pwd|credential|auth|key|private|certificate|cookie|session|pin$", re.I
)
_MAX_DIGITS = 8  # a longer number may be somebody's, such as that of a telephone


def variables(
    action: StartJob,
    texts: Mapping[str, str],
    *,
    tiers: Iterable[Mapping[str, Any]],
    detail: Mapping[str, Any],
    records: Iterable[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return each variable of a job as a dictionary with the keys `name`, `value` and `from`.

    `value` is `None` if the value may be secret. `from` says where the value comes from, such as `tier`.

    Args:
        action: The action that starts the job.
        texts: The variables as the job gets them, by name.
        tiers: The details of the tiers that the consumer has read.
        detail: The event's detail.
        records: The tenant records that the consumer has read.
    """
    found = []
    for name, text in texts.items():
        source = _source(action, name, text, tiers, detail, records)
        given = {**action.trusted_variables, **action.variables}.get(name)
        found.append({"name": name, "value": _shown(name, given, text, source), "from": source})
    return found


def _shown(name: str, given: Any, text: str, source: str) -> str | None:
    """Return the text to show for a variable's value; `None` if the value may be secret.

    The first of these rules that applies decides:

    - A variable that this package sets is always shown.
    - A variable is hidden if its name sounds secret, or if its value is a collection.
    - Booleans and short numbers are shown.
    - A value from the tier is shown. If the value is a URL, only scheme, host and port are shown.
    - Any other variable is hidden.

    A long text is cut.

    Args:
        name: The variable's name.
        given: The value in the action, before it is converted to text.
        text: The value as the job gets it.
        source: Where the value comes from, such as `tier`.
    """
    if source == FUNCTION:
        return cut(text)
    if _SECRETIVE.search(name) or isinstance(given, Mapping | list | tuple | set | frozenset):
        return None
    if isinstance(given, int | float | Decimal) and len(text) <= _MAX_DIGITS:
        return text
    return cut(without_path(text)) if source == TIER else None


def without_path(text: str) -> str:
    """Reduce a URL to scheme, host and port, and add an ellipsis if a path, query or fragment was left out.

    A malformed URL becomes an ellipsis. A text that does not contain `://` is returned unchanged.
    """
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
        rest = "/…" if parts.path.strip("/") or parts.query or parts.fragment else ""
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{rest}"
    except ValueError:
        return "…"


def holds(data: Any, name: str, text: str) -> bool:
    """Whether JSON-like data contains, at any depth, a member with this name whose value converts to this text."""
    match data:
        case Mapping():
            if name in data and _as_text(data[name]) == text:
                return True
            return any(holds(member, name, text) for member in data.values())
        case list() | tuple():
            return any(holds(member, name, text) for member in data)
        case _:
            return False


def _source(
    action: StartJob,
    name: str,
    text: str,
    tiers: Iterable[Mapping[str, Any]],
    detail: Mapping[str, Any],
    records: Iterable[Mapping[str, Any]],
) -> str:
    if family_of(name) == OWN_FAMILY:
        return FUNCTION
    if name not in action.variables and any(name in tier and _as_text(tier[name]) == text for tier in tiers):
        return TIER
    places = [EVENT] if holds(detail, name, text) else []
    places += [RECORD] if any(holds(record, name, text) for record in records) else []
    return " and ".join(places) or CONSUMER


def _as_text(value: Any) -> str | None:
    with suppress(TypeError, ValueError, RecursionError):
        return to_text(value)
    return None
