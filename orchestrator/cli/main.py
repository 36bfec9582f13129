"""The command `orchestrator`: runs the handler on sample events, shows the registry, and emulates AWS."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from orchestrator.cli import emulate, invoke, routes
from orchestrator.cli.output import print_failure

_HANDLER = "orchestrator.handler:lambda_handler"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the exit code: 1 if anything failed, 130 after Ctrl-C.

    Args:
        arguments: The command line without the program's name; `None` reads `sys.argv`.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except BrokenPipeError:
        # The program that reads the output, such as `head`, has exited. Python flushes sys.stdout at exit, which would
        # fail.
        sys.stdout = None
        return 1
    except KeyboardInterrupt:
        return 130  # the exit code that shells use for SIGINT
    except Exception as error:  # users see one line for any error; --debug adds the traceback
        print_failure(error, debug=options.debug)
        return 1


def _parser() -> argparse.ArgumentParser:
    debugging = argparse.ArgumentParser(add_help=False)
    debugging.add_argument("--debug", action="store_true", help="show tracebacks")
    shared = argparse.ArgumentParser(add_help=False, parents=[debugging])
    shared.add_argument("--handler", default=_HANDLER, metavar="MODULE:NAME", help="the handler (default: %(default)s)")

    parser = argparse.ArgumentParser(prog="orchestrator", description="Try the orchestrator on this machine.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('orchestrator')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    invoke.add_to(commands, shared)
    routes.add_to(commands, shared)
    emulate.add_to(commands, debugging)
    return parser
