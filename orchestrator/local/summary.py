"""What a person at a terminal is told of a local run."""

from collections.abc import Iterable, Mapping
from typing import TextIO

from orchestrator.local.http_server import Request

_VALUE_LENGTH = 200
_BODY_LENGTH = 2000


def heading(stream: TextIO | None, file: str) -> None:
    """Say which event comes next.

    Args:
        stream: Where to say it; `None` says nothing.
        file: The event's file.
    """
    if stream is not None:
        print(f"\n== {file}", file=stream, flush=True)


def builds(stream: TextIO | None, variables: Mapping[str, Mapping[str, str]], *, values_shown: bool) -> None:
    """List the builds that were asked for, with their variables.

    Args:
        stream: Where to list them; `None` lists nothing.
        variables: Variables by run id.
        values_shown: Whether values may be seen; else only the names are listed.
    """
    if stream is None:
        return
    for run_id, sent in variables.items():
        print(f"   build {run_id} was asked for with {len(sent)} variables:", file=stream)
        width = max(map(len, sent), default=0)
        for name, value in sent.items():
            print(f"     {name:<{width}}  {_cut(value) if values_shown else '…'}", file=stream)
    stream.flush()


def events(stream: TextIO | None, published: Iterable[tuple[str, str]], *, values_shown: bool) -> None:
    """List the events that were published.

    Args:
        stream: Where to list them; `None` lists nothing.
        published: The type and the detail of each.
        values_shown: Whether details may be seen.
    """
    if stream is None:
        return
    for kind, detail in published:
        print(f"   event {_cut(kind)} was published:", file=stream)
        print(f"     {_cut(detail, _BODY_LENGTH) if values_shown else '…'}", file=stream)


def callbacks(stream: TextIO | None, requests: Iterable[Request]) -> None:
    """List the callbacks that the emulated control plane got.

    Args:
        stream: Where to list them; `None` lists nothing.
        requests: What was sent to it.
    """
    if stream is None:
        return
    for request in requests:
        print(f"   callback to {request.headers['Host']}{request.path}:", file=stream)
        print(f"     {_cut(request.body.decode(), _BODY_LENGTH)}", file=stream)


def _cut(value: str, length: int = _VALUE_LENGTH) -> str:
    cut = value if len(value) <= length else f"{value[:length]}… ({len(value)} characters)"
    # A value is somebody else's: it must not move the cursor, or look like a line of ours.
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in cut)
