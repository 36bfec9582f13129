"""Runs the installed command on a pseudo terminal."""

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.support.lambda_runtime import ROOT

_COMMAND = Path(sys.executable).with_name("orchestrator")
# These would change what the command prints or where it looks.
_REMOVED = ("AWS_", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_", "COLORTERM")


@dataclass(frozen=True, slots=True)
class Screen:
    """What a command has printed on a terminal, with the codes for colours, and its exit code."""

    code: int
    text: str


def on_terminal(arguments: Sequence[str], columns: int = 100, **environment: str) -> Screen:
    """Run the command in the repository's folder, on a terminal with 256 colours and so many columns.

    Args:
        arguments: The command's arguments.
        columns: The terminal's width.
        environment: Environment variables to add.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_REMOVED)}
    ours, theirs = pty.openpty()
    with closing(os.fdopen(ours, "rb", buffering=0)) as screen:
        termios.tcsetwinsize(theirs, (50, columns))
        process = subprocess.Popen(
            [_COMMAND, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env={**kept, "TERM": "xterm-256color", **environment},
        )
        os.close(theirs)
        printed = bytearray()
        while True:
            try:
                part = screen.read(65536)
            except OSError:  # Linux' sign that no process has the terminal open any more
                break
            if not part:
                break
            printed += part
        return Screen(process.wait(), printed.decode().replace("\r\n", "\n"))
