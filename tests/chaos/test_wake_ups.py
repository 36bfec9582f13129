"""Slots stay within their limits, and an event that waits is woken, wherever a delivery is killed."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.chaos.builds import state_change
from tests.chaos.child import ROOT
from tests.chaos.driver import MUCH_LATER
from tests.chaos.faults import Fault, Faults
from tests.chaos.lives import PROVISIONING, start_event
from tests.chaos.sqs import Message
from tests.chaos.world import World

# Long enough for a child on a busy machine. A message that was put to sleep is hidden for several seconds.
LOCK_SECONDS = 20.0
# Longer than a lock, by the clock of a child.
LATER = 2 * LOCK_SECONDS
# One job of this tier may run at a time.
TIER = "STANDARD"
SWEEP = json.loads((ROOT / "events" / "scheduled-sweep.json").read_text(encoding="utf-8"))
KILLS = (Fault.KILLED_BEFORE, Fault.KILLED_AFTER)


@pytest.fixture
def world() -> Iterator[World]:
    with World(Faults(), room=1) as world:
        world.aws.dynamodb.lag = 0.0
        yield world
        assert not world.surprises


def test_an_event_that_waits_for_a_slot_is_woken_when_a_run_ends(world: World) -> None:
    message = _asleep(world)

    _deliver(world, _end_of_first_run(world))

    assert _is_visible(message)
    _assert_started(world, message)


@pytest.mark.parametrize("fault", KILLS)
@pytest.mark.parametrize("point", ["ChangeMessageVisibilityBatch", "UpdateItem idempotency"])
def test_a_kill_while_an_event_is_put_to_sleep_loses_nothing(world: World, fault: Fault, point: str) -> None:
    message = _in_queue(world)
    world.faults.plan(fault, on=point)
    assert world.spawn(LOCK_SECONDS).deliver(_received(world, message)) is None

    _deliver(world, _end_of_first_run(world))

    # Nobody can wake it, so it comes back by itself: after its first pause, or after the queue's own.
    assert message.visible_at <= time.monotonic() + 1.2 * LOCK_SECONDS
    _assert_started(world, message)


@pytest.mark.parametrize("fault", KILLS)
@pytest.mark.parametrize("point", ["Query idempotency", "ChangeMessageVisibility"])
def test_a_kill_at_the_wake_up_costs_one_sweep(world: World, fault: Fault, point: str) -> None:
    message = _asleep(world)
    world.faults.plan(fault, on=point)
    assert world.spawn(LOCK_SECONDS).deliver(_end_of_first_run(world)) is None

    _deliver(world, SWEEP)

    assert _is_visible(message)
    _assert_started(world, message)


@pytest.mark.parametrize("fault", KILLS)
def test_a_kill_at_the_claim_leaves_the_slot_within_its_limit(world: World, fault: Fault) -> None:
    first, second = _event(), _event()
    world.faults.plan(fault, on="TransactWriteItems")
    assert world.spawn(LOCK_SECONDS).deliver(first) is None

    _deliver(world, second)
    world.advance(MUCH_LATER)
    result = world.spawn(LOCK_SECONDS, LATER).deliver(first)

    assert result is not None
    assert result["ok"]
    assert len(_runs(world)) == 1
    assert len(world.aws.waiting.messages()) == 1


def _event() -> dict[str, Any]:
    return start_event(PROVISIONING, "CODE_BUILD", TIER)


def _in_queue(world: World) -> Message:
    """Start a job that fills the slot, and send the event of another tenant to the queue."""
    _deliver(world, _event())
    _deliver(world, _event())
    (message,) = world.aws.waiting.messages()
    return message


def _asleep(world: World) -> Message:
    """Let a message of the queue fail, because its job finds no room."""
    message = _in_queue(world)
    result = world.spawn(LOCK_SECONDS).deliver(_received(world, message))
    assert result is not None
    assert result["error"] == "Waiting"
    assert message.visible_at > time.monotonic()
    return message


def _end_of_first_run(world: World) -> Mapping[str, Any]:
    """End the run that fills the slot; return the event about its end, after whose handling it is followed no more."""
    published: list[Mapping[str, Any]] = []
    world.on_published = published.append
    build = world.codebuild.builds[0]
    world.codebuild.finish(build)
    _deliver(world, state_change(build))
    return published[0]


def _received(world: World, message: Message) -> Mapping[str, Any]:
    return {"Records": [world.aws.waiting.receive(message.id, hidden=True)]}


def _deliver(world: World, event: Mapping[str, Any]) -> None:
    result = world.spawn(LOCK_SECONDS).deliver(event)
    assert result is not None
    assert result["ok"], result


def _is_visible(message: Message) -> bool:
    return message.visible_at <= time.monotonic()


def _runs(world: World) -> list[Mapping[str, object]]:
    return list(world.runs("CODE_BUILD"))


def _assert_started(world: World, message: Message) -> None:
    event = json.loads(message.body)
    assert all(run["ORCHESTRATOR_EVENT_ID"] != event["id"] for run in _runs(world))
    _deliver(world, _received(world, message))
    assert sum(run["ORCHESTRATOR_EVENT_ID"] == event["id"] for run in _runs(world)) == 1
