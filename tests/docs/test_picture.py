"""README's picture shows what the command prints today."""

from tests.docs.picture import PICTURE, drawn, main_command
from tests.support.lambda_runtime import ROOT


def test_the_picture_shows_what_the_main_command_prints() -> None:
    assert drawn() == PICTURE.read_text(encoding="utf-8"), "run `make picture`"


def test_readme_shows_the_picture() -> None:
    assert f"]({PICTURE.relative_to(ROOT)})" in (ROOT / "README.md").read_text()


def test_the_picture_names_the_command_and_fetches_nothing() -> None:
    picture = PICTURE.read_text(encoding="utf-8")

    assert main_command() in picture.replace("&#160;", " ")
    assert "url(http" not in picture
    assert "@font-face" not in picture
