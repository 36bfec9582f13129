"""Every place in the repository that a page, the template or a check names is there."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("orchestrator", "events", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.M)
_CODE = re.compile(r"^ *```.*?^ *```$", re.M | re.S)
_NAMED = (
    re.compile(r'"(?P<heading>[^"\n]+)" in\s+(?P<page>[\w/]+\.md)'),  # the template's descriptions
    re.compile(r"see (?P<page>[\w/]+(?:\.md)?), (?P<heading>[A-Z][a-z ]+)"),  # the remedies of the smoke checks
)


class Mention(NamedTuple):
    """A heading of a page that another file names."""

    file: str
    page: str
    heading: str


def prose(page: Path) -> str:
    return _CODE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of headings."""
    seen: Counter[str] = Counter()
    made = set()
    for heading in _HEADING.findall(prose(page)):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        made.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return made


def relative_links(page: Path) -> Iterator[str]:
    return (link for link in _LINK.findall(prose(page)) if not re.match(r"[a-z]+:", link))


def fault(page: Path, link: str) -> str | None:
    """Say what is wrong with a link, if anything."""
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.is_relative_to(ROOT) or not target.exists():
        return f"{link}: there is no such file"
    if anchor and anchor not in anchors(target):
        return f"{link}: the page has no such heading"
    return None


def mentions() -> Iterator[Mention]:
    modules = sorted(file.relative_to(ROOT) for file in (ROOT / "orchestrator").rglob("*.py"))
    for file in ("template.yaml", "tests/smoke/checks.py", *map(str, modules)):
        text = (ROOT / file).read_text()
        for pattern in _NAMED:
            for found in pattern.finditer(text):
                yield Mention(file, found["page"], found["heading"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_heading_that_are_there(page: Path) -> None:
    faults = [found for link in relative_links(page) if (found := fault(page, link)) is not None]

    assert faults == []


def test_every_page_can_be_reached_from_readme() -> None:
    reached, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached:
            reached.add(page)
            targets = ((page.parent / link.partition("#")[0]).resolve() for link in relative_links(page))
            ahead += [target for target in targets if target.suffix == ".md"]

    assert reached >= set(PAGES)


def test_the_headings_that_template_checks_and_docstrings_name_are_there() -> None:
    named = list(mentions())

    assert {mention.file for mention in named} >= {
        "template.yaml",
        "tests/smoke/checks.py",
        "orchestrator/lifecycle/webhook.py",
        "orchestrator/builders/jenkins/__init__.py",
    }
    for mention in named:
        page = ROOT / f"{mention.page.removesuffix('.md')}.md"
        assert mention.heading in _HEADING.findall(prose(page)), mention


def test_a_link_that_leads_nowhere_is_found() -> None:
    page = ROOT / "README.md"

    assert fault(page, "orchestrator/OPERATIONS.md#limits") is None
    assert fault(page, "orchestrator/NOWHERE.md") == "orchestrator/NOWHERE.md: there is no such file"
    assert fault(page, "LICENSE#none") == "LICENSE#none: the page has no such heading"
    assert fault(page, "#nowhere") == "#nowhere: the page has no such heading"
    assert fault(page, "../outside.md") == "../outside.md: there is no such file"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_of_prose_are_no_longer_than_120_characters(page: Path) -> None:
    lines = prose(page).splitlines()
    long = [line for line in lines if len(line) > 120 and not line.startswith("|") and " " in line.strip()]

    assert long == []
