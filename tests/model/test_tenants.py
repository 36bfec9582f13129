"""The jobs of two operations never run for a tenant at the same time, and no lock is left behind.

`make model` explores larger bounds.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.ledger import tenant_lock
from orchestrator.ledger.changes import Change
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.ledger.record import Record
from tests.model.tenants import FIRST, FOLLOWING, SECOND, Exploration, Found, Job


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


def test_a_lock_that_counts_as_free_before_its_run_is_started_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_started(record: Record | None) -> bool:
        return record is not None and record.check_at is not None and record.state == "done"

    monkeypatch.setattr(tenant_lock, "is_holding", is_started)

    found = explore(FIRST, SECOND)

    assert found.violation == "jobs of two operations run at the same time"


def test_a_lock_that_does_not_remember_a_later_job_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    leaving: Callable[..., Change] = tenant_lock.leaving
    monkeypatch.setattr(tenant_lock, "leaving", lambda *arguments: leaving(*arguments[:2], None, *arguments[3:]))

    assert explore(FIRST, SECOND).violation == "a job was started after one of a later event"


def test_a_lock_that_is_never_taken_from_another_operation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    joining = tenant_lock.joining

    def for_ever(*arguments: Any) -> Change:
        change = joining(*arguments)
        values = {name: value for name, value in change.values.items() if name != "at"}
        condition = "attribute_not_exists(#operation) OR #operation = :operation"
        return replace(change, condition=condition, values=values, names={})

    monkeypatch.setattr(tenant_lock, "joining", for_ever)

    assert explore(FIRST, SECOND).violation == "the tenant is never free again"


def test_a_run_that_is_taken_out_although_it_has_joined_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    leaving: Callable[..., Change] = tenant_lock.leaving

    def leave(tenant_id: str, run_id: str, record: Record | None, owner: str | None = None) -> Change:
        return leaving(tenant_id, run_id, record)

    monkeypatch.setattr(tenant_lock, "leaving", leave)

    found = explore(FIRST, SECOND, ticks=1, attempts=2, gives_up=True)

    assert (found.violation, found.trace) == (
        "jobs of two operations run at the same time",
        [
            "start run-1: TransactWriteItems",
            "a minute passes",
            "start run-1: start",
            "start run-1: DeleteItem; over",
            "start run-2: TransactWriteItems",
            "start run-2: GetItem",
            "start run-1: TransactWriteItems",
            "start run-1: start",
            "start run-2: UpdateItem",
            "start run-2: TransactWriteItems",
            "start run-2: start",
        ],
    )


def test_a_run_that_is_given_up_although_it_was_claimed_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(records: DynamoDBRecords, record: Record) -> bool:
        records._change_open(record.id, "REMOVE #openJob, #checkAt")
        return True

    monkeypatch.setattr(DynamoDBRecords, "give_up", give_up)

    found = explore(FIRST, SECOND, ticks=1, attempts=2, gives_up=True)

    assert found.violation == "jobs of two operations run at the same time"
