"""The simulated burst confirms what OPERATIONS.md says about direct and buffered mode."""

import random
from dataclasses import replace

import pytest

from tests.benchmarks.scale import (
    Assumptions,
    CodeBuild,
    Quotas,
    buffered,
    direct,
    five_tries,
    largest_direct_burst,
    ours,
)

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


@pytest.mark.parametrize("concurrency", [2, 10])
def test_in_buffered_mode_no_event_reaches_the_failure_queue(concurrency: int) -> None:
    outcome = buffered(QUOTAS, BURST, ours(concurrency))

    assert outcome.failed == []
    assert len(outcome.started) == BURST.tenants
    whole = BURST.tenants * BURST.build_seconds / QUOTAS.running_builds
    assert 0.95 * whole < outcome.ended < 1.1 * whole


def test_events_that_cannot_start_within_the_retention_of_sqs_reach_the_failure_queue() -> None:
    outcome = buffered(replace(QUOTAS, running_builds=1), replace(BURST, tenants=500, build_seconds=3000), ours(2))

    assert len(outcome.started) + len(outcome.failed) == 500
    assert 13 * 86400 < min(outcome.failed) <= max(outcome.failed) < 14 * 86400


def test_a_redrive_policy_alone_gives_up_events_that_only_have_to_wait() -> None:
    outcome = buffered(QUOTAS, BURST, five_tries(10))

    assert len(outcome.failed) > 0.9 * BURST.tenants
    assert max(outcome.failed) < 3600


def test_in_direct_mode_events_refused_three_times_reach_the_failure_queue() -> None:
    outcome = direct(QUOTAS, BURST)

    assert (len(outcome.started), len(outcome.failed)) == (12, 988)
    assert outcome.tries == 12 + 3 * 988
    assert 180 < min(outcome.failed) <= max(outcome.failed) < 240


def test_an_account_with_little_concurrency_throttles_but_loses_no_event() -> None:
    much = replace(QUOTAS, running_builds=1000, concurrency=10)

    outcome = direct(much, BURST)

    assert outcome.throttled > BURST.tenants
    assert (len(outcome.started), outcome.failed) == (1000, [])


def test_direct_mode_accepts_as_many_builds_as_run_or_wait() -> None:
    assert largest_direct_burst(QUOTAS, BURST) == 12
