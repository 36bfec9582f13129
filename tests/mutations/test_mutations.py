"""A short run of the mutations, and that its verdict finds what is wrong."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import ConfigurationError, InvalidEvent
from tests.mutations import fuzz, limits
from tests.mutations.samples import MARK
from tests.mutations.tree import tree_of, written
from tests.mutations.verdict import LONGEST_ERROR, LONGEST_LINE, faults_of
from tests.mutations.world import Delivered, World, world

_EVENTS = 750


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.mark.parametrize("part", range(2))
def test_mutated_events_are_handled_or_refused_by_typed_errors(part: int) -> None:
    with world() as made:
        figures = fuzz.run(made, 0, range(part * _EVENTS, (part + 1) * _EVENTS))

    assert [(finding.index, finding.mutation.sample, finding.faults) for finding in figures.findings] == []
    assert figures.outcomes["handled"] > _EVENTS / 20
    assert figures.outcomes["InvalidEvent"] > _EVENTS / 20


def test_every_sample_is_handled_as_it_is(made: World) -> None:
    delivered = {name: made.deliver(handler, written(tree)) for name, handler, tree in made.samples}

    assert {name: faults for name, one in delivered.items() if (faults := list(faults_of(one)))} == {}
    assert [name for name, one in delivered.items() if one.error is not None] == ["undelivered"]


def test_the_same_seed_and_index_make_the_same_event(made: World) -> None:
    with world() as other:
        assert [fuzz.mutation(made, 7, index) for index in range(50)] == [
            fuzz.mutation(other, 7, index) for index in range(50)
        ]


def test_an_event_leaves_no_trace_in_the_world_of_the_next(made: World) -> None:
    name, handler, tree = next(one for one in made.samples if one[0] == "tenant-provisioning")

    first, second = (made.deliver(handler, written(tree)) for _ in range(2))

    assert name == "tenant-provisioning"
    assert first.answer == second.answer
    assert first.answer["consumers"][0]["outcomes"][-1]["status"] == "started"


def delivered(**changes: Any) -> Delivered:
    fine: dict[str, Any] = {
        "answer": {"consumers": []},
        "error": None,
        "output": "",
        "surprises": [],
        "requests": {},
        "seconds": 0.0,
    }
    return Delivered(**{**fine, **changes})


def line(**fields: Any) -> str:
    return json.dumps({"message": "event handled", **fields}) + "\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"error": KeyError("id")},
        {"error": ExceptionGroup("two", [InvalidEvent("event 1"), ExceptionGroup("more", [TypeError("x")])])},
        {"error": InvalidEvent(f"its secret is {MARK.lower()}")},
        {"error": InvalidEvent("x" * (LONGEST_ERROR + 1))},
        {"error": InvalidEvent("\x1b[31m")},
        {"error": InvalidEvent("")},
        {"answer": {"number": float("nan")}},
        {"answer": {"secret": MARK}},
        {"output": line(variables={"secret": MARK})},
        {"output": line(error="KeyError")},
        {"output": line(exception="Traceback …")},
        {"output": line(message="two\nlines")},
        {"output": line(detail="x" * LONGEST_LINE)},
        {"output": '{"value": NaN}\n'},
        {"output": "no JSON\n"},
        {"surprises": ["PutItem: the item is too large"]},
    ],
)
def test_the_verdict_names_what_is_wrong(changes: dict[str, Any]) -> None:
    assert list(faults_of(delivered(**changes)))


@pytest.mark.parametrize("changes", [{}, {"error": ConfigurationError("no")}, {"output": line(error="Unavailable")}])
def test_the_verdict_accepts_what_is_right(changes: dict[str, Any]) -> None:
    assert list(faults_of(delivered(**changes))) == []


def test_a_tree_is_written_as_the_json_that_it_was_made_from() -> None:
    value = {"a": [1, "é", None, {"b": '{"c":[true,"{"]}'}], "d": "[broken"}

    assert json.loads(written(tree_of(value))) == value


def test_an_item_that_dynamodb_refuses_is_found() -> None:
    deep: dict[str, Any] = {"S": "x"}
    for _ in range(33):
        deep = {"M": {"a": deep}}

    assert list(limits.of_item({"id": {"S": "a"}, "deep": deep}, "id", ()))
    assert list(limits.of_item({"id": {"S": ""}}, "id", ()))
    assert list(limits.of_item({"id": {"S": "a"}, "n": {"N": "1" * 39}}, "id", ()))
    assert limits.is_too_large({"id": {"S": "a" * 409_600}})
    assert not list(limits.of_item({"id": {"S": "a"}, "n": {"N": "1.5"}}, "id", ()))
