"""The registry as a table, as JSON and as a diagram."""

import pytest

from orchestrator import Event, Registry
from orchestrator.cli.routes import as_mermaid, as_table, routes


def is_premium(event: Event) -> bool:
    return bool(event.detail["tier"] == "PREMIUM")


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.consumer("A", "B", name="one")(lambda event: None)
    registry.consumer("B", name='two "x"', when=is_premium, failure_type="C", leads_to=["A", "a <b>", "C"])(
        lambda event: None
    )
    return registry


def test_each_type_of_each_consumer_is_a_route(registry: Registry) -> None:
    assert [tuple(route.values())[:3] for route in routes(registry)] == [
        ("A", "one", None),
        ("B", "one", None),
        ("B", 'two "x"', "is_premium"),
    ]
    assert [route["leadsTo"] for route in routes(registry)] == [[], [], ["A", "a <b>", "C"]]
    assert routes(registry)[0]["function"] == "tests.cli.test_routes:registry.<locals>.<lambda>"


def test_a_table_has_a_row_for_each_route(registry: Registry) -> None:
    heading, first, *_, last = as_table(routes(registry)).splitlines()

    assert heading.split() == ["EVENT", "TYPE", "CONSUMER", "CONDITION", "LEADS", "TO", "FUNCTION"]
    assert first.startswith("A           one       -           -            tests.cli.test_routes:")
    assert "is_premium  A, a <b>, C  tests.cli.test_routes:" in last
    assert as_table([]).split() == heading.split()


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
        "    two_x -.-> a_b",
        "    two_x -.-> C",
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
