"""The check that the pins match pyproject.toml, with a Makefile whose `lock` only copies requirements."""

from pathlib import Path

import lock_check
import pytest

MAKEFILE = """
lock:
	cp pyproject.toml orchestrator/requirements.txt
	tail -n 1 pyproject.toml > tests/requirements.txt
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose pins match its pyproject.toml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "pyproject.toml").write_text("boto3\npytest\n")
    for folder, pins in {"orchestrator": "boto3\npytest\n", "tests": "pytest\n"}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "requirements.txt").write_text(pins)
    return tmp_path


def tree(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_pins_that_are_up_to_date_pass(checkout: Path) -> None:
    lock_check.main()


@pytest.mark.parametrize(
    ("asked_for", "lagging"),
    [
        ("boto3>1\npytest\n", "orchestrator/requirements.txt"),
        ("boto3>1\npytest>9\n", "orchestrator/requirements.txt tests/requirements.txt"),
    ],
)
def test_outdated_pins_are_named_and_left_unchanged(checkout: Path, asked_for: str, lagging: str) -> None:
    (checkout / "pyproject.toml").write_text(asked_for)
    before = tree(checkout)

    with pytest.raises(SystemExit) as stopped:
        lock_check.main()

    assert stopped.value.code == f"these do not match pyproject.toml (run `make lock`): {lagging}"
    assert tree(checkout) == before


def test_a_failed_lock_fails_the_check(checkout: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (checkout / "Makefile").write_text("lock:\n\techo no such package >&2; exit 1\n")

    with pytest.raises(SystemExit) as stopped:
        lock_check.main()

    assert stopped.value.code not in (0, None)
    assert "no such package" in capfd.readouterr().err
