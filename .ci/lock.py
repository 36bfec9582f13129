"""Pins the dependencies of pyproject.toml in three files; `make lock` and `make lock-check` run this.

    python3 .ci/lock.py [--check] [--upgrade]

Pins that still fit pyproject.toml are kept, unless `--upgrade` is given. A difference that `--check` finds therefore
means that pyproject.toml has changed since the last `make lock`.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

COMPILE = (
    *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
    *("--no-emit-index-url", "--custom-compile-command", "make lock"),
)
# Each file with its options, in an order in which a later file takes its pins from an earlier one.
FILES = {
    "orchestrator/requirements.txt": ("--generate-hashes",),
    "tests/requirements.txt": (
        *("--generate-hashes", "--extra", "local", "--extra", "bullmq", "--group", "dev"),
        *("--constraint", "orchestrator/requirements.txt"),
    ),
    # README's first command gives this file to pip as constraints, which may have no hashes.
    "orchestrator/local/requirements.txt": (
        *("--no-annotate", "--extra", "local", "--extra", "bullmq"),
        *("--constraint", "tests/requirements.txt"),
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Pin the dependencies of the checkout in the working directory, or check its pins."""
    parser = argparse.ArgumentParser(description="Pin the dependencies of pyproject.toml.")
    parser.add_argument("--check", action="store_true", help="change nothing, and fail if a file does not match")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    options = parser.parse_args(arguments)
    if options.check:
        check()
    else:
        lock(Path(), *(["--upgrade"] if options.upgrade else []))


def lock(folder: Path, *options: str) -> None:
    """Write the files of a checkout; stop if uv fails, since it has printed the reason."""
    for file, own in FILES.items():
        command = [*COMPILE, *own, *options, "pyproject.toml", "--output-file", file]
        status = subprocess.run(command, cwd=folder, check=False).returncode
        if status:
            sys.exit(status)


def check() -> None:
    """Stop, naming the files that do not match, after pinning a copy of the checkout."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for file in ("pyproject.toml", *FILES):
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy / file)
        lock(copy)
        lagging = [file for file in FILES if not filecmp.cmp(file, copy / file, shallow=False)]
    if lagging:
        sys.exit(f"these do not match pyproject.toml (run `make lock`): {' '.join(lagging)}")


if __name__ == "__main__":
    main()
