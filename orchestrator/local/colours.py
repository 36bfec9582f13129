"""Colours lines and progress bars on a terminal.

This module needs the optional package rich. Only the module `terminal` imports this module; if rich is missing,
`terminal` prints plain text.
"""

from typing import TextIO

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.theme import Theme

_STYLES = {
    "heading": "bold",
    "failure": "red",
    "word.good": "green",
    "word.bad": "red",
    "word.waits": "yellow",
    "word.event": "bold cyan",
    "word.link": "underline blue",
}


class _Words(RegexHighlighter):
    """Colours words such as `DEPLOYED` and `failed`, event types, and links."""

    base_style = "word."
    highlights = (
        r"(?P<link>https?://\S+)",
        r"^ *event (?P<event>[^,]+)",
        r"\b(?P<good>DEPLOYED|DEPROVISIONED|PROVISIONED|SUCCEEDED|SUCCESS|started|redriven|handled)\b",
        r"\b(?P<bad>FAILURE|FAILED|FAULT|STOPPED|TIMED_OUT|UNSTABLE|ABORTED|overdue|refused|failed|fails|kept)\b",
        r"\b(?P<bad>\w+_FAILED|no consumer takes it)\b",
        r"\b(?P<waits>waits?|waiting|in doubt|superseded|ignored|skipped|not accepted)\b",
    )


def console(stream: TextIO) -> Console:
    """Create a console that colours words such as `DEPLOYED`.

    Rich's markup, such as `[red]`, is printed unchanged, because the text of an event may contain it.
    """
    return Console(file=stream, theme=Theme(_STYLES), highlighter=_Words(), markup=False, emoji=False, soft_wrap=True)


def progress(console: Console, description: str, total: int) -> Progress:
    """Create a progress bar that disappears when it is stopped."""
    columns = (TextColumn(description), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, redirect_stdout=False)
    bar.add_task(description, total=total)
    return bar
