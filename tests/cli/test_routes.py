"""The registry as a table, as JSON and as a diagram."""

import sys
from types import SimpleNamespace

import pytest

from orchestrator import EndingEvent, Event, Registry
from orchestrator.cli.main import main
from orchestrator.cli.routes import as_mermaid, routes


def is_premium(event: Event) -> bool:
    return bool(event.detail["tier"] == "PREMIUM")


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.consumer("A", "B", name="one")(lambda event: None)
    ending = EndingEvent(success="A", failure="C")
    registry.consumer("B", name='two "x"', when=is_premium, ending=ending, leads_to=["a <b>", "C"])(lambda event: None)
    return registry


def test_each_type_of_each_consumer_is_a_route(registry: Registry) -> None:
    assert [tuple(route.values())[:3] for route in routes(registry)] == [
        ("A", "one", None),
        ("B", "one", None),
        ("B", 'two "x"', "is_premium"),
    ]
    assert [route["leadsTo"] for route in routes(registry)] == [[], [], ["A", "C", "a <b>"]]
    assert routes(registry)[0]["function"] == "tests.cli.test_routes:registry.<locals>.<lambda>"


@pytest.fixture
def own_registry(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "own_routes", SimpleNamespace(registry=registry))


def routes_on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", str(columns))
    main(["routes", "--handler", "own_routes:registry"])


@pytest.mark.usefixtures("own_registry")
def test_a_table_has_a_row_for_each_route(capsys: pytest.CaptureFixture[str]) -> None:
    main(["routes", "--handler", "own_routes:registry"])

    heading, first, *_, last = capsys.readouterr().out.splitlines()
    assert heading.split() == ["EVENT", "TYPE", "CONSUMER", "CONDITION", "LEADS", "TO", "FUNCTION"]
    assert first.startswith("A           one       -           -            tests.cli.test_routes:")
    assert "is_premium  A, C, a <b>  tests.cli.test_routes:" in last


@pytest.mark.usefixtures("own_registry")
def test_a_terminal_that_is_too_narrow_for_the_table_gets_a_block_for_each_route(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    routes_on_terminal(monkeypatch, 60)

    first, _, last = capsys.readouterr().out.split("\n\n")
    assert first.splitlines()[:4] == ["EVENT TYPE  A", "CONSUMER    one", "CONDITION   -", "LEADS TO    -"]
    assert last.splitlines()[1:4] == ['CONSUMER    two "x"', "CONDITION   is_premium", "LEADS TO    A, C, a <b>"]


@pytest.mark.usefixtures("own_registry")
def test_a_wide_terminal_gets_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    routes_on_terminal(monkeypatch, 200)

    assert len(capsys.readouterr().out.splitlines()) == 4


def test_a_diagram_draws_each_type_and_consumer_once_by_its_name(registry: Registry) -> None:
    assert as_mermaid(registry).splitlines() == [
        "flowchart LR",
        '    A(["A"])',
        '    B(["B"])',
        '    C(["C"])',
        '    one["one"]',
        '    two_x["two #34;x#34;"]',
        '    a_b>"a #60;b#62;"]',
        "    A --> one",
        "    B --> one",
        '    B -->|"is_premium"| two_x',
        "    two_x -.-> A",
        "    two_x -.-> C",
        "    two_x -.-> a_b",
    ]


def test_names_that_a_diagram_cannot_have_or_has_already_are_changed() -> None:
    registry = Registry()
    registry.consumer("end", name="end", leads_to=["…"])(lambda event: None)
    registry.consumer("a b", name="a-b")(lambda event: None)

    assert as_mermaid(registry).splitlines() == [
        "flowchart LR",
        '    end_2(["end"])',
        '    a_b(["a b"])',
        '    unnamed(["#8230;"])',
        '    end_3["end"]',
        '    a_b_2["a-b"]',
        "    end_2 --> end_3",
        "    a_b --> a_b_2",
        "    end_3 -.-> unnamed",
    ]


def test_the_expression_of_a_lambda_is_its_condition() -> None:
    registry = Registry()
    registry.consumer("A", name="one", when=lambda event: event.detail["tier"] == "PREMIUM")(lambda event: None)

    assert routes(registry)[0]["condition"] == "event.detail['tier'] == 'PREMIUM'"


def test_a_condition_without_source_keeps_its_name() -> None:
    registry = Registry()
    when = eval("lambda event: True")  # noqa: S307 (a lambda without a file)
    registry.consumer("A", name="one", when=when)(lambda event: None)

    assert routes(registry)[0]["condition"] == "<lambda>"
