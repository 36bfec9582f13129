"""Runs commands that may hang, and that start processes of their own."""

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def run(
    *command: object,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    seconds: float = 900,
) -> tuple[str, str]:
    """Run a command, end every process that it started, and return its standard output and standard error.

    Raises:
        RuntimeError: It failed or took too long; the text includes its output.
    """
    words = [str(word) for word in command]
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise RuntimeError(f"{shlex.join(words)} took more than {seconds:.0f} s:\n{err}{out}") from None
        raise
    if process.returncode != 0:
        raise RuntimeError(f"{shlex.join(words)} failed ({process.returncode}):\n{err}{out}")
    return out, err
