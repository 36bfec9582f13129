"""One test for each moment at which a delivery can be killed, and for each way in which one can come twice."""

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.chaos.child import Child
from tests.chaos.driver import MUCH_LATER
from tests.chaos.faults import Fault, Faults
from tests.chaos.lives import BUILDERS, PROVISIONING, start_event
from tests.chaos.world import World

LOCK_SECONDS = 2.0
START = {"CODE_BUILD": "StartBuild", "JENKINS": "buildWithParameters"}
SEARCH = {"CODE_BUILD": "ListBuildsForProject", "JENKINS": "GET /queue"}
SDK_TRIES = 3
APART = LOCK_SECONDS / 3
# An action's record is written twice: when it is claimed, and when it is settled.
RECORD = "UpdateItem idempotency"


@pytest.fixture
def world() -> Iterator[World]:
    with World(Faults()) as world:
        yield world
        assert not world.surprises


@pytest.fixture(params=BUILDERS)
def event(request: pytest.FixtureRequest) -> dict[str, Any]:
    return start_event(PROVISIONING, request.param, "PREMIUM")


def test_killed_before_the_claim(world: World, event: dict[str, Any]) -> None:
    _killed(world, event, Fault.KILLED_BEFORE, RECORD)
    _assert_redelivery_leaves_one_run(world, event)


def test_killed_after_the_claim(world: World, event: dict[str, Any]) -> None:
    _killed(world, event, Fault.KILLED_AFTER, RECORD)
    _assert_redelivery_leaves_one_run(world, event)


def test_killed_when_the_request_has_left(world: World, event: dict[str, Any]) -> None:
    _killed(world, event, Fault.KILLED_BEFORE, START[_builder(event)])
    _assert_redelivery_leaves_one_run(world, event)


def test_killed_when_the_builder_has_acted_and_not_answered(world: World, event: dict[str, Any]) -> None:
    _killed(world, event, Fault.KILLED_AFTER, START[_builder(event)])
    _assert_redelivery_leaves_one_run(world, event)


def test_killed_between_the_answer_and_the_settlement(world: World, event: dict[str, Any]) -> None:
    world.faults.plan(Fault.NONE, on=RECORD)
    _killed(world, event, Fault.KILLED_BEFORE, RECORD)
    _assert_redelivery_leaves_one_run(world, event)


def test_killed_after_the_settlement(world: World, event: dict[str, Any]) -> None:
    world.faults.plan(Fault.NONE, on=RECORD)
    _killed(world, event, Fault.KILLED_AFTER, RECORD)
    _assert_redelivery_leaves_one_run(world, event)


def test_nobody_can_tell_whether_the_builder_has_acted(world: World, event: dict[str, Any]) -> None:
    world.faults.plan(Fault.ANSWER_LOST, on="StartBuild", times=SDK_TRIES)
    world.faults.plan(Fault.ANSWER_LOST, on="buildWithParameters")
    world.faults.plan(Fault.BROKEN, on=SEARCH["JENKINS"])

    result = world.spawn(LOCK_SECONDS).deliver(event)

    assert result is not None
    assert result["error"] == "Unavailable"
    _assert_redelivery_leaves_one_run(world, event)


def test_killed_when_the_builder_has_acted_and_then_the_search_for_the_run_fails(
    world: World, event: dict[str, Any]
) -> None:
    _killed(world, event, Fault.KILLED_AFTER, START[_builder(event)])
    world.faults.plan(Fault.THROTTLED, on=SEARCH[_builder(event)], times=SDK_TRIES)
    _assert_redelivery_leaves_one_run(world, event)


def test_delivered_to_two_children_at_the_same_moment(world: World, event: dict[str, Any]) -> None:
    children = [world.spawn(LOCK_SECONDS), world.spawn(LOCK_SECONDS)]
    together = threading.Barrier(2)

    def deliver(child: Child) -> bool:
        together.wait()
        result = child.deliver(event)
        world.jenkins.run_queue()
        return result is not None and bool(result["ok"])

    with ThreadPoolExecutor(2) as pool:
        assert any(pool.map(deliver, children))
    _assert_redelivery_leaves_one_run(world, event)


def test_delivered_again_while_the_first_delivery_is_with_the_builder(world: World, event: dict[str, Any]) -> None:
    # A lock that is not waited for may be long; the first child must wait for its answer as long as this takes.
    first, second = world.spawn(5 * LOCK_SECONDS), world.spawn(5 * LOCK_SECONDS)
    hold = world.faults.hold(on=START[_builder(event)])
    with ThreadPoolExecutor(1) as pool:
        delivered = pool.submit(first.deliver, event)
        assert hold.arrived.wait(LOCK_SECONDS)
        repeated = second.deliver(event)
        _let_time_pass(world)
        hold.released.set()
        answer = delivered.result()

    assert answer is not None
    assert answer["ok"]
    assert repeated is not None
    assert repeated["error"] == "Unavailable"
    _assert_redelivery_leaves_one_run(world, event)


def test_a_request_takes_effect_only_when_its_lock_ends_and_clocks_are_apart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = start_event(PROVISIONING, "JENKINS", "PREMIUM")
    world.faults.plan(Fault.LATE, on=START["JENKINS"])
    monkeypatch.setattr(world.faults, "share", lambda: 1.0)  # at the very end
    behind, ahead = world.spawn(LOCK_SECONDS, -APART / 2), world.spawn(LOCK_SECONDS, APART / 2)

    late = behind.deliver(event)
    _delivered(ahead, event)

    assert late is not None
    assert late["error"] == "Unavailable"
    _let_time_pass(world)  # what waits could hide a second start
    world.await_late()
    assert len(list(world.runs("JENKINS"))) == 1


def test_delivered_again_much_later(world: World, event: dict[str, Any]) -> None:
    _delivered(world.spawn(LOCK_SECONDS), event)
    _assert_redelivery_leaves_one_run(world, event)


def test_replayed_from_an_archive(world: World, event: dict[str, Any]) -> None:
    _delivered(world.spawn(LOCK_SECONDS), event)
    _assert_redelivery_leaves_one_run(world, {**event, "replay-name": "after-the-outage"})


def _killed(world: World, event: Mapping[str, Any], fault: Fault, on: str) -> None:
    world.faults.plan(fault, on=on)
    assert world.spawn(LOCK_SECONDS).deliver(event) is None, f"there was no {on} to be killed at"


def _assert_redelivery_leaves_one_run(world: World, event: Mapping[str, Any]) -> None:
    _let_time_pass(world)
    _delivered(world.spawn(LOCK_SECONDS), event)
    runs = [run for run in world.runs(_builder(event)) if run["ORCHESTRATOR_EVENT_ID"] == event["id"]]
    assert len(runs) == 1


def _let_time_pass(world: World) -> None:
    """Take away what could hide a second start: Jenkins' waiting items and CodeBuild's tokens."""
    world.jenkins.run_queue()
    world.advance(MUCH_LATER)


def _delivered(child: Child, event: Mapping[str, Any]) -> None:
    """Deliver until the lock that somebody else may have left is over."""
    deadline = time.monotonic() + 6 * LOCK_SECONDS
    while True:
        result = child.deliver(event)
        assert result is not None
        if result["ok"]:
            return
        assert result["error"] == "Unavailable", result
        assert time.monotonic() < deadline, result
        time.sleep(0.1)


def _builder(event: Mapping[str, Any]) -> str:
    return str(event["detail"]["builderConfig"]["type"])
