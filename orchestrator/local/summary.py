"""Prints the summary of a local run at a terminal: events, builds and callbacks."""

from collections.abc import Iterable, Mapping
from typing import TextIO

from orchestrator.local.http_server import Request

_VALUE_LENGTH = 200
_BODY_LENGTH = 2000


def heading(stream: TextIO | None, file: str) -> None:
    """Print the heading of an event's file; `None` prints nothing, as in every function here."""
    if stream is not None:
        print(f"\n== {file}", file=stream, flush=True)


def builds(stream: TextIO | None, variables: Mapping[str, Mapping[str, str]], *, values_shown: bool) -> None:
    """Print the requested builds with their variables.

    Args:
        variables: Variables by run id.
        values_shown: Whether to print values, too; those of a real account may be secret.
    """
    if stream is None:
        return
    for run_id, sent in variables.items():
        print(f"   run {run_id} was requested with {len(sent)} variables:", file=stream)
        width = max(map(len, sent), default=0)
        for name, value in sent.items():
            print(f"     {name:<{width}}  {_cut(value) if values_shown else '…'}", file=stream)
    stream.flush()


def events(stream: TextIO | None, published: Iterable[tuple[str, str]], *, values_shown: bool) -> None:
    """Print the published events.

    Args:
        published: The type and the detail of each event.
        values_shown: Whether to print details, too.
    """
    if stream is None:
        return
    for event_type, detail in published:
        print(f"   event {_cut(event_type)} was published:", file=stream)
        print(f"     {_cut(detail, _BODY_LENGTH) if values_shown else '…'}", file=stream)


def callbacks(stream: TextIO | None, requests: Iterable[Request]) -> None:
    """Print the requests that the emulated control plane received."""
    if stream is None:
        return
    for request in requests:
        print(f"   callback to {request.headers['Host']}{request.path}:", file=stream)
        print(f"     {_cut(request.body.decode(), _BODY_LENGTH)}", file=stream)


def _cut(value: str, length: int = _VALUE_LENGTH) -> str:
    cut = value if len(value) <= length else f"{value[:length]}… ({len(value)} characters)"
    # The value comes from an event. Escaped, it can neither move the cursor nor look like a line of the summary.
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in cut)
