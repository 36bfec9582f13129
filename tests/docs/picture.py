"""Draws README's picture: a terminal in which README's main command has run. `make picture` writes it.

python -m tests.docs.picture
"""

import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import CONSOLE_SVG_FORMAT, Console  # type: ignore[attr-defined]  # documented, not exported
from rich.text import Text

from tests.support.lambda_runtime import ROOT
from tests.support.terminal import on_terminal

PICTURE = Path(__file__).with_name("terminal.svg")
COLUMNS = 110
# The ids of builds are random; all others come from the sample event. Digits and letters stay as many as they were.
_BUILD = re.compile(r"(?<=:|A)[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_SAME_BUILD = "8f14e45f-ceea-467f-a8d1-c9f0f895fb98"
# Without the fonts that rich would have a browser fetch.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main() -> None:
    """Write the picture."""
    PICTURE.write_text(drawn(), encoding="utf-8")


def drawn() -> str:
    """Run README's main command, and return the picture of its terminal as SVG.

    Raises:
        AssertionError: The command failed.
    """
    command = main_command()
    screen = on_terminal(shlex.split(command)[1:], COLUMNS)
    assert screen.code == 0, screen.text
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="256")
    for line in AnsiDecoder().decode(_BUILD.sub(_SAME_BUILD, screen.text)):
        for part in _folded(line):
            console.print(part, highlight=False, no_wrap=True)
    return console.export_svg(title=f"$ {command}", code_format=_FORMAT, unique_id="terminal")


def main_command() -> str:
    """Return the part of README's main command that comes after the installation."""
    (found,) = re.findall(r"^pip install .* && (orchestrator invoke .*)$", (ROOT / "README.md").read_text(), re.M)
    return str(found)


def _folded(line: Text) -> Iterator[Text]:
    """Fold a line as a terminal does: at its width, not between words."""
    yield from line.divide(range(COLUMNS, max(len(line), 1), COLUMNS))


if __name__ == "__main__":
    main()
