"""One run starts, wherever a delivery is killed and however it is repeated."""

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
from tests.chaos.sqs import Message
from tests.chaos.world import World

# Long enough for a child on a busy machine; no test waits for the end of such a lock.
LOCK_SECONDS = 10.0
LATER = 2 * LOCK_SECONDS
SHORT_LOCK_SECONDS = 2.0
START = {"CODE_BUILD": "StartBuild", "JENKINS": "buildWithParameters"}
SEARCH = {"CODE_BUILD": "ListBuildsForProject", "JENKINS": "GET /queue"}
SDK_TRIES = 3
APART = SHORT_LOCK_SECONDS / 3
# The claim is a transaction, which also takes the tenant's lock.
CLAIM, SETTLEMENT = "TransactWriteItems", "UpdateItem idempotency"


@pytest.fixture
def world() -> Iterator[World]:
    with World(Faults()) as world:
        yield world
        assert not world.surprises


@pytest.fixture(params=BUILDERS)
def event(request: pytest.FixtureRequest) -> dict[str, Any]:
    return start_event(PROVISIONING, request.param, "PREMIUM")


def test_a_kill_before_the_claim_leaves_one_run(world: World, event: dict[str, Any]) -> None:
    _killed(world, event, Fault.KILLED_BEFORE, CLAIM)
    _assert_redelivery_leaves_one_run(world, event)


def test_a_kill_after_the_claim_leaves_one_run(world: World, event: dict[str, Any]) -> None:
    _killed(world, event, Fault.KILLED_AFTER, CLAIM)
    _assert_redelivery_leaves_one_run(world, event)


def test_a_kill_before_the_builder_acts_leaves_one_run(world: World, event: dict[str, Any]) -> None:
    _killed(world, event, Fault.KILLED_BEFORE, START[_builder(event)])
    _assert_redelivery_leaves_one_run(world, event)


def test_a_kill_before_the_builder_answers_leaves_one_run(world: World, event: dict[str, Any]) -> None:
    _killed(world, event, Fault.KILLED_AFTER, START[_builder(event)])
    _assert_redelivery_leaves_one_run(world, event)


def test_a_kill_before_the_settlement_leaves_one_run(world: World, event: dict[str, Any]) -> None:
    _killed(world, event, Fault.KILLED_BEFORE, SETTLEMENT)
    _assert_redelivery_leaves_one_run(world, event)


def test_a_kill_after_the_settlement_leaves_one_run(world: World, event: dict[str, Any]) -> None:
    _killed(world, event, Fault.KILLED_AFTER, SETTLEMENT)
    _assert_redelivery_leaves_one_run(world, event)


def test_lost_answers_of_the_builder_leave_one_run(world: World, event: dict[str, Any]) -> None:
    world.faults.plan(Fault.ANSWER_LOST, on="StartBuild", times=SDK_TRIES)
    world.faults.plan(Fault.ANSWER_LOST, on="buildWithParameters")
    world.faults.plan(Fault.BROKEN, on=SEARCH["JENKINS"])

    result = world.spawn(LOCK_SECONDS).deliver(event)

    assert _waits(result)
    _assert_redelivery_leaves_one_run(world, event)


def test_a_failed_search_after_a_kill_leaves_one_run(world: World, event: dict[str, Any]) -> None:
    _killed(world, event, Fault.KILLED_AFTER, START[_builder(event)])
    world.faults.plan(Fault.THROTTLED, on=SEARCH[_builder(event)], times=SDK_TRIES)
    _assert_redelivery_leaves_one_run(world, event)


def test_an_event_that_waits_is_started_from_the_queue(world: World, event: dict[str, Any]) -> None:
    world.faults.plan(Fault.FULL, on=START[_builder(event)])

    result = world.spawn(LOCK_SECONDS).deliver(event)

    assert _waits(result)
    (message,) = world.aws.waiting.messages()
    _delivered(world, _received(world, message))
    _assert_redelivery_leaves_one_run(world, event)


@pytest.mark.parametrize(("fault", "copies"), [(Fault.KILLED_BEFORE, 0), (Fault.KILLED_AFTER, 1)])
def test_a_kill_at_the_hand_over_leaves_one_run(world: World, event: dict[str, Any], fault: Fault, copies: int) -> None:
    world.faults.plan(Fault.FULL, on=START[_builder(event)])

    _killed(world, event, fault, "SendMessage")

    messages = world.aws.waiting.messages()
    assert len(messages) == copies
    _assert_redelivery_leaves_one_run(world, event)
    for message in world.aws.waiting.messages():
        _delivered(world, _received(world, message))
    assert len(list(world.runs(_builder(event)))) == 1


def test_a_lost_answer_of_the_queue_leaves_one_run(world: World, event: dict[str, Any]) -> None:
    world.faults.plan(Fault.FULL, on=START[_builder(event)])
    world.faults.plan(Fault.ANSWER_LOST, on="SendMessage", times=SDK_TRIES)

    result = world.spawn(LOCK_SECONDS).deliver(event)

    assert result is not None
    assert result["error"] == "Unavailable"  # Lambda delivers the event again
    _assert_redelivery_leaves_one_run(world, event)
    for message in world.aws.waiting.messages():
        _delivered(world, _received(world, message))
    assert len(list(world.runs(_builder(event)))) == 1


def test_two_deliveries_at_the_same_moment_start_one_run(world: World, event: dict[str, Any]) -> None:
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


def test_a_redelivery_during_the_builders_request_starts_no_second_run(world: World, event: dict[str, Any]) -> None:
    first, second = world.spawn(LOCK_SECONDS), world.spawn(LOCK_SECONDS)
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


def test_a_request_that_takes_effect_at_the_end_of_its_lock_leaves_one_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = start_event(PROVISIONING, "JENKINS", "PREMIUM")
    world.faults.plan(Fault.LATE, on=START["JENKINS"])
    monkeypatch.setattr(world.faults, "share", lambda: 1.0)  # at the very end
    behind, ahead = world.spawn(SHORT_LOCK_SECONDS, -APART / 2), world.spawn(SHORT_LOCK_SECONDS, APART / 2)

    late = behind.deliver(event)
    _delivered_in_time(ahead, event)

    assert _waits(late)
    _let_time_pass(world)  # an item in the queue could hide a second start
    world.await_late()
    assert len(list(world.runs("JENKINS"))) == 1


def test_a_redelivery_much_later_starts_no_second_run(world: World, event: dict[str, Any]) -> None:
    _delivered(world, event)
    _assert_redelivery_leaves_one_run(world, event)


def test_an_archive_replay_starts_no_second_run(world: World, event: dict[str, Any]) -> None:
    _delivered(world, event)
    _assert_redelivery_leaves_one_run(world, {**event, "replay-name": "after-the-outage"})


def _waits(result: Mapping[str, Any] | None) -> bool:
    """Whether a delivery ended with the event in the waiting queue."""
    assert result is not None
    assert result["ok"], result
    return bool(result["answer"]["consumers"][0]["outcomes"][-1]["status"] == "waiting")


def _received(world: World, message: Message) -> Mapping[str, Any]:
    """Receive a message of the waiting queue, in the batch in which Lambda delivers it."""
    return {"Records": [world.aws.waiting.receive(message.id, hidden=True)]}


def _killed(world: World, event: Mapping[str, Any], fault: Fault, on: str) -> None:
    world.faults.plan(fault, on=on)
    assert world.spawn(LOCK_SECONDS).deliver(event) is None, f"no request matched {on}"


def _assert_redelivery_leaves_one_run(world: World, event: Mapping[str, Any]) -> None:
    _let_time_pass(world)
    _delivered(world, event)
    runs = [run for run in world.runs(_builder(event)) if run["ORCHESTRATOR_EVENT_ID"] == event["id"]]
    assert len(runs) == 1


def _let_time_pass(world: World) -> None:
    """Remove what could hide a second start: Jenkins' waiting items and CodeBuild's tokens."""
    world.jenkins.run_queue()
    world.advance(MUCH_LATER)


def _delivered(world: World, event: Mapping[str, Any]) -> None:
    """Deliver now, and again if that fails, by a child whose clock is past the end of every lock."""
    if not _is_delivered(world.spawn(LOCK_SECONDS), event):
        assert _is_delivered(world.spawn(LOCK_SECONDS, LATER), event)


def _delivered_in_time(child: Child, event: Mapping[str, Any]) -> None:
    """Deliver until it succeeds, once a lock left by another child has expired."""
    deadline = time.monotonic() + 6 * SHORT_LOCK_SECONDS
    while not _is_delivered(child, event):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _is_delivered(child: Child, event: Mapping[str, Any]) -> bool:
    result = child.deliver(event)
    assert result is not None
    assert result["ok"] or result["error"] in ("Unavailable", "Waiting"), result
    return bool(result["ok"])


def _builder(event: Mapping[str, Any]) -> str:
    return str(event["detail"]["builderConfig"]["type"])
