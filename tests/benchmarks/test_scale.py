"""The simulated burst: the statements of OPERATIONS.md about direct and buffered mode follow from it."""

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


def test_codebuild_runs_some_lets_more_wait_and_refuses_the_rest() -> None:
    codebuild = CodeBuild(QUOTAS, 300)

    assert [codebuild.start(0) for _ in range(14)] == [True] * 12 + [False] * 2
    assert not codebuild.start(230)  # no build ends in less than four fifths of its time
    assert [codebuild.start(361) for _ in range(3)] == [True, True, False]
    assert 7 * 240 <= codebuild.finish() <= 7 * 360


@pytest.mark.parametrize("concurrency", [2, 10])
def test_in_buffered_mode_nothing_reaches_the_failure_queue_however_long_it_takes(concurrency: int) -> None:
    outcome = buffered(QUOTAS, BURST, ours(concurrency))

    assert outcome.failed == []
    assert len(outcome.started) == BURST.tenants
    whole = BURST.tenants * BURST.build_seconds / QUOTAS.running_builds
    assert 0.95 * whole < outcome.ended < 1.1 * whole


def test_what_cannot_be_started_within_the_time_that_sqs_keeps_it_is_in_the_failure_queue() -> None:
    outcome = buffered(replace(QUOTAS, running_builds=1), replace(BURST, tenants=500, build_seconds=3000), ours(2))

    assert len(outcome.started) + len(outcome.failed) == 500
    assert 13 * 86400 < min(outcome.failed) <= max(outcome.failed) < 14 * 86400


def test_a_redrive_policy_alone_gives_up_what_only_has_to_wait() -> None:
    outcome = buffered(QUOTAS, BURST, five_tries(10))

    assert len(outcome.failed) > 0.9 * BURST.tenants
    assert max(outcome.failed) < 3600


def test_in_direct_mode_what_codebuild_refuses_three_times_is_in_the_failure_queue() -> None:
    outcome = direct(QUOTAS, BURST)

    assert (len(outcome.started), len(outcome.failed)) == (12, 988)
    assert outcome.tries == 12 + 3 * 988
    assert 180 < min(outcome.failed) <= max(outcome.failed) < 240


def test_an_account_with_little_concurrency_throttles_and_loses_nothing_by_that() -> None:
    much = replace(QUOTAS, running_builds=1000, concurrency=10)

    outcome = direct(much, BURST)

    assert outcome.throttled > BURST.tenants
    assert (len(outcome.started), outcome.failed) == (1000, [])


def test_direct_mode_takes_what_runs_and_waits_at_once() -> None:
    assert largest_direct_burst(QUOTAS, BURST) == 12
