"""The command `orchestrator`: runs the handler on sample events, shows the registry, and emulates AWS."""

import argparse
import contextlib
import importlib
import json
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from orchestrator.errors import ConfigurationError, InvalidEvent, OrchestratorError
from orchestrator.values.limits import read_json

_HANDLER = "orchestrator.handler:lambda_handler"
_STDIN = "-"
EMULATOR_PORT = 4566  # as in events/local/env.json; the usual one of emulators, and free on macOS, unlike 5000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line without the program's name; by default the process's own.

    Returns:
        The exit code: 0, or 1 where anything failed.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not try to flush it once more.
        sys.stdout = None
        return 1
    except KeyboardInterrupt:
        return 130  # what a shell makes of it
    except Exception as error:  # a person at a terminal gets a line in any case; --debug shows the rest
        return _failed(error, options.debug)


def _parser() -> argparse.ArgumentParser:
    debugging = argparse.ArgumentParser(add_help=False)
    debugging.add_argument("--debug", action="store_true", help="show tracebacks")
    shared = argparse.ArgumentParser(add_help=False, parents=[debugging])
    shared.add_argument("--handler", default=_HANDLER, metavar="MODULE:NAME", help="the handler (default: %(default)s)")

    parser = argparse.ArgumentParser(prog="orchestrator", description="Try the orchestrator on this machine.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('orchestrator')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    invoke = commands.add_parser(
        "invoke",
        parents=[shared],
        help="run the handler on event files",
        description="Run the handler on events. AWS, Jenkins and the control plane are emulated in this process unless "
        "others are asked for. Standard output gets the handler's JSON answers, one for each event; everything else "
        "goes to standard error.",
    )
    invoke.add_argument("events", nargs="+", metavar="EVENT", help="a JSON file, a folder of them, or - for stdin")
    where = invoke.add_mutually_exclusive_group()
    where.add_argument("--endpoint-url", metavar="URL", help="use a running AWS emulator (all else stays here)")
    where.add_argument("--aws", action="store_true", help="use the real AWS and Jenkins of this shell's settings")
    invoke.add_argument(
        "--job",
        action="append",
        default=[],
        dest="jobs",
        metavar="NAME",
        help="a job that the emulated CodeBuild and Jenkins have besides those of the sample tiers (repeatable)",
    )
    invoke.add_argument("-v", "--verbose", action="store_true", help="print the summary even if stderr is no terminal")
    invoke.set_defaults(run=_invoke)

    routes = commands.add_parser("routes", parents=[shared], help="show which consumer takes which event")
    form = routes.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--mermaid", action="store_true", help="as a Mermaid diagram")
    routes.set_defaults(run=_routes)

    emulate = commands.add_parser(
        "emulate",
        parents=[debugging],
        help="run an AWS emulator for `sam local invoke`",
        description="Run an AWS emulator that has what the sample events need, until Ctrl-C: for a function in a "
        "container, as `sam local invoke` starts it. It forgets everything at the end.",
    )
    emulate.add_argument("--host", default="0.0.0.0", help="address to listen on (default: %(default)s, all)")  # noqa: S104 (a container cannot reach loopback)
    emulate.add_argument("--port", type=int, default=EMULATOR_PORT, help="port to listen on (default: %(default)s)")
    emulate.set_defaults(run=_emulate)
    return parser


def _invoke(options: argparse.Namespace) -> int:
    from orchestrator.local import environment, recorder, summary
    from orchestrator.local.lambda_context import LocalContext

    files = _event_files(options.events)
    answers, told = sys.stdout, sys.stderr if options.verbose or sys.stderr.isatty() else None
    failures, surroundings = 0, None
    with contextlib.ExitStack() as stack:
        recording = stack.enter_context(recorder.recorded())
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # logs and metrics go to standard output
        if options.endpoint_url:
            surroundings = stack.enter_context(environment.emulator(options.endpoint_url, options.jobs))
        elif not options.aws:
            surroundings = stack.enter_context(environment.embedded(options.jobs))
        handler = _load(options.handler)
        if not callable(handler):
            raise ConfigurationError(f"--handler {options.handler}: is no function; name what create_handler returned")
        for file in files:
            summary.heading(told, file)
            recording.clear()
            try:
                answer = handler(_read(file), LocalContext())
                _print_json(answer, answers)
            except BrokenPipeError:
                raise  # nobody reads what the other events would come to
            except Exception as error:  # somebody's own handler may raise anything
                failures += _failed(error, options.debug, file)
            if surroundings is not None:
                recording.variables.update(recorder.jenkins_variables(surroundings.jenkins))
                surroundings.jenkins.requests.clear()
                summary.callbacks(told, surroundings.control_plane.requests)
                surroundings.control_plane.requests.clear()
            summary.events(told, recording.published, values_shown=not options.aws)
            summary.builds(told, recording.variables, values_shown=not options.aws)
    return 1 if failures else 0


def _routes(options: argparse.Namespace) -> int:
    from orchestrator.registry import Registry
    from orchestrator.routes import as_mermaid, as_table, routes

    loaded = _load(options.handler)
    registry = loaded if isinstance(loaded, Registry) else getattr(loaded, "registry", None)
    if not isinstance(registry, Registry):
        raise ConfigurationError(f"--handler {options.handler}: has no registry; make it with create_handler(registry)")
    entries = routes(registry)
    if options.json:
        _print_json(entries, sys.stdout)
    else:
        print(as_mermaid(entries) if options.mermaid else as_table(entries))
    return 0


def _emulate(options: argparse.Namespace) -> int:
    from orchestrator.local import environment

    with environment.running_emulator(options.host, options.port) as url:
        print(f"AWS is emulated at {url} (region {environment.REGION}); Ctrl-C ends it", flush=True)
        threading.Event().wait()
    return 0


def _event_files(names: Sequence[str]) -> list[str]:
    files: list[str] = []
    for name in names:
        path = Path(name)
        if name != _STDIN and path.is_dir():
            found = sorted(str(file) for file in path.glob("*.json"))
            if not found:
                raise InvalidEvent(f"{name}: holds no .json file; name a file or a folder with events")
            files += found
        else:
            files.append(name)
    return files


def _read(file: str) -> Any:
    try:
        text = sys.stdin.read() if file == _STDIN else Path(file).read_text(encoding="utf-8")
        return read_json(text, parse_constant=_refuse_constant)
    except OSError as error:
        raise InvalidEvent(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidEvent("is no UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise InvalidEvent(f"is no JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(f"is no JSON that can be read ({type(error).__name__})") from None


def _refuse_constant(name: str) -> None:
    raise InvalidEvent(f"is no JSON: {name} is no number there")


def _load(place: str) -> Any:
    module_name, _, name = place.partition(":")
    if not name or not module_name or module_name.endswith(".py"):
        raise ConfigurationError(f"--handler {place}: write it as module:name, without .py")
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does; a handler may import its own modules later, too
    try:
        return getattr(importlib.import_module(module_name), name)
    except OrchestratorError:
        raise
    except ModuleNotFoundError as error:
        needed_by = "" if error.name == module_name else f", which {module_name} needs"
        raise ConfigurationError(f"--handler {place}: there is no module {error.name}{needed_by}") from error
    except AttributeError as error:
        raise ConfigurationError(f"--handler {place}: {error}") from error
    except Exception as error:
        raise ConfigurationError(f"--handler {place}: importing it raised {type(error).__name__}: {error}") from error


def _print_json(value: Any, stream: TextIO) -> None:
    print(json.dumps(value, indent=2 if stream.isatty() else None, ensure_ascii=False), file=stream, flush=True)


def _failed(error: Exception, debug: bool, file: str | None = None) -> int:
    if debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    # A group's own text already has those of its members; str() would add their number.
    text = error.message if isinstance(error, ExceptionGroup) else str(error)
    where = "" if file is None else f"{'stdin' if file == _STDIN else file}: "
    line = " ".join(f"{type(error).__name__}: {text}".split())
    print(f"orchestrator: {where}{line}", file=sys.stderr)
    return 1
