"""Builds the function's artifact; `sam build` runs this through make.

    python3 .ci/build_artifact.py ARTIFACT --package orchestrator --python 3.13 --architecture arm64

The environment variables LAMBDA_PACKAGES, LAMBDA_REQUIREMENTS and LAMBDA_AWS_SERVICES name additions to the artifact;
Makefile describes them. LAMBDA_ORCHESTRATOR replaces the package: it names a wheel, or a requirement that uv finds in
its index. This script runs on Python 3.9 or later, and needs only the standard library.
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

# Lambda's Python runs on Amazon Linux 2023 (glibc 2.34), which supports wheels for glibc 2.28.
PLATFORMS = {"arm64": "aarch64-manylinux_2_28", "x86_64": "x86_64-manylinux_2_28"}
# The artifact keeps the SDK's data files only for these services, because those for all services are most of its size.
AWS_SERVICES = ("codebuild", "dynamodb", "events", "secretsmanager", "sqs", "stepfunctions")
# The artifact does not contain these parts of the package, because only a developer's machine uses them.
LEFT_OUT = ("cli", "local", "testing", "Dockerfile")
# Files of the dependencies that this function cannot use, and what uses them.
UNUSED = (
    "**/*.pyi",  # type checkers
    "aws_lambda_powertools/event_handler/openapi/swagger_ui/*.min.*",  # an HTTP API that shows its documentation
    "boto3/examples",
    "pydantic/mypy.py",
    "pydantic/v1/mypy.py",
    "pydantic/v1/_hypothesis_plugin.py",
    "urllib3/contrib/emscripten",  # Python in a browser
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Build one artifact; the paths in the variables are relative to the working directory."""
    parser = argparse.ArgumentParser(description="Build the function's artifact.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--package", type=Path, required=True, help="the folder of the package")
    parser.add_argument("--python", required=True, help="the version that Lambda runs, as in 3.13")
    parser.add_argument("--architecture", required=True, help=" or ".join(PLATFORMS))
    options = parser.parse_args(arguments)
    if options.architecture not in PLATFORMS:
        sys.exit(f"LAMBDA_ARCHITECTURE is {options.architecture}: it must be {' or '.join(PLATFORMS)}")
    if options.artifact.exists() and any(options.artifact.iterdir()):
        sys.exit(f"{options.artifact} is not empty: name a new folder, because the build changes all that is in it")
    packages, requirements = paths("LAMBDA_PACKAGES"), paths("LAMBDA_REQUIREMENTS")
    services = (*AWS_SERVICES, *os.environ.get("LAMBDA_AWS_SERVICES", "").split())

    with found_uv() as uv:
        target = ["--python-version", options.python, "--python-platform", PLATFORMS[options.architecture]]
        with found_package(uv, options.package, target) as package:
            install(uv, options.artifact, target, package / "requirements.txt")
            drop_unused(options.artifact)
            copy_package(package, options.artifact)
            undocumented = sorted(entry.name for entry in options.artifact.iterdir())
            install_added(uv, options.artifact, target, package / "requirements.txt", requirements)
        drop_console_scripts(options.artifact)
        trim_sdk.trim(options.artifact, services, packages)
        copy(options.artifact, packages)
        compile_bytecode(options.artifact, options.python, uv, undocumented)
    open_to_all(options.artifact)


def paths(variable: str) -> list[Path]:
    """Return the paths in an environment variable; stop the build if one does not exist."""
    named = os.environ.get(variable, "").split()
    for path in named:
        if not Path(path).exists():
            sys.exit(f"{variable} names {path}, which does not exist")
    return [Path(path) for path in named]


@contextmanager
def found_uv() -> Iterator[str]:
    """Yield the path of uv. If uv is missing, pip installs it into a temporary folder.

    pip cannot install the dependencies itself: it evaluates environment markers for the Python that runs it, not for
    Lambda's.
    """
    uv = shutil.which("uv")
    if uv:
        yield uv
        return
    with tempfile.TemporaryDirectory() as tools:
        run([sys.executable, "-m", "pip", "install", "--quiet", "--target", tools, "uv"])
        yield str(Path(tools, "bin", "uv"))


@contextmanager
def found_package(uv: str, folder: Path, target: Sequence[str]) -> Iterator[Path]:
    """Yield the package's folder, or the package that LAMBDA_ORCHESTRATOR names, unpacked into a temporary folder."""
    named = os.environ.get("LAMBDA_ORCHESTRATOR")
    if not named:
        yield folder
        return
    with tempfile.TemporaryDirectory() as unpacked:
        run([*install_command(uv, Path(unpacked), target), "--no-deps", "--", named])
        package = Path(unpacked, "orchestrator")
        if not (package / "requirements.txt").exists():
            sys.exit(f"LAMBDA_ORCHESTRATOR is {named}, which is not a tenant-orchestrator")
        yield package


def install(uv: str, artifact: Path, target: Sequence[str], pins: Path) -> None:
    """Install the pinned dependencies."""
    run([*install_command(uv, artifact, target), "--require-hashes", "--requirement", str(pins)])


def install_added(uv: str, artifact: Path, target: Sequence[str], pins: Path, requirements: Sequence[Path]) -> None:
    """Install the dependencies of the requirements files, which cannot change a pinned version."""
    if requirements:
        added = [argument for file in requirements for argument in ("--requirement", str(file))]
        run([*install_command(uv, artifact, target), "--constraint", str(pins), *added])


def install_command(uv: str, folder: Path, target: Sequence[str]) -> list[str]:
    """Return the command that installs wheels for Lambda into a folder."""
    command = [uv, "pip", "install", "--quiet", "--target", str(folder), *target]
    return [*command, "--only-binary", ":all:", "--no-compile-bytecode", "--link-mode", "copy"]


def drop_unused(artifact: Path) -> None:
    """Remove the files of the dependencies that the function cannot use."""
    for pattern in UNUSED:
        for path in [*artifact.glob(pattern)]:
            remove(path)


def drop_console_scripts(artifact: Path) -> None:
    """Remove the console scripts, the RECORD files and the installer's lock file.

    The scripts contain the path of the build machine's Python, and the RECORD files contain the scripts' hashes. Both
    would therefore differ between build machines.
    """
    shutil.rmtree(artifact / "bin", ignore_errors=True)
    for file in artifact.glob("*.dist-info/RECORD"):
        file.unlink()
    (artifact / ".lock").unlink(missing_ok=True)


def copy_package(package: Path, artifact: Path) -> None:
    """Copy the package into the artifact, without the parts in `LEFT_OUT` and without its Markdown pages."""
    copied = artifact / "orchestrator"
    copy(artifact, [package])
    for path in (*(copied / name for name in LEFT_OUT), *copied.rglob("*.md")):
        remove(path)


def copy(artifact: Path, packages: Sequence[Path]) -> None:
    """Copy folders and modules into the artifact, without this machine's bytecode."""
    for package in packages:
        if package.is_dir():
            shutil.copytree(package, artifact / package.name, copy_function=shutil.copy, dirs_exist_ok=True)
        else:
            shutil.copy(package, artifact)
    for path in [*artifact.rglob("__pycache__")]:
        remove(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it contains, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()


def compile_bytecode(artifact: Path, python: str, uv: str, undocumented: Sequence[str]) -> None:
    """Compile every module with Lambda's version of Python, or print a warning if that version is missing.

    Lambda's disk is read-only, so without bytecode in the artifact, each cold start would compile every module again.
    Two builds produce the same bytes, because the bytecode contains hashes of the sources instead of their times, the
    hash seed is fixed, and the paths in the bytecode are those on Lambda. The caller's variables for Python do not
    count: they could take the bytecode elsewhere, or leave out the assertions.
    """
    compiler = lambda_python.find(python) or lambda_python.fetch(python, uv)
    if not compiler:
        print(
            f"WARNING: Python {python} is not installed and uv could not download it, so the artifact has no bytecode "
            "and the function starts about twice as slowly; install it, or give uv internet access, and build again"
        )
        return
    others = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [compiler, str(Path(__file__).with_name("compile_modules.py")), str(artifact), *undocumented]
    run(command, {**others, "PYTHONHASHSEED": "0"})


def open_to_all(artifact: Path) -> None:
    """Make every file readable for all users.

    Lambda runs the function as another user, and this machine's umask may be restrictive.
    """
    for path in (artifact, *artifact.rglob("*")):
        is_executable = path.is_dir() or path.stat().st_mode & 0o111
        path.chmod(0o755 if is_executable else 0o644)


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    """Run a command. If it fails, it has printed the reason, so only stop the build with its exit code."""
    status = subprocess.run(command, env=environment, check=False).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
