"""The command `orchestrator`: writes and builds projects, runs handlers, emulates AWS, and operates a stack."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from orchestrator.cli import build, emulate, explain, failures, init, invoke, jobs, redrive, routes, schema, status
from orchestrator.cli.arguments import Parser
from orchestrator.cli.bridge import command as bridge
from orchestrator.cli.output import print_failure

_HANDLER = "orchestrator.handler:lambda_handler"
_EXIT_CODES = """\
exit codes:
  0    done
  1    something failed, which a line on standard error names, or the reader of the output has gone
  2    the arguments are wrong, so nothing was done
  130  ended by Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code (see `_EXIT_CODES`).

    Args:
        arguments: The words of the command line after the program's name. `None` takes them from `sys.argv`.

    Raises:
        SystemExit: The arguments are wrong, or contain `--help` or `--version`.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "run"):
        parser.error("name a COMMAND")
    try:
        return int(options.run(options))
    except BrokenPipeError:
        # The program that reads the output, such as `head`, has exited. Python flushes `sys.stdout` at its own exit.
        # That would fail, so there must be nothing to flush.
        sys.stdout = None
        return 1
    except KeyboardInterrupt:
        return 130  # the exit code that shells use for SIGINT
    except Exception as error:  # users see one line for any error; --debug adds the traceback
        print_failure(error, debug=options.debug)
        return 1


def _parser() -> argparse.ArgumentParser:
    basic = argparse.ArgumentParser(add_help=False)
    basic.add_argument("--debug", action="store_true", help="show tracebacks")
    basic.add_argument("-q", "--quiet", action="store_true", help="print only the answer and errors")
    shared = argparse.ArgumentParser(add_help=False, parents=[basic])
    shared.add_argument("--handler", default=_HANDLER, metavar="MODULE:NAME", help="the handler (default: %(default)s)")
    added_jobs = argparse.ArgumentParser(add_help=False)
    added_jobs.add_argument(
        "--job",
        action="append",
        default=[],
        dest="jobs",
        metavar="NAME",
        help="add a job to the emulated build systems, besides those of the sample tiers (repeatable)",
    )

    parser: argparse.ArgumentParser = Parser(
        prog="orchestrator",
        description="Write, try, build and operate an orchestrator.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('tenant-orchestrator')}")
    commands = parser.add_subparsers(metavar="COMMAND")

    init.add_to(commands, basic)
    invoke.add_to(commands, shared, added_jobs)
    explain.add_to(commands, shared)
    routes.add_to(commands, shared)
    schema.add_to(commands, shared)
    emulate.add_to(commands, basic, added_jobs)
    build.add_to(commands, basic)
    status.add_to(commands, basic)
    jobs.add_to(commands, basic)
    failures.add_to(commands, basic)
    redrive.add_to(commands, basic)
    bridge.add_to(commands, basic)
    return parser
