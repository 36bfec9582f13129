"""Says where the values of a job's variables come from, and which of them may be shown."""

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
"""Where a value comes from."""

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
    """Describe each variable of a job: its name, its value if that may be shown, and where it comes from.

    Args:
        action: The action that starts the job.
        texts: The variables as the job gets them.
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
    """Return the value of a variable as it may be shown; `None` if it may be secret.

    A name that sounds like a secret hides the value. Otherwise short numbers and booleans are shown from any source.
    Texts are shown only from the tier and from this package, since a text of an event or a tenant record may be
    anything. Of an address, only scheme and host are shown.

    Args:
        name: The variable's name.
        given: The value as the action has it.
        text: The value as the job gets it.
        source: Where the value comes from.
    """
    if source == FUNCTION:
        return cut(text)
    if _SECRETIVE.search(name) or isinstance(given, Mapping | list | tuple | set | frozenset):
        return None
    if isinstance(given, int | float | Decimal) and len(text) <= _MAX_DIGITS:
        return text
    return cut(without_path(text)) if source == TIER else None


def without_path(text: str) -> str:
    """Return an address with an ellipsis in place of everything behind its host. Return any other text unchanged."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
        rest = "/…" if parts.path.strip("/") or parts.query or parts.fragment else ""
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{rest}"
    except ValueError:
        return "…"


def holds(data: Any, name: str, text: str) -> bool:
    """Whether there is a member with this name, and with a value that becomes this text, anywhere in JSON-like data."""
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
