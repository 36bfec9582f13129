"""Finds and reads the event files that the command line names."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.cli.output import STDIN
from orchestrator.errors import InvalidEvent
from orchestrator.values.limits import read_json


def find(names: Sequence[str]) -> list[str]:
    """Return the names of the event files. A folder stands for its `.json` files, and `-` for standard input.

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

    Raises:
        InvalidEvent: The file cannot be read, or is not JSON.
    """
    try:
        text = sys.stdin.read() if file == STDIN else Path(file).read_text(encoding="utf-8")
        return read_json(text, parse_constant=_refuse_constant)
    except OSError as error:
        raise InvalidEvent(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidEvent("is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise InvalidEvent(f"is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(f"cannot be read as JSON ({type(error).__name__})") from None


def _refuse_constant(name: str) -> None:
    raise InvalidEvent(f"is not valid JSON: {name} is not a JSON number")
