"""Prints the results of commands as JSON, as YAML or as a table, and each failure as one line on standard error."""

import json
import sys
import traceback
from collections.abc import Sequence
from typing import Any, TextIO

from orchestrator.errors import ConfigurationError
from orchestrator.local.summary import cut

# Longer than a link to a build, which must stay whole.
_LONGEST = 2000

STDIN = "-"
"""On the command line, this file name means standard input."""


def print_json(value: Any, stream: TextIO) -> None:
    """Print a value as JSON: indented if `stream` is a terminal, and otherwise in one line."""
    print(json.dumps(value, indent=2 if stream.isatty() else None, ensure_ascii=False), file=stream, flush=True)


def print_yaml(value: Any, stream: TextIO) -> None:
    """Print a value as YAML.

    Mappings keep their order. A value that occurs several times is written out each time, without anchors and aliases.

    Raises:
        ConfigurationError: PyYAML is not installed.
    """
    try:
        import yaml
    except ModuleNotFoundError:
        raise ConfigurationError(
            "needs PyYAML; install this package with its extra: pip install 'tenant-orchestrator[local]'"
        ) from None

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
        def ignore_aliases(self, data: object) -> bool:
            return True

        def represent_text(self, text: str) -> yaml.ScalarNode:
            return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

        def represent_items(self, items: list[Any]) -> yaml.SequenceNode:
            in_one_line = not any(isinstance(item, dict | list) for item in items)
            return self.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=in_one_line)

    Dumper.add_representer(str, Dumper.represent_text)
    Dumper.add_multi_representer(str, Dumper.represent_text)  # members of enumerations
    Dumper.add_representer(list, Dumper.represent_items)
    yaml.dump(value, stream, Dumper, sort_keys=False, allow_unicode=True, width=120)


def table(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> str:
    """Format rows as a table with a heading. Texts are shortened and escaped; `None` becomes a hyphen."""
    texts = [tuple(columns), *(tuple(cut(text, _LONGEST) if text else "-" for text in row) for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(columns))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in texts)


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
