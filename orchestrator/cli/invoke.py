"""The command `orchestrator invoke`: runs a handler on event files."""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.cli.load import load
from orchestrator.cli.output import STDIN, print_failure, print_json
from orchestrator.errors import ConfigurationError, InvalidEvent
from orchestrator.values.limits import read_json


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
        "standard error.",
    )
    parser.add_argument("events", nargs="+", metavar="EVENT", help="a JSON file, a folder of them, or - for stdin")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--endpoint-url", metavar="URL", help="use a running AWS emulator; Jenkins stays in this process"
    )
    where.add_argument(
        "--aws", action="store_true", help="use the real AWS and Jenkins that this shell's settings name"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="print the summary even if standard error is not a terminal"
    )
    parser.set_defaults(run=_invoke)


def _invoke(options: argparse.Namespace) -> int:
    from orchestrator.local import environment, recorder, summary
    from orchestrator.local.lambda_context import LocalContext

    files = _event_files(options.events)
    answers, summary_stream = sys.stdout, sys.stderr if options.verbose or sys.stderr.isatty() else None
    failures, surroundings = 0, None
    with contextlib.ExitStack() as stack:
        recording = stack.enter_context(recorder.recorded())
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # keeps logs and metrics apart from answers
        if options.endpoint_url:
            surroundings = stack.enter_context(environment.emulator(options.endpoint_url, options.jobs))
        elif not options.aws:
            surroundings = stack.enter_context(environment.embedded(options.jobs))
        handler = load(options.handler)
        if not callable(handler):
            raise ConfigurationError(f"--handler {options.handler}: is not a function; name a result of create_handler")
        for file in files:
            summary.heading(summary_stream, file)
            recording.clear()
            try:
                answer = handler(_read(file), LocalContext())
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
            summary.events(summary_stream, recording.published, values_shown=not options.aws)
            summary.builds(summary_stream, recording.variables, values_shown=not options.aws)
    return 1 if failures else 0


def _event_files(names: Sequence[str]) -> list[str]:
    files: list[str] = []
    for name in names:
        path = Path(name)
        if name != STDIN and path.is_dir():
            found = sorted(str(file) for file in path.glob("*.json"))
            if not found:
                raise InvalidEvent(f"{name}: contains no .json file; name a file or a folder with events")
            files += found
        else:
            files.append(name)
    return files


def _read(file: str) -> Any:
    try:
        text = sys.stdin.read() if file == STDIN else Path(file).read_text(encoding="utf-8")
        return read_json(text, parse_constant=_refuse_constant)
    except OSError as error:
        raise InvalidEvent(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidEvent("is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise InvalidEvent(f"is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(f"cannot be read as JSON ({type(error).__name__})") from None


def _refuse_constant(name: str) -> None:
    raise InvalidEvent(f"is not valid JSON: {name} is not a JSON number")
