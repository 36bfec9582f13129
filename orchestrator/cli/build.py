"""The command `orchestrator build`: builds the deployment artifact of a project's function.

`sam build` runs `make`, and `make` runs this command.
"""

import argparse
import subprocess
import sys
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_PROGRAM = "build_artifact.py"


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command `build` to the parser's commands.

    Args:
        parents: Parsers that define the options which `build` shares with other commands.
    """
    parser = commands.add_parser(
        "build",
        parents=parents,
        help="build the artifact of a function; `sam build` runs this",
        description="Build an artifact: the installed orchestrator with its pinned dependencies for Lambda's platform, "
        "and what the variables LAMBDA_PACKAGES, LAMBDA_REQUIREMENTS and LAMBDA_AWS_SERVICES name. LAMBDA_ORCHESTRATOR "
        "names another orchestrator: a wheel, or a requirement that uv finds in its index.",
    )
    parser.add_argument("artifact", metavar="DIR", help="the folder to write the artifact to")
    parser.add_argument("--python", required=True, help="the version that Lambda runs, as in 3.13")
    parser.add_argument("--architecture", required=True, help="arm64 or x86_64")
    parser.set_defaults(run=_build)


def _build(options: argparse.Namespace) -> int:
    # A wheel has the program beside this module; it needs only the standard library, and not this package.
    in_wheel = Path(__file__).parent / "artifact" / _PROGRAM
    program = in_wheel if in_wheel.exists() else _PACKAGE.parent / ".ci" / _PROGRAM
    command = [sys.executable, program, options.artifact, "--package", _PACKAGE]
    command += ["--python", options.python, "--architecture", options.architecture]
    return subprocess.run(command, check=False).returncode  # noqa: S603
