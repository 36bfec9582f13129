"""The jobs of two operations never run for a tenant at the same time, and no lock is left behind.

`make model` explores larger bounds.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.errors import Wait
from orchestrator.ledger import gate
from orchestrator.ledger.changes import Change
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.ledger.record import NOT_FOLLOWED, Record
from orchestrator.ledger.waiting_line import WaitingLine
from tests.model.tenants import FIRST, FOLLOWING, NOW, RING, SECOND, Exploration, Found, Job


def explore(*jobs: Job, **bounds: Any) -> Found:
    found = Exploration(*jobs, **bounds).explore()
    print(f"{', '.join(job.run_id for job in jobs)}, {bounds}: {found.states:,} states")
    return found


@pytest.mark.parametrize(
    ("jobs", "bounds"),
    [
        ((FIRST, SECOND), {"kills": 1}),
        ((FIRST, FOLLOWING, SECOND), {}),
    ],
    ids=["killed", "with a job that follows"],
)
def test_the_jobs_of_a_tenant_start_one_by_one_and_in_order(jobs: tuple[Job, ...], bounds: dict[str, Any]) -> None:
    found = explore(*jobs, **bounds)

    assert (found.violation, found.trace) == (None, [])


# Defects are found


def unchecked(run_id: str, follower: str) -> Change:
    """A check that a run is gone which always holds."""
    return Change(key=run_id, condition="attribute_not_exists(#nothing)", values={}, update=None, only_checks=True)


def test_a_lock_that_counts_as_free_before_its_run_is_started_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_started(member: str, record: Record | None) -> bool:
        return record is not None and record.check_at is not None and record.state == "done"

    monkeypatch.setattr(gate, "is_in", is_started)
    monkeypatch.setattr(gate, "gone", unchecked)

    found = explore(FIRST, SECOND)

    assert found.violation == "jobs of two operations run at the same time"


def test_a_lock_that_does_not_remember_a_later_job_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    leaving = gate.leaving
    monkeypatch.setattr(gate, "leaving", lambda key, member, record: leaving(key, member, None))

    assert explore(FIRST, SECOND).violation == "a job was started after one of a later event"


def test_a_lock_that_is_never_taken_from_another_operation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    joining = gate.TenantLock.joining

    def for_ever(*arguments: Any) -> Change:
        change = joining(*arguments)
        values = {name: value for name, value in change.values.items() if name != "at"}
        condition = "attribute_not_exists(#operation) OR #operation = :operation"
        return replace(change, condition=condition, values=values, names={})

    monkeypatch.setattr(gate.TenantLock, "joining", for_ever)

    assert explore(FIRST, SECOND).violation == "the tenant or slot is never free again"


def test_a_run_that_is_taken_out_although_it_has_joined_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "member_of", lambda run_id, follower: f"{run_id}#x")
    monkeypatch.setattr(gate, "gone", unchecked)

    found = explore(FIRST, SECOND, ticks=1, attempts=2, gives_up=True)

    assert found.violation == "jobs of two operations run at the same time"


def test_a_run_that_is_given_up_although_it_was_claimed_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(records: DynamoDBRecords, record: Record) -> bool:
        records._change_open(record.id, NOT_FOLLOWED)
        return True

    monkeypatch.setattr(DynamoDBRecords, "give_up", give_up)

    found = explore(FIRST, SECOND, ticks=1, attempts=2, gives_up=True)

    assert found.violation == "jobs of two operations run at the same time"


# Slots


@pytest.mark.parametrize(
    ("jobs", "bounds"),
    [
        (RING[:2], {"kills": 1}),
        (RING[:2], {"ticks": 1, "gives_up": True}),
    ],
    ids=["killed", "given up"],
)
def test_no_more_jobs_run_than_a_slot_has_room_for(jobs: tuple[Job, ...], bounds: dict[str, Any]) -> None:
    found = explore(*jobs, **bounds)

    assert (found.violation, found.trace) == (None, [])


def test_a_slot_that_is_joined_without_its_size_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    joining = gate.SlotGate.joining

    def join(*arguments: Any) -> Change:
        change = joining(*arguments)
        values = {name: value for name, value in change.values.items() if name != "run"}
        return replace(change, condition=None, values=values)

    monkeypatch.setattr(gate.SlotGate, "joining", join)

    assert explore(*RING[:2]).violation == "more jobs run than the slot has room for"


# Waking


@pytest.mark.parametrize(
    ("jobs", "bounds"),
    [
        ((FIRST, SECOND), {"attempts": 3}),
        (RING[:2], {"attempts": 3}),
    ],
    ids=["tenant", "slot"],
)
def test_no_event_sleeps_once_there_is_room(jobs: tuple[Job, ...], bounds: dict[str, Any]) -> None:
    found = explore(*jobs, wakes=True, **bounds)

    assert (found.violation, found.trace) == (None, [])


def test_an_event_that_sleeps_without_a_second_look_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    join = WaitingLine.join
    monkeypatch.setattr(WaitingLine, "join", lambda *arguments: join(*arguments) or True)

    assert explore(*RING[:2], wakes=True, attempts=3).violation == "an event is never woken"


def test_a_message_that_is_hidden_too_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(self: Exploration, wait: Wait) -> None:
        assert self._line is not None
        receipt = f"{wait.run_id}|{self._owner}"
        has_to_wait = self._line.join(wait, "queue", receipt, NOW + timedelta(hours=11))
        self._ask("hide" if has_to_wait else "show", receipt)

    monkeypatch.setattr(Exploration, "_sleep", sleep)

    assert explore(*RING[:2], wakes=True, attempts=3).violation == "an event is never woken"


def test_a_run_that_leaves_without_waking_anybody_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WaitingLine, "wake", lambda *_: None)

    assert explore(FIRST, SECOND, wakes=True, attempts=3).violation == "an event is never woken"
