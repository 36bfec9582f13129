"""`orchestrator build` runs the build program; `make starter` proves that with the built wheel."""

from pathlib import Path

import pytest

from orchestrator.cli.main import main


def test_a_build_that_fails_says_why_and_passes_the_exit_code_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = main(["build", str(tmp_path / "artifact"), "--python", "3.13", "--architecture", "riscv"])

    assert code == 1
    assert capfd.readouterr().err == "LAMBDA_ARCHITECTURE is riscv: it must be arm64 or x86_64\n"


def test_paths_are_those_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAMBDA_PACKAGES", "app.py missing.py")

    code = main(["build", str(tmp_path / "artifact"), "--python", "3.13", "--architecture", "arm64"])

    assert code == 1
    assert capfd.readouterr().err == "LAMBDA_PACKAGES names missing.py, which does not exist\n"
