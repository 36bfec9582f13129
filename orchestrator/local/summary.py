"""Prints a summary of each local invocation: the events, builds and callbacks that it caused."""

from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from orchestrator.local.http_server import Request

_VALUE_LENGTH = 200
_BODY_LENGTH = 2000


def heading(stream: TextIO | None, file: str) -> None:
    """Print the name of an event file as a heading. If `stream` is `None`, print nothing."""
    if stream is not None:
        print(f"\n== {file}", file=stream, flush=True)


def builds(stream: TextIO | None, variables: Mapping[str, Mapping[str, str]], *, values_shown: bool) -> None:
    """Print the requested builds with their variables. If `stream` is `None`, print nothing.

    Args:
        variables: The variables of each build, by run id.
        values_shown: Whether to print the variables' values as well as their names. Real values may be secret.
    """
    if stream is None:
        return
    for run_id, sent in variables.items():
        print(f"   run {run_id} was requested with {len(sent)} variables:", file=stream)
        width = max(map(len, sent), default=0)
        for name, value in sent.items():
            print(f"     {name:<{width}}  {cut(value) if values_shown else '…'}", file=stream)
    stream.flush()


def events(stream: TextIO | None, published: Iterable[Mapping[str, Any]], *, values_shown: bool) -> None:
    """Print the published events. If `stream` is `None`, print nothing.

    Args:
        published: The entry of each event, as it was given to PutEvents.
        values_shown: Whether to print the events' details as well as their types. Real details may be secret.
    """
    if stream is None:
        return
    for entry in published:
        print(f"   event {cut(entry['DetailType'])} was published:", file=stream)
        print(f"     {cut(entry['Detail'], _BODY_LENGTH) if values_shown else '…'}", file=stream)


def callbacks(stream: TextIO | None, requests: Iterable[Request]) -> None:
    """Print the callbacks that the emulated control plane received. If `stream` is `None`, print nothing."""
    if stream is None:
        return
    for request in requests:
        print(f"   callback to {request.headers['Host']}{request.path}:", file=stream)
        print(f"     {cut(request.body.decode(), _BODY_LENGTH)}", file=stream)


def cut(value: str, length: int = _VALUE_LENGTH) -> str:
    """Cut a text after `length` characters, and escape its unprintable characters.

    If the text is cut, an ellipsis and the length of the whole text follow.
    """
    short = value if len(value) <= length else f"{value[:length]}… ({len(value)} characters)"
    # The value comes from an event or a record. It is escaped, so it can neither move the cursor nor begin a line.
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in short)
