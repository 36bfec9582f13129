"""Prints the results of commands as JSON, and prints each failure as one line on standard error."""

import json
import sys
import traceback
from typing import Any, TextIO

STDIN = "-"
"""On the command line, this file name means standard input."""


def print_json(value: Any, stream: TextIO) -> None:
    """Print a value as JSON: indented if `stream` is a terminal, and otherwise in one line."""
    print(json.dumps(value, indent=2 if stream.isatty() else None, ensure_ascii=False), file=stream, flush=True)


def print_failure(error: Exception, *, debug: bool, file: str | None = None) -> None:
    """Print an error in one line on standard error.

    Args:
        debug: Whether to print the error's traceback first.
        file: The event file that was processed when the error occurred. The line contains its name, or
            `stdin` for standard input. `None` means that no event file was processed.
    """
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    # The message of an exception group already includes its members' messages. str() would add their number.
    text = error.message if isinstance(error, ExceptionGroup) else str(error)
    where = "" if file is None else f"{'stdin' if file == STDIN else file}: "
    line = " ".join(f"{type(error).__name__}: {text}".split())
    print(f"orchestrator: {where}{line}", file=sys.stderr)
