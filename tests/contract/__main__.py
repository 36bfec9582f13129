"""Has @asyncapi/parser check the committed document, and that of a registry with consumers of its own.

    python -m tests.contract

Needs npm, which fetches the parser (package.json has its version) into build/contract, unless it is there.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from orchestrator.cli.asyncapi import document
from orchestrator.cli.load import load_registry
from orchestrator.cli.output import print_yaml
from tests.support.commands import run
from tests.support.lambda_runtime import ROOT

_HERE = Path(__file__).parent
_INSTALLED = ROOT / "build" / "contract"
_OWN = "tests.contract.own:registry"


def main() -> int:
    """Install the parser, and run it."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        print("needs npm; install Node.js", file=sys.stderr)
        return 1
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "parse.js"):
        shutil.copy(_HERE / name, _INSTALLED)
    # For safety, packages' install scripts do not run; they are not needed.
    install = (npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")
    run(*install, folder=_INSTALLED, seconds=300)
    own = _INSTALLED / "own.yaml"
    with own.open("w", encoding="utf-8") as file:
        print_yaml(document(load_registry(_OWN), _OWN), file)
    files = (ROOT / "events" / "asyncapi.yaml", own)
    return subprocess.run([node, "parse.js", *files], cwd=_INSTALLED, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
