"""The parser of the command line, and the types of arguments that several commands share."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

WRONG_USAGE = 2
"""The exit code if the arguments are wrong, as in argparse."""


class Parser(argparse.ArgumentParser):
    """A parser that prints each error in one line, with a hint such as `see orchestrator invoke --help`."""

    def parse_known_args(  # type: ignore[override]  # argparse's overloads differ only in the namespace's type
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse the arguments, and exit if there are unknown ones.

        argparse itself would report a command's unknown arguments together with the usage of `orchestrator`, which
        lists only the commands.
        """
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Print the error in one line, and exit with the code 2."""
        self.exit(WRONG_USAGE, f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help\n")


def positive(text: str) -> int:
    """Convert an argument to an integer of at least 1.

    Raises:
        ArgumentTypeError: The argument is not an integer, or is less than 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!a} is not a whole number of at least 1")
    return int(text)


def port(text: str) -> int:
    """Convert an argument to the number of a TCP port.

    Raises:
        ArgumentTypeError: The argument is not an integer from 1 to 65535.
    """
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!a} is not a port, a whole number from 1 to 65535")
    return int(text)
