"""A benchmark prints its rounds to standard error, as a terminal or a file needs them."""

import sys

import pytest

from tests.benchmarks.progress import rounds


def test_a_file_gets_a_line_for_each_round(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(rounds("warm", 2)) == [1, 2]

    assert capsys.readouterr() == ("", "warm: round 1 of 2\nwarm: round 2 of 2\n")


def test_a_terminal_gets_one_line_that_changes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    list(rounds("warm", 2))

    assert capsys.readouterr().err == "\r\x1b[Kwarm: round 1 of 2\r\x1b[Kwarm: round 2 of 2\r\x1b[K"
