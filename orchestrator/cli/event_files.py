"""Finds and reads the event files that the command line names."""

import codecs
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.cli.output import STDIN
from orchestrator.errors import InvalidEvent
from orchestrator.values.limits import read_json

# PowerShell's `>` writes UTF-16, and Windows' editors may put a byte-order mark before UTF-8.
_ENCODINGS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFile:
    """The content of an event file, or the error that reading it raised.

    Attributes:
        name: The file as the command line names it. If the command line names the file's folder, the file's path.
        event: The JSON in the file; `None` if the file could not be read.
        error: Why the file could not be read; `None` if it was read.
    """

    name: str
    event: Any = field(default=None, repr=False)
    error: InvalidEvent | None = None


def load(names: Sequence[str]) -> list[EventFile]:
    """Find the event files that the command line names (see `find`), and read them.

    If a file cannot be read, no error is raised; the file's `EventFile` has the error.

    Raises:
        InvalidEvent: A folder has no `.json` file.
    """
    return [_loaded(name) for name in find(names)]


def _loaded(name: str) -> EventFile:
    try:
        return EventFile(name=name, event=read(name))
    except InvalidEvent as error:
        return EventFile(name=name, error=error)


def find(names: Sequence[str]) -> list[str]:
    """Replace each folder by the paths of the `.json` files directly in it. Return other names, and `-`, unchanged.

    Raises:
        InvalidEvent: A folder has no `.json` file.
    """
    files: list[str] = []
    for name in names:
        path = Path(name)
        if name != STDIN and path.is_dir():
            found = sorted(str(file) for file in path.glob("*.json"))
            if not found:
                raise InvalidEvent(f"{name}: contains no .json file; name a file or a folder with events")
            files += found
        else:
            files.append(name)
    return files


def read(file: str) -> Any:
    """Read the JSON in an event file.

    Args:
        file: The path of a file, or `-` for standard input. The content is UTF-8, or UTF-16 with a byte-order mark.

    Raises:
        InvalidEvent: The file cannot be read, or is not JSON.
    """
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        return read_json(_decoded(content), parse_constant=_refuse_constant)
    except OSError as error:
        raise InvalidEvent(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidEvent("is neither UTF-8 text nor UTF-16 with a byte-order mark") from None
    except json.JSONDecodeError as error:
        raise InvalidEvent(f"is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(f"cannot be read as JSON ({type(error).__name__})") from None


def _decoded(content: bytes) -> str:
    return content.decode(_ENCODINGS.get(content[:2], "utf-8-sig"))


def _refuse_constant(name: str) -> None:
    raise InvalidEvent(f"is not valid JSON: {name} is not a JSON number")
