"""The command `orchestrator explain`: shows what the handler would do with an event, and why, but changes nothing."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.cli import event_files
from orchestrator.cli.account import STACK_HELP, adopted, opened
from orchestrator.cli.load import load_application
from orchestrator.cli.output import log_to, print_failure, print_json
from orchestrator.local.terminal import Lines, ProgressBar

if TYPE_CHECKING:
    from orchestrator.application import Application
    from orchestrator.cli.rehearsal.guard import Guard


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command `explain` to the parser's commands.

    Args:
        parents: Parsers that define the options which `explain` shares with other commands.
    """
    parser = commands.add_parser(
        "explain",
        parents=parents,
        help="say what would become of an event, and why, without doing it",
        description="Say what the handler would do with each event and why: which consumers take it, their actions in "
        "order, what the ledger knows already, what would be published and called back, and the settings that "
        "mattered. By default, AWS, Jenkins and the control plane are emulated in this process. The command only "
        "reads, and shows no secrets. The exit code is 0 if the events could be explained, whatever becomes of them.",
        epilog="Example: orchestrator explain --stack my-tenants event.json",
    )
    parser.add_argument("events", nargs="+", metavar="EVENT", help="a JSON file, a folder of them, or - for stdin")
    parser.add_argument("--json", action="store_true", help="print JSON, one value for each event")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--aws", action="store_true", help="read the real AWS that this shell's settings name")
    where.add_argument("--stack", metavar="NAME", help=f"read the real AWS: {STACK_HELP}")
    parser.set_defaults(run=_explain)


def _explain(options: argparse.Namespace) -> int:
    from orchestrator.cli.explanation import explain
    from orchestrator.cli.explanation.text import lines

    files = event_files.find(options.events)
    output, failures, is_first = sys.stdout, 0, True
    printed, bar = Lines(output), ProgressBar("events", len(files), shown=not options.quiet)
    with _surroundings(options), _loaded(options) as (application, guard):
        for file in files:
            try:
                event = event_files.read(file)
                with bar.step(), guard.checked():
                    found = explain(application, event)
            except Exception as error:  # a handler's own stores may raise anything
                failures += 1
                print_failure(error, debug=options.debug, file=file)
                continue
            for explanation in found:
                if options.json:
                    print_json(explanation, output)
                else:
                    heading = [f"== {file}"] if len(files) > 1 else []
                    printed.print("\n".join([*([] if is_first else [""]), *heading, *lines(explanation)]))
                is_first = False
    return 1 if failures else 0


@contextlib.contextmanager
def _surroundings(options: argparse.Namespace) -> Iterator[None]:
    if options.aws or options.stack:
        with adopted(opened(options).deployed):
            yield
    else:
        from orchestrator.local import environment

        with environment.embedded():
            yield


@contextlib.contextmanager
def _loaded(options: argparse.Namespace) -> Iterator[tuple["Application", "Guard"]]:
    """Load the handler. Within the `with` block, its AWS clients can only read, and its log is not shown.

    Yields:
        The handler, and the guard that refuses requests of these clients that could change something.
    """
    from orchestrator.cli.rehearsal.guard import only_reading

    with contextlib.ExitStack() as stack:
        guard = stack.enter_context(only_reading())
        stack.enter_context(log_to(None))
        yield load_application(options.handler), guard
