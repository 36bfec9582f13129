"""The judge finds what is wrong, in hand-made facts, and finds nothing in those that are right."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.builds import Run
from tests.chaos.history import Handled, History, JobStarted, Webhook
from tests.chaos.lives import DEPLOYMENT, PROVISIONING, Start, start_event
from tests.chaos.verdict import Facts, Judge

FIRST, SECOND, THIRD = (Start(start_event(PROVISIONING, "CODE_BUILD", "BASIC")) for _ in range(3))
DEPLOYED = Start(start_event(PROVISIONING, "CODE_BUILD", "STANDARD"))
SENT, REFUSED = ({"action": "SendCallback", "status": status} for status in ("sent", "refused"))


def facts(*starts: Start, **others: Any) -> Facts:
    """Build facts in which each start's job was accepted at 1.0, and its run succeeded and ended at 5.0."""
    history = History(jobs=[job(start) for start in starts], webhooks=[], handled=[])
    records: Mapping[str, Any] = {
        start.tenant: {"status": {"S": "DEPLOYED"}, "startedBy": {"S": start.id}} for start in starts
    }
    right = Facts(starts=starts, runs=list(map(run, starts)), history=history, records=records, room=1)
    return replace(right, **others)


def run(start: Start, **others: Any) -> Run:
    right = Run(builder="CODE_BUILD", start=start.id, event_type=PROVISIONING, run_id="r", succeeds=True, ended_at=5.0)
    return replace(right, **others)


def job(start: Start, at: float = 1.0) -> JobStarted:
    return JobStarted(start=start.id, began=at, at=at, event_type=PROVISIONING)


def webhook(start: Start, at: float, *, succeeded: bool = True, is_accepted: bool = True) -> Webhook:
    """Build a webhook of a delivery that began half a second before."""
    return Webhook(start=start.id, began=at - 0.5, at=at, succeeded=succeeded, is_accepted=is_accepted)


def handled(start: Start, sent_at: float, outcome: Mapping[str, Any]) -> Handled:
    """Build a delivery that has sent the webhook of that moment, and ended half a second later."""
    return Handled(start=start.id, began=sent_at - 0.5, ended=sent_at + 0.5, outcomes=(outcome,))


def columns(found: Facts) -> list[str]:
    judge = Judge(found)
    return [column for start in found.starts for column, _ in judge.findings(start)]


def test_nothing_is_wrong_with_a_run_and_its_webhook() -> None:
    right = facts(FIRST)
    right.history.webhooks.append(webhook(FIRST, 6.0))

    assert columns(right) == []


def test_a_start_without_a_run_and_a_run_without_a_webhook_are_lost() -> None:
    assert columns(facts(FIRST, runs=[])) == ["lost"]
    assert columns(facts(FIRST)) == ["lost"]


def test_two_runs_of_one_start_are_a_duplicate() -> None:
    twice = facts(FIRST, runs=[run(FIRST), run(FIRST, run_id="s")], room=2)
    twice.history.webhooks.append(webhook(FIRST, 6.0))

    assert columns(twice) == ["duplicated"]


@pytest.mark.parametrize(("room", "found"), [(1, ["crowded"]), (2, []), (0, [])])
def test_a_job_in_a_full_slot_is_crowded(room: int, found: list[str]) -> None:
    full = facts(FIRST, SECOND, THIRD, room=room)
    full.history.jobs[2] = job(THIRD, at=2.0)
    full.history.webhooks += [webhook(start, 6.0) for start in full.starts]

    assert columns(full) == found


def test_an_event_that_nobody_wakes_is_asleep() -> None:
    assert "asleep" in columns(facts(FIRST, asleep={FIRST.id}))


def test_a_success_of_a_run_that_failed_is_false() -> None:
    wrong = facts(FIRST, runs=[run(FIRST, succeeds=False)])
    wrong.history.webhooks.append(webhook(FIRST, 6.0))

    assert columns(wrong) == ["false", "false"]  # the record says so, too


def test_a_webhook_that_is_sent_again_after_its_delivery_ended_well_is_a_duplicate() -> None:
    again = facts(FIRST)
    again.history.webhooks += [webhook(FIRST, 6.0), webhook(FIRST, 8.0, is_accepted=False)]
    assert columns(again) == []  # the first answer may have got lost

    again.history.handled.append(handled(FIRST, 6.0, SENT))
    assert columns(again) == ["duplicated"]


def test_a_webhook_that_is_refused_as_if_it_were_the_first_is_a_duplicate() -> None:
    overlapping = facts(FIRST)
    overlapping.history.webhooks += [webhook(FIRST, 6.0), webhook(FIRST, 6.2, is_accepted=False)]
    overlapping.history.handled.append(handled(FIRST, 6.2, REFUSED))

    assert columns(overlapping) == ["duplicated"]


@pytest.mark.parametrize(("start", "found"), [(FIRST, ["duplicated"]), (DEPLOYED, [])])
def test_a_failure_after_a_success_is_right_only_if_another_run_succeeded(start: Start, found: list[str]) -> None:
    failing = run(start, succeeds=False, reported_at=3.0, has_state_change=True)
    deployment = run(start, event_type=DEPLOYMENT, run_id="d")
    runs = [failing, deployment] if start is DEPLOYED else [failing]
    both = facts(start, runs=runs)
    both.history.jobs.append(JobStarted(start=start.id, began=3.0, at=3.0, event_type=DEPLOYMENT))
    both.history.webhooks += [webhook(start, 6.0), webhook(start, 8.0, succeeded=False, is_accepted=False)]
    both.history.handled.append(handled(start, 6.0, SENT))

    assert [column for column in columns(both) if column != "false"] == found


def test_a_success_after_a_failure_is_a_duplicate() -> None:
    late = facts(FIRST, runs=[run(FIRST, succeeds=False, reported_at=3.0)])
    late.history.webhooks += [webhook(FIRST, 6.0, succeeded=False), webhook(FIRST, 8.0, is_accepted=False)]
    late.history.handled.append(handled(FIRST, 6.0, SENT))
    assert "duplicated" in columns(late)
