"""Asks the user to confirm before a command changes a real AWS account."""

import argparse
import sys

from orchestrator.errors import ConfigurationError


class Declined(ConfigurationError):
    """The user did not agree, so nothing was done."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option `--yes`."""
    parser.add_argument("--yes", action="store_true", help="do not ask before acting on AWS, as a script needs")


def confirm(purpose: str, *, yes: bool, quiet: bool = False) -> None:
    """Print to standard error what the command is about to do, and ask whether to go on.

    Args:
        purpose: What the command will do, in one sentence without a full stop.
        yes: Whether the user passed `--yes`. If so, nothing is asked.
        quiet: Whether to print nothing if nothing is asked.

    Raises:
        Declined: The answer was not yes, or there is no terminal to ask on.
    """
    if yes and quiet:
        return
    print(purpose, file=sys.stderr, flush=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise Declined("nothing was done, for there is no terminal to ask on; add --yes to agree")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Declined("nothing was done; answer y, or add --yes")
