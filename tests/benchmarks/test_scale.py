"""The simulated bursts confirm what OPERATIONS.md says about waiting, slots, and direct and buffered mode."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.benchmarks.scale import costs
from tests.benchmarks.scale.assumptions import Burst, Quotas
from tests.benchmarks.scale.distributed_map import distributed_map
from tests.benchmarks.scale.line import Line
from tests.benchmarks.scale.outcome import Outcome
from tests.benchmarks.scale.queues import Queue, five_tries, ours
from tests.benchmarks.scale.services import Agenda, CodeBuild, Message, Pollers
from tests.benchmarks.scale.simulation import Simulation, buffered, direct

Mode = Callable[[Quotas, Burst, Queue], Outcome]

QUOTAS = Quotas(running_builds=2)
BURST = Burst(tenants=1000)
WHOLE = BURST.tenants * BURST.build_seconds / QUOTAS.running_builds


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    random.seed(1)


def test_codebuild_runs_some_builds_queues_more_and_refuses_the_rest() -> None:
    agenda = Agenda()
    codebuild = CodeBuild(agenda, QUOTAS, 300)
    ended: list[float] = []

    assert [codebuild.start(lambda: ended.append(agenda.now)) for _ in range(14)] == [True] * 12 + [False] * 2
    agenda.run()

    assert len(ended) == 12
    assert 240 <= ended[0] <= 360  # a build takes four to six fifths of its time
    assert 6 * 240 <= codebuild.last_end == ended[-1] <= 6 * 360


@pytest.mark.parametrize("mode", [direct, buffered])
@pytest.mark.parametrize("concurrency", [2, 10])
def test_no_event_reaches_the_failure_queue_that_codebuild_can_build_in_time(mode: Mode, concurrency: int) -> None:
    outcome = mode(QUOTAS, BURST, ours(concurrency))

    assert outcome.failed == []
    assert len(outcome.started) == BURST.tenants
    assert 0.95 * WHOLE < outcome.ended < 1.1 * WHOLE


@pytest.mark.parametrize("running_builds", [1, 2, 20])
@pytest.mark.parametrize("mode", [direct, buffered])
def test_an_event_is_tried_a_few_times_however_long_it_waits(mode: Mode, running_builds: int) -> None:
    outcome = mode(Quotas(running_builds=running_builds), BURST, ours(10))

    assert outcome.tries < 10 * BURST.tenants
    assert outcome.looks < 20 * BURST.tenants
    assert outcome.wakes > 0.8 * BURST.tenants


@pytest.mark.parametrize(("running_builds", "tenants"), [(20, 1000), (200, 5000)])
@pytest.mark.parametrize("mode", [direct, buffered])
def test_codebuild_has_hardly_a_gap(mode: Mode, running_builds: int, tenants: int) -> None:
    outcome = mode(Quotas(running_builds=running_builds), replace(BURST, tenants=tenants), ours(10))

    assert outcome.ended < 1.05 * tenants * BURST.build_seconds / running_builds


@pytest.mark.parametrize("mode", [direct, buffered])
def test_a_slot_is_always_full_and_never_too_full(mode: Mode) -> None:
    outcome = mode(Quotas(running_builds=20), replace(BURST, tenants=500, limited=500), ours(10))

    assert (len(outcome.started), outcome.failed, outcome.most_in_slot) == (500, [], 5)
    assert outcome.ended < 1.05 * 500 * BURST.build_seconds / 5
    assert outcome.requests == 500  # CodeBuild is not asked while the slot is full


def test_a_limited_tier_does_not_hold_up_the_others() -> None:
    mixed = replace(BURST, limited=100)

    outcome = buffered(QUOTAS, mixed, ours(10))

    assert (len(outcome.started), outcome.failed) == (1000, [])
    assert outcome.ended < 1.3 * WHOLE


@pytest.mark.parametrize("mode", [direct, buffered])
def test_events_that_cannot_start_within_the_retention_of_sqs_reach_the_failure_queue(mode: Mode) -> None:
    outcome = mode(replace(QUOTAS, running_builds=1), replace(BURST, tenants=500, build_seconds=3000), ours(2))

    assert len(outcome.started) + len(outcome.failed) == 500
    assert 13 * 86400 < min(outcome.failed) <= max(outcome.failed) < 14 * 86400


def test_a_redrive_policy_alone_gives_up_events_that_only_have_to_wait() -> None:
    outcome = buffered(QUOTAS, BURST, five_tries(10))

    assert len(outcome.failed) > 0.9 * BURST.tenants
    assert max(outcome.failed) < 3600
    assert (outcome.looks, outcome.wakes) == (0, 0)


def test_in_direct_mode_the_function_sends_refused_events_to_the_waiting_queue_once() -> None:
    outcome = direct(QUOTAS, BURST, ours(10))

    assert outcome.sent == 1000 - 12
    assert outcome.queue_requests > outcome.sent


def test_in_direct_mode_events_that_do_not_wait_cost_no_request_to_sqs_but_those_of_idle_pollers() -> None:
    outcome = direct(QUOTAS, replace(BURST, tenants=12), ours(10))

    assert (outcome.sent, outcome.tries) == (0, 12)
    assert outcome.queue_requests == round(outcome.ended / QUOTAS.long_poll * QUOTAS.first_pollers)


def test_in_direct_mode_all_events_are_tried_at_once_although_others_wait() -> None:
    outcome = direct(QUOTAS, BURST, ours(2))

    assert len(outcome.first_tries) == BURST.tenants
    assert max(outcome.first_tries) == pytest.approx(
        BURST.tenants / BURST.per_second + BURST.invocation_seconds, abs=0.1
    )


@pytest.mark.parametrize("running_builds", [2, 1000])
def test_an_account_with_little_concurrency_throttles_but_loses_no_event(running_builds: int) -> None:
    little = replace(QUOTAS, running_builds=running_builds, concurrency=10)

    outcome = direct(little, BURST, ours(10))

    assert outcome.throttled > BURST.tenants
    assert (len(outcome.started), outcome.failed) == (1000, [])


def test_an_event_that_is_throttled_for_six_hours_reaches_the_failure_queue() -> None:
    outcome = direct(replace(QUOTAS, concurrency=1), replace(BURST, invocation_seconds=60), ours(2))

    assert min(outcome.failed) > 6 * 3600
    assert len(outcome.started) + len(outcome.failed) == BURST.tenants


def test_batches_that_are_throttled_for_too_long_become_visible_again() -> None:
    queue = replace(ours(2), tries=2)

    outcome = buffered(Quotas(concurrency=1), replace(BURST, tenants=20, batch_seconds=1000), queue)

    # The batches take longer than the queue keeps a throttled one. The receipts are counted, although nothing was
    # tried.
    assert outcome.throttled > 0
    assert max(outcome.first_tries) == pytest.approx(2000, abs=300)
    assert (outcome.tries, len(outcome.started), outcome.failed) == (20, 20, [])


def test_pollers_share_the_messages_that_become_visible() -> None:
    agenda, begun = Agenda(), list[tuple[float, int]]()
    pollers = Pollers(agenda, QUOTAS, 2, lambda batch: begun.append((agenda.now, len(batch))))
    for number in range(30):
        pollers.hide(Message(number, came=0), until=100 if number < 10 else 200)
    agenda.at(300, pollers.release)

    agenda.run()

    assert sum(size for _, size in begun[:2]) < 12  # each of the two pollers took what was visible
    assert begun[0][0] == 100
    assert [time for time, _ in begun].count(300) == 1


def test_a_message_that_was_shown_earlier_is_not_handed_out_twice() -> None:
    agenda, batches = Agenda(), list[int]()
    pollers = Pollers(agenda, QUOTAS, 5, lambda batch: batches.append(len(batch)))
    message = Message(0, came=0)
    pollers.hide(message, until=100)
    agenda.at(50, pollers.show, message)

    agenda.run()

    assert batches == [1]
    assert message.received == 1


def test_the_index_shows_changes_after_a_while() -> None:
    line = Line(lag=0.5)
    first, second = (line.join(Message(number, came=0), now=number) for number in range(2))

    assert line.first(1, now=1.1) == [first]
    first.gone = 2.0
    assert line.first(1, now=2.1) == [first, second]
    assert line.first(1, now=2.6) == [second]


def test_the_sweep_ends_with_the_burst() -> None:
    outcome = direct(QUOTAS, replace(BURST, tenants=12), ours(10))

    assert outcome.sweeps == int((outcome.ended + BURST.ending_seconds) / QUOTAS.sweep)


def test_waiting_costs_more_than_not_waiting() -> None:
    short, long = (direct(QUOTAS, replace(BURST, tenants=events), ours(10)) for events in (12, 200))

    assert long.dollars / 200 > 2 * short.dollars / 12


def test_every_event_costs_at_least_its_own_steps() -> None:
    outcome = direct(QUOTAS, replace(BURST, tenants=12), ours(10))

    own = [costs.SAVE, costs.CLAIM[False], costs.SETTLE, costs.ENDING[False]]
    assert outcome.writes >= 12 * sum(costs.units(step).writes for step in own)
    assert outcome.reads >= 12 * costs.units(costs.ENDING[False]).reads


@pytest.mark.parametrize("max_concurrency", [2, 12])
def test_a_distributed_map_asks_once_as_long_as_codebuild_takes_what_it_starts(max_concurrency: int) -> None:
    outcome = distributed_map(QUOTAS, BURST, max_concurrency)

    assert (len(outcome.started), outcome.tries) == (1000, 1000)
    assert 0.95 * WHOLE < outcome.ended < 1.1 * WHOLE
    assert outcome.dollars == pytest.approx(1000 * 2 * 25e-6)


def test_a_distributed_map_without_a_limit_pays_for_retries() -> None:
    outcome = distributed_map(QUOTAS, BURST, 0)

    assert len(outcome.started) == 1000
    assert outcome.tries > 20 * 1000
    assert outcome.dollars > 20 * 1000 * 25e-6


def test_a_simulation_counts_what_is_refused_for_a_full_slot_as_a_try() -> None:
    simulation = Simulation(Quotas(), replace(BURST, tenants=8, limited=8), ours(10))
    simulation.publish_directly()

    outcome = simulation.run()

    assert outcome.sent == 3
    assert outcome.tries == 8 + 3 + 3  # at once, from the queue after a minute, and when woken
    assert outcome.requests == 8
