"""The pins and the check that they match pyproject.toml, with a uv that pins what pyproject.toml lists."""

from pathlib import Path

import lock
import pytest

UV = """#!/bin/sh
for last; do :; done
case "$*" in
*"--group dev"*) cp pyproject.toml "$last" ;;
*) grep -v pytest pyproject.toml > "$last" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose pins are those of its pyproject.toml."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").write_text(UV)
    (tmp_path / "bin" / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    folder = tmp_path / "checkout"
    for name in ("orchestrator/local", "tests"):
        (folder / name).mkdir(parents=True)
    monkeypatch.chdir(folder)
    (folder / "pyproject.toml").write_text("boto3\npytest\n")
    lock.main([])
    return folder


def tree(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_every_file_is_pinned(checkout: Path) -> None:
    assert tree(checkout) == {
        "pyproject.toml": "boto3\npytest\n",
        "orchestrator/requirements.txt": "boto3\n",
        "orchestrator/local/requirements.txt": "boto3\n",
        "tests/requirements.txt": "boto3\npytest\n",
    }


def test_pins_that_match_pass_the_check(checkout: Path) -> None:
    lock.main(["--check"])


@pytest.mark.parametrize(
    ("dependencies", "lagging"),
    [
        ("boto3\npytest>9\n", "tests/requirements.txt"),
        (
            "boto3>1\npytest\n",
            "orchestrator/requirements.txt tests/requirements.txt orchestrator/local/requirements.txt",
        ),
    ],
)
def test_pins_that_do_not_match_are_named_and_left_as_they_are(checkout: Path, dependencies: str, lagging: str) -> None:
    (checkout / "pyproject.toml").write_text(dependencies)
    before = tree(checkout)

    with pytest.raises(SystemExit) as stopped:
        lock.main(["--check"])

    assert stopped.value.code == f"these do not match pyproject.toml (run `make lock`): {lagging}"
    assert tree(checkout) == before


def test_if_uv_fails_the_check_fails(checkout: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (checkout.parent / "bin" / "uv").write_text("#!/bin/sh\necho no such package >&2; exit 2\n")

    with pytest.raises(SystemExit) as stopped:
        lock.main(["--check"])

    assert stopped.value.code == 2
    assert "no such package" in capfd.readouterr().err
