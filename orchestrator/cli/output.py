"""Prints the results of commands as JSON, as YAML or as a table, and each failure as one line on standard error."""

import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from orchestrator.errors import ConfigurationError
from orchestrator.local.summary import cut
from orchestrator.local.terminal import Lines

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


def table(columns: Sequence[str], rows: Sequence[Sequence[str | None]], width: int | None = None) -> str:
    """Format rows as a table with a heading. Texts are shortened and escaped; `None` and empty texts become hyphens.

    Args:
        width: The number of characters that fit into a line. If the table is wider, each row becomes a block with one
            line for each column, because folded lines would break ids and links. `None` means no limit.
    """
    texts = [tuple(columns), *(tuple(cut(text, _LONGEST) if text else "-" for text in row) for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(columns))]
    if width is not None and sum(widths) + 2 * (len(widths) - 1) > width:
        label = max(map(len, columns))
        blocks = [[f"{name:{label}}  {text}" for name, text in zip(columns, row, strict=True)] for row in texts[1:]]
        return "\n\n".join("\n".join(block) for block in blocks)
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in texts)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str | None]], stream: TextIO) -> None:
    """Print rows as a table. If the table is too wide for the terminal, print each row as a block."""
    width = shutil.get_terminal_size().columns if stream.isatty() else None
    Lines(stream).print(table(columns, rows, width))


@contextmanager
def log_to(stream: TextIO | None) -> Iterator[None]:
    """Within the `with` block, redirect standard output to `stream`. The handler logs to standard output.

    Args:
        stream: The stream; `None` discards the output.
    """
    with ExitStack() as stack:
        log = stream or stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        stack.enter_context(redirect_stdout(log))
        yield


def print_note(text: str, *, quiet: bool) -> None:
    """Print one line on standard error about what the command does, unless the option `--quiet` was given."""
    if not quiet:
        print(f"orchestrator: {text}", file=sys.stderr, flush=True)


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
    print_failed(type(error).__name__, text, file=file)


def print_failed(name: str, text: str, *, file: str | None = None) -> None:
    """Print the class name and the text of an error as `print_failure` does."""
    line = " ".join(f"{name}: {text}".split())
    Lines(sys.stderr).print(f"orchestrator: {'' if file is None else f'{shown_file(file)}: '}{line}", "failure")


def shown_file(file: str) -> str:
    """Return how messages name an event file: `stdin` for standard input; otherwise the name, shortened and escaped."""
    return "stdin" if file == STDIN else cut(file)
