"""Prints how far a benchmark is, to standard error: one line that changes on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator

_CLEAR = "\r\x1b[K"


def rounds(name: str, count: int) -> Iterator[int]:
    """Yield the numbers of some rounds from 1, and print each."""
    for number in range(1, count + 1):
        show(f"{name}: round {number} of {count}")
        yield number
    if sys.stderr.isatty():
        print(_CLEAR, end="", file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print what begins now."""
    if sys.stderr.isatty():
        print(f"{_CLEAR}{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)
