"""The command `orchestrator invoke`: runs a handler on event files."""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.cli import event_files
from orchestrator.cli.account import STACK_HELP, adopted, opened
from orchestrator.cli.confirm import add_option, confirm
from orchestrator.cli.event_files import EventFile
from orchestrator.cli.flow import conditions_of
from orchestrator.cli.follow import follow
from orchestrator.cli.load import load_handler
from orchestrator.cli.output import log_to
from orchestrator.errors import ConfigurationError

if TYPE_CHECKING:
    from orchestrator.cli.report import Report
    from orchestrator.local.environment import Surroundings


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
        "process. A terminal gets a summary of each event. If standard output is no terminal, it gets the handler's "
        "JSON answers instead, one for each event, and everything else goes to standard error. With --aws or --stack, "
        "the command says what it will do and asks first.",
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
        "each step in place of the summary",
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
        "--strict", action="store_true", help="an event in a file that no consumer takes has failed: exit code 1"
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="print the function's log to standard error, and the variables of builds, the events and the callbacks",
    )
    parser.set_defaults(run=_invoke)


def _invoke(options: argparse.Namespace) -> int:
    if options.quiet and options.verbose:
        raise ConfigurationError("--quiet and --verbose contradict each other; leave one of the two out")
    if options.follow:
        return follow(options)
    if options.failing:
        raise ConfigurationError(f"--fail {options.failing[0]}: only --follow ends jobs; add --follow")
    from orchestrator.cli.report import Report

    files, report = event_files.load(options.events), Report(options)
    if options.aws or options.stack:  # nothing is done if one file cannot be read
        for file in files:
            if file.error is not None:
                report.failed(file, file.error)
        if report.has_failed:
            return 1
    _handle(files, report, options)
    report.end()
    return 1 if report.has_failed else 0


def _handle(files: Sequence[EventFile], report: "Report", options: argparse.Namespace) -> None:
    from orchestrator.local import recorder, results
    from orchestrator.local.lambda_context import LocalContext
    from orchestrator.local.terminal import ProgressBar

    bar = ProgressBar("events", len(files), shown=not (options.quiet or options.verbose))
    with contextlib.ExitStack() as stack:
        recording = stack.enter_context(recorder.recorded())
        stack.enter_context(log_to(sys.stderr if options.verbose else None))
        surroundings, place = stack.enter_context(_surroundings(options))
        handler = load_handler(options.handler)
        recorded = stack.enter_context(results.recorded(conditions_of(handler)))
        if place is not None:
            confirm(_purpose(len(files), place), yes=options.yes, quiet=options.quiet)
        for file in files:
            if file.error is not None:
                report.failed(file, file.error)
                continue
            report.begin(file)
            recording.clear()
            recorded.clear()
            try:
                with bar.step():
                    answer = handler(file.event, LocalContext())
                report.answered(file, answer, recorded)
            except BrokenPipeError:
                raise  # the program that reads the answers has exited
            except Exception as error:  # a user's handler may raise anything
                report.failed(file, error, recorded)
            if surroundings is not None:
                recording.variables.update(recorder.jenkins_variables(surroundings.jenkins))
            report.details(recording, surroundings)
            if surroundings is not None:
                surroundings.jenkins.requests.clear()
                surroundings.control_plane.requests.clear()


@contextlib.contextmanager
def _surroundings(options: argparse.Namespace) -> "Iterator[tuple[Surroundings | None, str | None]]":
    """Within the `with` block, make this process use emulated services or a real AWS account, as the options request.

    Yields:
        A pair. For emulated services: the emulated Jenkins and control plane, and `None`. For a real AWS account:
        `None`, and a text for messages that says where the settings come from.
    """
    from orchestrator.local import environment

    if options.endpoint_url:
        with environment.emulator(options.endpoint_url, options.jobs) as surroundings:
            yield surroundings, None
    elif options.aws or options.stack:
        with _real_account(options) as place:
            yield None, place
    else:
        with environment.embedded(options.jobs) as surroundings:
            yield surroundings, None


@contextlib.contextmanager
def _real_account(options: argparse.Namespace) -> Iterator[str]:
    """Check the AWS credentials, and give this process the settings of the stack that `--stack` names.

    The settings are in this process's environment variables until the `with` block ends. Without `--stack`, the
    environment variables stay as they are.

    Yields:
        A text for messages that says where the settings come from.
    """
    account = opened(options)
    account.check_credentials()
    with adopted(account.deployed):
        yield account.place


def _purpose(events: int, place: str) -> str:
    return (
        f"{events} event{'s' * (events != 1)} will be handled in this process, with {place}: real jobs are started, "
        "records written, webhooks sent and events published"
    )
