"""Builds the function's artifact: what `sam build` runs, through make.

    python3 .ci/build_artifact.py ARTIFACT --python 3.13 --architecture arm64

LAMBDA_PACKAGES, LAMBDA_REQUIREMENTS and LAMBDA_AWS_SERVICES in the environment add what a function of your own needs.
Runs on the Python of whoever builds, from 3.9 on, and needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lambda_python
import trim_sdk

# Lambda's Python runs on Amazon Linux 2023 (glibc 2.34), which takes every wheel made for glibc 2.28.
PLATFORMS = {"arm64": "aarch64-manylinux_2_28", "x86_64": "x86_64-manylinux_2_28"}
PACKAGE = Path("orchestrator")
PINS = PACKAGE / "requirements.txt"
# The SDK's descriptions of all other services are left out: they are most of its size.
AWS_SERVICES = ("codebuild", "dynamodb", "events", "secretsmanager", "sqs")
# They run on a person's machine alone.
COMMAND = ("cli", "local", "testing")


def main(arguments: Sequence[str] | None = None) -> None:
    """Build one artifact, from the checkout that is the working directory."""
    parser = argparse.ArgumentParser(description="Build the function's artifact.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--python", required=True, help="the version that Lambda runs, as in 3.13")
    parser.add_argument("--architecture", required=True, help=" or ".join(PLATFORMS))
    options = parser.parse_args(arguments)
    if options.architecture not in PLATFORMS:
        sys.exit(f"LAMBDA_ARCHITECTURE is {options.architecture}: it must be {' or '.join(PLATFORMS)}")
    packages, requirements = paths("LAMBDA_PACKAGES"), paths("LAMBDA_REQUIREMENTS")
    services = (*AWS_SERVICES, *os.environ.get("LAMBDA_AWS_SERVICES", "").split())

    with found_uv() as uv:
        install(uv, options.artifact, options.python, PLATFORMS[options.architecture], requirements)
        drop_console_scripts(options.artifact)
        trim_sdk.trim(options.artifact, services, packages)
        copy(options.artifact, (PACKAGE, *packages))
        compile_bytecode(options.artifact, options.python, uv)
    open_to_all(options.artifact)


def paths(variable: str) -> list[Path]:
    """Give the paths that a variable of the environment names; stop at one that is not there."""
    named = os.environ.get(variable, "").split()
    for path in named:
        if not Path(path).exists():
            sys.exit(f"{variable} names {path}, which is not there")
    return [Path(path) for path in named]


@contextmanager
def found_uv() -> Iterator[str]:
    """Give uv, which pip fetches for this build alone where it is missing.

    pip itself will not do: it judges environment markers by the Python that runs it, not by the one it installs for.
    """
    uv = shutil.which("uv")
    if uv:
        yield uv
        return
    with tempfile.TemporaryDirectory() as tools:
        run([sys.executable, "-m", "pip", "install", "--quiet", "--target", tools, "uv"])
        yield str(Path(tools, "bin", "uv"))


def install(uv: str, artifact: Path, python: str, platform: str, requirements: Sequence[Path]) -> None:
    """Install the pinned dependencies, then what the requirements files add without moving a pin."""
    command = [uv, "pip", "install", "--quiet", "--target", str(artifact)]
    command += ["--python-version", python, "--python-platform", platform]
    command += ["--only-binary", ":all:", "--no-compile-bytecode", "--link-mode", "copy"]
    run([*command, "--require-hashes", "--requirement", str(PINS)])
    if requirements:
        added = [argument for file in requirements for argument in ("--requirement", str(file))]
        run([*command, "--constraint", str(PINS), *added])


def drop_console_scripts(artifact: Path) -> None:
    """Remove the scripts, which name the Python of the machine that built them, and RECORD, which has their hashes."""
    shutil.rmtree(artifact / "bin", ignore_errors=True)
    for file in artifact.glob("*.dist-info/RECORD"):
        file.unlink()
    (artifact / ".lock").unlink(missing_ok=True)


def copy(artifact: Path, packages: Sequence[Path]) -> None:
    """Copy folders and modules into the artifact, without this machine's bytecode, the command and the pages."""
    for package in packages:
        if package.is_dir():
            shutil.copytree(package, artifact / package.name, copy_function=shutil.copy, dirs_exist_ok=True)
        else:
            shutil.copy(package, artifact)
    command = [artifact / PACKAGE / name for name in COMMAND]
    pages = (artifact / PACKAGE).rglob("*.md")
    for path in (*command, *pages, *artifact.rglob("__pycache__")):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()


def compile_bytecode(artifact: Path, python: str, uv: str) -> None:
    """Compile every module with Lambda's Python, or warn that there is none.

    Lambda's disk is read-only: without bytecode in the artifact, each cold start would compile every module anew. With
    unchecked hashes it holds no times, so that two builds give the same bytes; nor does a hash seed or a folder's name.
    """
    compiler = lambda_python.find(python) or lambda_python.fetch(python, uv)
    if not compiler:
        print(
            f"WARNING: there is no Python {python} here and uv could not fetch one, so the artifact has no bytecode "
            "and the function starts about twice as slowly: install it or let uv reach its downloads, and build again"
        )
        return
    command = [compiler, "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash"]
    run([*command, "-s", str(artifact), "-p", "/var/task", str(artifact)], {"PYTHONHASHSEED": "0"})


def open_to_all(artifact: Path) -> None:
    """Let everybody read: Lambda runs as another user than the one that built, whose umask may shut others out."""
    for path in (artifact, *artifact.rglob("*")):
        is_executable = path.is_dir() or path.stat().st_mode & 0o111
        path.chmod(0o755 if is_executable else 0o644)


def run(command: Sequence[str], variables: dict[str, str] | None = None) -> None:
    """Run a command; stop the build where it fails, for it has said why."""
    status = subprocess.run(command, env={**os.environ, **(variables or {})}, check=False).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
