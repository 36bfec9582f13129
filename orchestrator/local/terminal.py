"""Prints lines, and shows progress bars.

Colours and bars need a terminal and the package rich. Without them, lines are plain text, and there are no bars.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class Lines:
    """Prints lines to a stream.

    On a terminal, words such as `DEPLOYED` and `failed` are coloured if rich is installed. Lines are never wrapped, so
    that links stay whole.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Create the printer.

        Args:
            stream: The stream; `None` prints nothing.
        """
        self._stream = stream
        self._console = _console(stream)

    def print(self, line: str, style: str = "") -> None:
        """Print a line.

        Args:
            line: The text; it may contain line breaks.
            style: Name of a style in `orchestrator.local.colours`, such as `heading`, for the whole line. By default,
                only some words are coloured.
        """
        if self._console is not None:
            self._console.print(line, style=style or None)
        elif self._stream is not None:
            print(line, file=self._stream, flush=True)


class ProgressBar:
    """A progress bar on standard error, if that is a terminal and rich is installed.

    The bar is only visible during the `with` blocks of `step`. Between two steps, lines can be printed as usual.
    """

    def __init__(self, description: str, total: int, *, shown: bool = True) -> None:
        """Create the bar.

        Args:
            description: The text before the bar, such as `events`.
            total: The number of steps. With one step, there is no bar.
            shown: Whether to show the bar at all.
        """
        self._progress = _progress(description, total) if shown and total > 1 else None

    @contextmanager
    def step(self) -> Iterator[None]:
        """Show the bar during the `with` block, and count the block as one step."""
        if self._progress is None:
            yield
            return
        self._progress.start()
        try:
            yield
        finally:
            self._progress.advance(self._progress.task_ids[0])
            self._progress.stop()


def _console(stream: TextIO | None) -> "Console | None":
    if stream is None or not stream.isatty():
        return None
    try:
        from orchestrator.local import colours
    except ModuleNotFoundError:  # rich is only in the extra `local`
        return None
    return colours.console(stream)


def _progress(description: str, total: int) -> "Progress | None":
    console = _console(sys.stderr)
    if console is None:
        return None
    from orchestrator.local import colours

    return colours.progress(console, description, total)
