"""Finds an installed Python of Lambda's version: on PATH, or in pyenv's or uv's folders.

    python3 .ci/lambda_python.py VERSION

Prints its path, or nothing if none is installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

_ASK = 'import sys; print("%d.%d" % sys.version_info[:2], sys.executable)'


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the path of the Python of one version."""
    parser = argparse.ArgumentParser(description="Find a Python of one version.")
    parser.add_argument("version", help="major and minor, as in 3.13")
    python = find(parser.parse_args(arguments).version)
    if python:
        print(python)


def find(version: str) -> str | None:
    """Return the path of a Python of this version.

    Each candidate is run, because a name on PATH may be a shim that does not work or starts another version.
    """
    for candidate in _candidates(version):
        started = _output([candidate, "-c", _ASK])
        if started and started.startswith(f"{version} "):
            return started.partition(" ")[2]
    return None


def fetch(version: str, uv: str) -> str | None:
    """Download a Python of this version with uv, and return its path; `None` if that fails.

    Without an internet connection, this takes about 20 seconds.
    """
    patience = {"UV_PYTHON_INSTALL_BIN": "0", "UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "1"}
    if _output([uv, "python", "install", "--quiet", version], patience) is None:
        return None
    return _output([uv, "python", "find", "--managed-python", "--system", version]) or None


def _candidates(version: str) -> Iterator[str]:
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))
    uv = Path.home() / ".local" / "share" / "uv" / "python"
    yield from map(str, sorted(uv.glob(f"cpython-{version}.*/bin/python{version}")))


def _output(command: Sequence[str], variables: dict[str, str] | None = None) -> str | None:
    """Run a command and return what it printed, or `None` if it failed."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    main()
