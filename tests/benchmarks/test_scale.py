"""The simulated burst confirms what OPERATIONS.md says about direct and buffered mode."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.benchmarks.scale import (
    Assumptions,
    CodeBuild,
    Message,
    Outcome,
    Queue,
    Quotas,
    WaitingQueue,
    buffered,
    direct,
    five_tries,
    largest_burst_without_waiting,
    ours,
)

Mode = Callable[[Quotas, Assumptions, Queue], Outcome]

QUOTAS = Quotas(running_builds=2)
BURST = Assumptions(tenants=1000)


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    random.seed(1)


def test_codebuild_runs_some_builds_queues_more_and_refuses_the_rest() -> None:
    codebuild = CodeBuild(QUOTAS, 300)

    assert [codebuild.start(0) for _ in range(14)] == [True] * 12 + [False] * 2
    assert not codebuild.start(230)  # no build ends in less than four fifths of its time
    assert [codebuild.start(361) for _ in range(3)] == [True, True, False]
    assert 7 * 240 <= codebuild.finish() <= 7 * 360


@pytest.mark.parametrize("mode", [direct, buffered])
@pytest.mark.parametrize("concurrency", [2, 10])
def test_no_event_reaches_the_failure_queue_that_codebuild_can_build_in_time(mode: Mode, concurrency: int) -> None:
    outcome = mode(QUOTAS, BURST, ours(concurrency))

    assert outcome.failed == []
    assert len(outcome.started) == BURST.tenants
    whole = BURST.tenants * BURST.build_seconds / QUOTAS.running_builds
    assert 0.95 * whole < outcome.ended < 1.1 * whole


@pytest.mark.parametrize("mode", [direct, buffered])
def test_events_that_cannot_start_within_the_retention_of_sqs_reach_the_failure_queue(mode: Mode) -> None:
    outcome = mode(replace(QUOTAS, running_builds=1), replace(BURST, tenants=500, build_seconds=3000), ours(2))

    assert len(outcome.started) + len(outcome.failed) == 500
    assert 13 * 86400 < min(outcome.failed) <= max(outcome.failed) < 14 * 86400


def test_a_redrive_policy_alone_gives_up_events_that_only_have_to_wait() -> None:
    outcome = buffered(QUOTAS, BURST, five_tries(10))

    assert len(outcome.failed) > 0.9 * BURST.tenants
    assert max(outcome.failed) < 3600


def test_in_direct_mode_the_function_sends_refused_events_to_the_waiting_queue_once() -> None:
    outcome = direct(QUOTAS, BURST, ours(10))

    assert outcome.sent == 1000 - 12
    assert outcome.queue_requests > outcome.sent


def test_in_direct_mode_events_that_do_not_wait_cost_no_request_to_sqs() -> None:
    outcome = direct(QUOTAS, replace(BURST, tenants=12), ours(10))

    assert (outcome.sent, outcome.queue_requests, outcome.tries) == (0, 0, 12)


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


def test_a_message_is_not_handled_before_it_is_visible_although_a_poller_was_free() -> None:
    queue = WaitingQueue(QUOTAS, ours(2))
    for number in range(30):
        queue.hide(Message(number, came=0, sent=0), until=100)
    queue.release(at=3)

    begins = []
    for _ in range(3):
        begins.append(queue.next_batch())
        queue.receive()

    assert begins == [100, 100, 100]


def test_codebuild_accepts_as_many_builds_at_once_as_run_or_wait() -> None:
    assert largest_burst_without_waiting(QUOTAS, BURST) == 12
