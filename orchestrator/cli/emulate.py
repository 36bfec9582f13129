"""`orchestrator emulate`: runs an AWS emulator for `sam local invoke`."""

import argparse
import threading

EMULATOR_PORT = 4566  # as in events/local/env.json; the usual one of emulators, and free on macOS, unlike 5000


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "emulate",
        parents=parents,
        help="run an AWS emulator for `sam local invoke`",
        description="Run an AWS emulator that has what the sample events need, until Ctrl-C: for a function in a "
        "container, as `sam local invoke` starts it. It forgets everything at the end.",
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: %(default)s, all)")  # noqa: S104 (a container cannot reach loopback)
    parser.add_argument("--port", type=int, default=EMULATOR_PORT, help="port to listen on (default: %(default)s)")
    parser.set_defaults(run=_emulate)


def _emulate(options: argparse.Namespace) -> int:
    from orchestrator.local import environment

    with environment.running_emulator(options.host, options.port) as url:
        print(f"AWS is emulated at {url} (region {environment.REGION}); Ctrl-C ends it", flush=True)
        threading.Event().wait()
    return 0
