"""The command `orchestrator emulate`: runs an AWS emulator for `sam local invoke`."""

import argparse
import threading

from orchestrator.cli.arguments import port

# events/local/env.json names this port, too. AWS emulators usually listen on it. moto's own default, 5000, is often
# taken on macOS.
EMULATOR_PORT = 4566


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command `emulate` to the parser's commands.

    Args:
        parents: Parsers that define the options which `emulate` shares with other commands.
    """
    parser = commands.add_parser(
        "emulate",
        parents=parents,
        help="run an AWS emulator for `sam local invoke`",
        description="Run an AWS emulator, filled for the sample events, until Ctrl-C. It serves a function in a "
        "container, as `sam local invoke` starts it, and keeps its data in memory.",
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: %(default)s, all)")  # noqa: S104 (a container cannot reach loopback)
    parser.add_argument("--port", type=port, default=EMULATOR_PORT, help="port to listen on (default: %(default)s)")
    parser.set_defaults(run=_emulate)


def _emulate(options: argparse.Namespace) -> int:
    from orchestrator.local import environment

    with environment.running_emulator(options.host, options.port, options.jobs) as url:
        print(f"AWS is emulated at {url} (region {environment.REGION}); press Ctrl-C to stop", flush=True)
        threading.Event().wait()
    return 0
