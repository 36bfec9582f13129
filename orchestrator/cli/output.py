"""Prints JSON answers on standard output, and one line for each failure on standard error."""

import json
import sys
import traceback
from typing import Any, TextIO

STDIN = "-"
"""The file name that stands for standard input."""


def print_json(value: Any, stream: TextIO) -> None:
    """Print JSON, indented on a terminal and otherwise in one line."""
    print(json.dumps(value, indent=2 if stream.isatty() else None, ensure_ascii=False), file=stream, flush=True)


def print_failure(error: Exception, *, debug: bool, file: str | None = None) -> None:
    """Print an error in one line; with `debug`, print its traceback first."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    # A group's message already includes its members' messages; str() would add the number of members.
    text = error.message if isinstance(error, ExceptionGroup) else str(error)
    where = "" if file is None else f"{'stdin' if file == STDIN else file}: "
    line = " ".join(f"{type(error).__name__}: {text}".split())
    print(f"orchestrator: {where}{line}", file=sys.stderr)
