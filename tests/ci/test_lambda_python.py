"""How a Python of Lambda's version is found, or downloaded."""

import shutil
from pathlib import Path

import lambda_python
import pytest

UV = shutil.which("uv")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Python: `bin` is its PATH, `home` its home."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    return tmp_path


def write_python(path: Path, version: str | None) -> str:
    """Write a program that answers as a Python of this version, or fails for `None`; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = "exit 127" if version is None else f'echo "{version} $0"'
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(0o755)
    return str(path)


def test_without_a_python_none_is_found(machine: Path) -> None:
    assert lambda_python.find("3.13") is None


@pytest.mark.parametrize(
    "place",
    [
        "bin/python3.13",
        "home/.pyenv/versions/3.13.2/bin/python",
        "home/.local/share/uv/python/cpython-3.13.2-linux-x86_64-gnu/bin/python3.13",
    ],
)
def test_a_python_is_found_on_the_path_in_pyenv_and_in_uv(machine: Path, place: str) -> None:
    assert lambda_python.find("3.13") is None
    python = write_python(machine / place, "3.13")

    assert lambda_python.find("3.13") == python
    assert lambda_python.find("3.12") is None


def test_pyenv_may_be_in_another_folder(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYENV_ROOT", str(machine / "pyenv"))
    python = write_python(machine / "pyenv" / "versions" / "3.13.2" / "bin" / "python", "3.13")

    assert lambda_python.find("3.13") == python


@pytest.mark.parametrize("version", [None, "3.11"])
def test_a_broken_shim_or_another_version_is_skipped(machine: Path, version: str | None) -> None:
    write_python(machine / "bin" / "python3.13", version)
    python = write_python(machine / "home" / ".pyenv" / "versions" / "3.13.2" / "bin" / "python", "3.13")

    assert lambda_python.find("3.13") == python


def test_the_program_prints_the_path_or_nothing(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = write_python(machine / "bin" / "python3.13", "3.13")

    lambda_python.main(["3.12"])
    lambda_python.main(["3.13"])

    assert capsys.readouterr().out == f"{python}\n"


@pytest.mark.parametrize(("status", "fetched"), [(0, "/pythons/3.13/bin/python"), (2, None)])
def test_uv_downloads_a_python_and_its_path_is_returned(machine: Path, status: int, fetched: str | None) -> None:
    uv = machine / "uv"
    uv.write_text(
        "#!/bin/sh\n"
        f'[ "$*" = "python install --quiet 3.13" ] && exit {status}\n'
        '[ "$*" = "python find --managed-python --system 3.13" ] && echo /pythons/3.13/bin/python\n'
    )
    uv.chmod(0o755)

    assert lambda_python.fetch("3.13", str(uv)) == fetched


@pytest.mark.skipif(not UV, reason="takes uv")
def test_without_a_connection_uv_downloads_nothing(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(machine / "pythons"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", "http://127.0.0.1:9")  # nothing listens there

    assert lambda_python.fetch("3.13", str(UV)) is None
