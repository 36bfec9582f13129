"""Tenant records in DynamoDB: which attributes a write keeps, and which events are superseded."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator import (
    Event,
    InvalidEvent,
    SaveTenant,
    UpdateTenant,
)
from orchestrator.aws.items import to_item
from orchestrator.event import Start
from orchestrator.run import Origin
from orchestrator.stores.tenants import DynamoDBTenantRecords, Refusal, refusal
from orchestrator.timing.clock import written

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND_LATER = timedelta(seconds=1)


@pytest.fixture
def records(dynamodb: "Callable[[], DynamoDBClient]") -> DynamoDBTenantRecords:
    return DynamoDBTenantRecords("tenants", dynamodb)


def origin(event_id: str, time: datetime = NOON, start: Start | None = None) -> Origin:
    return Origin(event=Event(type="X", detail={}, id=event_id, time=time, start=start), consumer="c", position=0)


def save(**record: Any) -> SaveTenant:
    return SaveTenant(tenant_id="t1", record=record)


def change(**changes: Any) -> UpdateTenant:
    return UpdateTenant(tenant_id="t1", changes=changes)


def reach(status: str, *, ahead: Sequence[str] = (), final: Sequence[str] = (), create: bool = False) -> UpdateTenant:
    return UpdateTenant(
        tenant_id="t1", changes={"status": status}, status=status, ahead=ahead, final=final, create=create
    )


FIRST = Start(event_id="first", at=NOON)


def superseded(refusal: Refusal | None) -> bool:
    return refusal == Refusal(reason="a later event began another operation for the tenant", supersedes=True)


def test_a_record_is_read_as_it_was_saved(records: DynamoDBTenantRecords) -> None:
    record = {"planConfig": {"tier": "BASIC", "sizes": [1, 2.5, None, True, ""]}, "tenantId": "ignored"}

    assert records.save(save(**record), origin("first")) is None

    assert records.get("t1") == {
        **record,
        "tenantId": "t1",
        "startedBy": "first",
        "startedAt": "2026-11-24T12:00:00.000Z",
    }
    assert records.get("t2") is None


@pytest.mark.parametrize("time", [NOON, NOON + SECOND_LATER])
def test_a_record_is_replaced_by_another_event_that_is_not_older(
    records: DynamoDBTenantRecords, time: datetime
) -> None:
    records.save(save(one=1), origin("first"))
    records.update(change(three=3), origin("other"))

    assert records.save(save(two=2), origin("second", time)) is None

    assert (records.get("t1") or {}).keys() == {"tenantId", "startedBy", "startedAt", "two"}


START = UpdateTenant(tenant_id="t1", changes={"two": 2}, starts=True)


@pytest.mark.parametrize("again", [save(two=2), START])
def test_an_older_start_is_superseded(records: DynamoDBTenantRecords, again: SaveTenant | UpdateTenant) -> None:
    records.save(save(one=1), origin("first"))
    before = records.get("t1")

    write = records.save if isinstance(again, SaveTenant) else records.update
    assert superseded(write(again, origin("older", NOON - timedelta(milliseconds=1))))  # type: ignore[arg-type]  # of one of both

    assert records.get("t1") == before


@pytest.mark.parametrize("again", [save(two=2), START])
@pytest.mark.parametrize("time", [NOON, datetime(2100, 1, 1, tzinfo=UTC)])
def test_a_redelivered_event_changes_nothing(
    records: DynamoDBTenantRecords, again: SaveTenant | UpdateTenant, time: datetime
) -> None:
    """Even if its time lies in the future, because the sender's clock is ahead."""
    records.save(save(one=1), origin("first", time))
    records.update(reach("DONE"), origin("report", start=FIRST))
    before = records.get("t1")

    write = records.save if isinstance(again, SaveTenant) else records.update
    refusal = write(again, origin("first", time))  # type: ignore[arg-type]  # of one of both

    assert refusal == Refusal(reason="an earlier delivery of this event wrote the record")
    assert records.get("t1") == before


def test_a_start_with_an_update_keeps_the_rest_of_the_record(records: DynamoDBTenantRecords) -> None:
    records.save(save(one=1), origin("first"))

    assert records.update(START, origin("second", NOON + SECOND_LATER)) is None

    assert records.get("t1") == {
        "tenantId": "t1",
        "one": 1,
        "two": 2,
        "startedBy": "second",
        "startedAt": "2026-11-24T12:00:01.000Z",
    }


@pytest.mark.parametrize("second_at", [NOON + SECOND_LATER, NOON])
def test_an_event_of_an_older_start_is_superseded(records: DynamoDBTenantRecords, second_at: datetime) -> None:
    """Even within one second, and however late the event arrives."""
    records.save(save(), origin("first"))
    records.save(save(), origin("second", second_at))

    for action in (reach("PROVISIONED"), change(three=3)):
        assert superseded(records.update(action, origin("late", NOON + timedelta(hours=1), start=FIRST)))
        assert records.update(action, origin("own", NOON, start=Start(event_id="second", at=second_at))) is None


def test_an_event_without_a_start_is_compared_by_its_time(records: DynamoDBTenantRecords) -> None:
    records.save(save(), origin("first"))
    before = NOON - timedelta(milliseconds=1)

    assert superseded(records.update(reach("PROVISIONED"), origin("x", before)))
    assert records.update(change(three=3), origin("x", before)) == Refusal(
        reason="a later event began another operation for the tenant"
    )
    assert records.update(reach("PROVISIONED"), origin("x", NOON)) is None


def test_a_status_does_not_go_back(records: DynamoDBTenantRecords) -> None:
    records.save(save(status="DEPLOYED"), origin("first"))
    report = origin("report", start=FIRST)

    assert records.update(reach("PROVISIONED", ahead=["DEPLOYED"]), report) == Refusal(
        reason="the tenant record says DEPLOYED"
    )
    assert records.update(reach("PROVISIONED", final=["DEPLOYED"]), report) == Refusal(
        reason="the tenant record says DEPLOYED", supersedes=True
    )
    assert (records.get("t1") or {})["status"] == "DEPLOYED"
    assert records.update(reach("DEPLOYED", final=["FAILED"]), report) is None
    assert records.update(reach("FAILED"), report) is None


def test_a_start_does_not_set_a_status_back_either(records: DynamoDBTenantRecords) -> None:
    records.save(save(status="DEPLOYED"), origin("first"))
    start = replace(reach("PROVISIONED", ahead=["DEPLOYED"]), starts=True)

    assert records.update(start, origin("second")) == Refusal(reason="the tenant record says DEPLOYED")


def test_an_update_changes_and_removes_attributes_and_keeps_the_others(records: DynamoDBTenantRecords) -> None:
    records.save(save(status="A", reason="because", size=1), origin("first"))

    assert records.update(change(status="B", reason=None, where={"a": [1]}), origin("x")) is None

    assert records.get("t1") == {
        "tenantId": "t1",
        "status": "B",
        "size": 1,
        "where": {"a": [1]},
        "startedBy": "first",
        "startedAt": "2026-11-24T12:00:00.000Z",
        "updatedAt": "2026-11-24T12:00:00.000Z",
    }


def test_an_older_change_is_skipped(records: DynamoDBTenantRecords) -> None:
    records.save(save(), origin("first"))
    records.update(change(size=2), origin("x", NOON + SECOND_LATER))

    assert records.update(change(size=1), origin("y", NOON)) == Refusal(reason="a later event has changed the record")
    assert (records.get("t1") or {})["size"] == 2
    assert records.update(change(size=3), origin("z", NOON + SECOND_LATER)) is None


def test_an_update_of_a_record_without_a_time_is_made(
    records: DynamoDBTenantRecords, dynamodb: "Callable[[], DynamoDBClient]"
) -> None:
    dynamodb().put_item(TableName="tenants", Item={"tenantId": {"S": "t1"}})

    assert records.update(change(size=1), origin("x")) is None
    assert records.update(reach("B", final=["C"]), origin("report", start=FIRST)) is None

    assert (records.get("t1") or {})["status"] == "B"


def test_a_tenant_without_a_record_cannot_be_updated(records: DynamoDBTenantRecords) -> None:
    with pytest.raises(
        InvalidEvent, match="tenant 't1' has no record in table tenants: this function did not provision it"
    ):
        records.update(change(status="B"), origin("x"))

    assert records.get("t1") is None


def test_the_record_of_a_failed_start_is_replaced_by_a_retry_of_its_event(
    records: DynamoDBTenantRecords,
) -> None:
    failed = replace(reach("FAILED", create=True), changes={"status": "FAILED", "startedBy": None})
    assert records.update(failed, origin("report", NOON + SECOND_LATER, start=FIRST)) is None
    assert records.get("t1") == {"tenantId": "t1", "status": "FAILED", "startedAt": "2026-11-24T12:00:00.000Z"}
    assert records.update(failed, origin("report", NOON + SECOND_LATER, start=FIRST)) is None

    assert superseded(records.save(save(), origin("older", NOON - SECOND_LATER)))
    assert records.save(save(status="A", size=1), origin("first")) is None
    assert (records.get("t1") or {}).keys() == {"tenantId", "status", "size", "startedBy", "startedAt"}


WRITES: list[SaveTenant | UpdateTenant] = [save(two=2), START, change(two=2), change(waitingFor="x")]


AHEAD = reach("B", ahead=("C",), final=("D",))


@pytest.mark.parametrize("write", [*WRITES, AHEAD, replace(AHEAD, starts=True)], ids=range(6))
@pytest.mark.parametrize("start", [None, FIRST, Start(event_id="second", at=NOON)], ids=["none", "own", "another"])
def test_a_refusal_is_foreseen_as_dynamodb_decides(
    records: DynamoDBTenantRecords,
    dynamodb: "Callable[[], DynamoDBClient]",
    write: SaveTenant | UpdateTenant,
    start: Start | None,
) -> None:
    times = [None, *(written(NOON + seconds * SECOND_LATER) for seconds in (-1, 0, 1))]
    statuses = ("A", "C", "D") if isinstance(write, UpdateTenant) and write.status else ("A",)
    updates = times if write == change(two=2) else [None]
    for by, started, status, updated in product((None, "first", "other"), times, statuses, updates):
        stored = {"startedBy": by, "startedAt": started, "status": status, "updatedAt": updated}
        record = {name: value for name, value in stored.items() if value is not None}
        dynamodb().put_item(TableName="tenants", Item=to_item({"tenantId": "t1", **record}))
        foreseen = refusal(write, record, origin("first", start=start))

        decided = records.save if isinstance(write, SaveTenant) else records.update
        assert foreseen == decided(write, origin("first", start=start)), record  # type: ignore[arg-type]  # of one of both
