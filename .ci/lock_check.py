"""Fails if a requirements.txt does not match pyproject.toml; `make lock-check` runs this.

It runs `make lock` on a copy of the files. `make lock` keeps every pin that still fits pyproject.toml, so a difference
means that pyproject.toml has changed since the last `make lock`.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LOCKS = ("orchestrator/requirements.txt", "tests/requirements.txt")


def main() -> None:
    """Check the checkout in the working directory."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("pyproject.toml", *LOCKS):
            target = Path(folder, name)
            target.parent.mkdir(exist_ok=True)
            shutil.copy(name, target)
        makefile = str(Path("Makefile").resolve())
        command = ["make", "--silent", "--file", makefile, "--directory", folder, "lock"]
        status = subprocess.run(command, check=False).returncode
        if status:
            sys.exit(status)
        lagging = [name for name in LOCKS if not filecmp.cmp(name, Path(folder, name), shallow=False)]
    if lagging:
        sys.exit(f"these do not match pyproject.toml (run `make lock`): {' '.join(lagging)}")


if __name__ == "__main__":
    main()
