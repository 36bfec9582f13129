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

    assert heading.split() == ["EVENT", "TYPE", "CONSUMER", "CONDITION", "FUNCTION"]
    assert first.startswith("A           one")
    assert "is_premium" in last
    assert as_table([]).split() == heading.split()


def test_a_diagram_draws_each_type_and_consumer_once(registry: Registry) -> None:
    assert as_mermaid(routes(registry)).splitlines() == [
        "flowchart LR",
        '    event0(["A"])',
        '    event1(["B"])',
        '    event2(["C"])',
        '    consumer0["one"]',
        '    consumer1["two #34;x#34;"]',
        '    end0>"a #60;b#62;"]',
        "    event0 --> consumer0",
        "    event1 --> consumer0",
        '    event1 -->|"is_premium"| consumer1',
        "    consumer1 -.-> event0",
        "    consumer1 -.-> end0",
        "    consumer1 -.-> event2",
    ]
