"""Compiles all that the benchmarks of this Python import, so that no benchmark measures the compiler.

    python -m tests.benchmarks.bytecode

uv and pip may install packages without bytecode. Then a process that writes none would compile them at each start.
"""

import compileall
import os
import sys
from importlib.metadata import files
from pathlib import Path

from tests.support.lambda_runtime import ROOT

_FOLDERS = ("orchestrator", "tests/benchmarks", "tests/support")


def environment() -> dict[str, str]:
    """Return the environment without variables for Python, which could move, leave out or change bytecode."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def require(folder: Path) -> None:
    """Check that a folder has bytecode.

    Raises:
        RuntimeError: It has none, so that a benchmark would measure the compiler.
    """
    if not any(folder.rglob("*.pyc")):
        raise RuntimeError(f"{folder} has no bytecode: is Python of the version that was asked for installed?")


def sources() -> list[Path]:
    """Return the modules of this package, of the benchmarks and of the pinned dependencies."""
    own = [file for folder in _FOLDERS for file in (ROOT / folder).rglob("*.py")]
    pins = (ROOT / "orchestrator" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [line.partition("==")[0].partition("[")[0] for line in pins if "==" in line]
    installed = [Path(str(file.locate())) for name in names for file in files(name) or () if file.suffix == ".py"]
    return own + installed


def main() -> None:
    """Compile each module whose bytecode is missing or older."""
    failed = [file for file in sources() if not compileall.compile_file(file, quiet=1)]
    if failed:
        sys.exit(f"{failed[0]} and {len(failed) - 1} others cannot be compiled")


if __name__ == "__main__":
    main()
