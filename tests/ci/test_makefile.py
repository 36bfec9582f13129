"""The Makefile lists its commands and passes the needed settings to its programs."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="takes make")


def output(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_make_lists_every_command_with_its_description() -> None:
    listed = output("make")

    (commands,) = re.findall(r"^\.PHONY: (help .*)$", MAKEFILE, re.M)
    assert [line.split()[:2] for line in listed.splitlines()] == [["make", command] for command in commands.split()]
    assert all(len(line.split()) > 3 for line in listed.splitlines())
    assert output("make", "help") == listed


def test_each_target_has_at_most_two_lines() -> None:
    targets = re.findall(r"^([\w-]+):.*\n((?:\t.*\n)*)", MAKEFILE, re.M)

    commands = {target: len(re.findall(r"(?<!\\)\n", recipe)) for target, recipe in targets}
    assert commands.keys() >= {"help", "bench", "build-OrchestratorFunction"}
    assert {target: count for target, count in commands.items() if count > 2} == {}
    assert "define " not in MAKEFILE


@pytest.mark.parametrize("has_python", [True, False])
def test_bench_uses_lambdas_python_if_it_is_installed(tmp_path: Path, has_python: bool) -> None:
    python = tmp_path / "python3.13"
    python.write_text(f'#!/bin/sh\necho "{"3.13" if has_python else "3.11"} $0"\n')
    python.chmod(0o755)
    (tmp_path / "python3").symlink_to(Path(sys.executable).resolve())  # not a shim, which could add to the variables
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "PYENV_ROOT": str(tmp_path)}
    done = run_bench('echo "$UV_PYTHON: $*"', environment)

    used, option = (str(python), f" --python {python}") if has_python else ("", "")
    assert [line for line in done.stdout.splitlines() if line] == [
        f"{used}: {command}"
        for command in (
            "python -m tests.benchmarks.bytecode",
            f"python -m tests.benchmarks.cold_start --json build/cold-start.json{option}",
            f"python -m tests.benchmarks.snapstart --json build/snapstart.json{option}",
            "python -m tests.benchmarks.warm --json build/warm.json",
            "python -m tests.benchmarks.end_to_end --json build/end-to-end.json",
            "python -m tests.benchmarks.reference --json build/reference.json",
            "python -m tests.benchmarks.sbt_path --json build/sbt-path.json",
            "python -m tests.benchmarks.summary build",
            "--with matplotlib==3.10.7 python -m tests.benchmarks.plot build tests/benchmarks/bench.svg",
        )
    ]
    assert done.stderr.splitlines()[:2] == ["compiling", "benchmark 1 of 6: cold_start"]


def test_variables_for_python_do_not_reach_what_bench_measures() -> None:
    variables = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "elsewhere", "PYTHONOPTIMIZE": "2"}

    done = run_bench("env | grep ^PYTHON || echo none", {**os.environ, **variables})

    assert set(done.stdout.split()) == {"none"}


def run_bench(script: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run .ci/bench in a copy of its folder, with a shell's script in place of each of its programs."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / ".ci", Path(folder, ".ci"))
        command = [str(Path(folder, ".ci", "bench")), "sh", "-c", script, "run"]
        variables = {**environment, "LAMBDA_PYTHON": "3.13"}
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=True)


def test_an_artifact_is_built_only_by_sam() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ARTIFACTS_DIR"}
    command = ["make", "build-OrchestratorFunction"]

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert 'ARTIFACTS_DIR is not set: run "sam build"' in done.stderr
