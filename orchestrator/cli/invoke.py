"""The command `orchestrator invoke`: runs a handler on event files."""

import argparse
import contextlib
import sys
from collections.abc import Iterator

from orchestrator.cli import event_files
from orchestrator.cli.account import STACK_HELP, adopted, opened
from orchestrator.cli.confirm import add_option, confirm
from orchestrator.cli.follow import follow
from orchestrator.cli.load import load_handler
from orchestrator.cli.output import print_failure, print_json
from orchestrator.errors import ConfigurationError


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command `invoke` to the parser's commands.

    Args:
        parents: Parsers that define the options which `invoke` shares with other commands.
    """
    parser = commands.add_parser(
        "invoke",
        parents=parents,
        help="run the handler on event files",
        description="Run the handler on events. By default, AWS, Jenkins and the control plane are emulated in this "
        "process. Standard output gets the handler's JSON answers, one for each event; everything else goes to "
        "standard error. With --aws or --stack, it says what it will do and asks first.",
        epilog="Example: orchestrator invoke --stack my-tenants --yes event.json",
    )
    parser.add_argument("events", nargs="+", metavar="EVENT", help="a JSON file, a folder of them, or - for stdin")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--endpoint-url", metavar="URL", help="use a running AWS emulator; Jenkins stays in this process"
    )
    where.add_argument(
        "--aws", action="store_true", help="use the real AWS and Jenkins that this shell's settings name"
    )
    where.add_argument(
        "--follow",
        action="store_true",
        help="feed what is published back in and end the emulated jobs, until nothing is left to happen, and print "
        "each step: on a terminal in place of the answers, otherwise to standard error",
    )
    where.add_argument("--stack", metavar="NAME", help=f"use the real AWS and Jenkins: {STACK_HELP}")
    add_option(parser)
    parser.add_argument(
        "--fail",
        action="append",
        default=[],
        dest="failing",
        metavar="JOB",
        help="with --follow: let the runs of this job fail (repeatable)",
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="print the summary even if standard error is not a terminal; with --follow: the function's log",
    )
    parser.set_defaults(run=_invoke)


def _invoke(options: argparse.Namespace) -> int:
    if options.follow:
        return follow(options)
    if options.failing:
        raise ConfigurationError(f"--fail {options.failing[0]}: only --follow ends jobs; add --follow")
    from orchestrator.local import environment, recorder, summary
    from orchestrator.local.lambda_context import LocalContext

    files = event_files.find(options.events)
    answers, summary_stream = sys.stdout, sys.stderr if options.verbose or sys.stderr.isatty() else None
    failures, surroundings, is_real = 0, None, bool(options.aws or options.stack)
    with contextlib.ExitStack() as stack:
        recording = stack.enter_context(recorder.recorded())
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # keeps logs and metrics apart from answers
        if options.endpoint_url:
            surroundings = stack.enter_context(environment.emulator(options.endpoint_url, options.jobs))
        elif is_real:
            stack.enter_context(_real_account(options, len(files)))
        else:
            surroundings = stack.enter_context(environment.embedded(options.jobs))
        handler = load_handler(options.handler)
        for file in files:
            summary.heading(summary_stream, file)
            recording.clear()
            try:
                answer = handler(event_files.read(file), LocalContext())
                print_json(answer, answers)
            except BrokenPipeError:
                raise  # the program that reads the answers has exited
            except Exception as error:  # a user's handler may raise anything
                failures += 1
                print_failure(error, debug=options.debug, file=file)
            if surroundings is not None:
                recording.variables.update(recorder.jenkins_variables(surroundings.jenkins))
                surroundings.jenkins.requests.clear()
                summary.callbacks(summary_stream, surroundings.control_plane.requests)
                surroundings.control_plane.requests.clear()
            summary.events(summary_stream, recording.published, values_shown=not is_real)
            summary.builds(summary_stream, recording.variables, values_shown=not is_real)
    return 1 if failures else 0


@contextlib.contextmanager
def _real_account(options: argparse.Namespace, events: int) -> Iterator[None]:
    """Ask the person to agree. If the options name a stack, its settings are in the environment in the `with` block.

    Args:
        options: The command's options.
        events: The number of events that will be handled, for the question.

    Raises:
        Declined: The person has not agreed.
    """
    account = opened(options)
    purpose = f"{events} event{'s' * (events != 1)} will be handled in this process, with {account.place}"
    confirm(f"{purpose}: real jobs are started, records written, webhooks sent and events published", yes=options.yes)
    with adopted(account.deployed):
        yield
