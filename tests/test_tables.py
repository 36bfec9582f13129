"""Tier details and tenant records in DynamoDB."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from orchestrator import ConfigurationError, DynamoDBTierDetails, InvalidEvent, StaticTierDetails
from orchestrator.aws import Clients
from orchestrator.tenants import DynamoDBTenantRecords, written
from tests.conftest import REGION, Requests

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def dynamodb(aws: Requests) -> "Callable[[], DynamoDBClient]":
    clients = Clients()
    return lambda: clients.get("dynamodb", REGION)


@pytest.fixture
def records(dynamodb: "Callable[[], DynamoDBClient]") -> DynamoDBTenantRecords:
    return DynamoDBTenantRecords("tenants", dynamodb)


def test_tier_details_are_cached_for_their_time_to_live(
    aws: Requests, dynamodb: "Callable[[], DynamoDBClient]"
) -> None:
    now = 0.0
    tiers = DynamoDBTierDetails("tiers", dynamodb, max_age=300, clock=lambda: now)

    tiers.get("PREMIUM")
    now = 299.9
    tiers.get("PREMIUM")
    assert aws.operations == ["GetItem"]

    now = 300.0
    tiers.get("PREMIUM")
    assert aws.operations == ["GetItem", "GetItem"]


def test_an_unknown_tier_is_asked_for_again(aws: Requests, dynamodb: "Callable[[], DynamoDBClient]") -> None:
    tiers = DynamoDBTierDetails("tiers", dynamodb)
    with pytest.raises(ConfigurationError):
        tiers.get("GOLD")

    dynamodb().put_item(TableName="tiers", Item={"tier": {"S": "GOLD"}, "jobName": {"S": "gold"}})

    assert tiers.get("GOLD")["jobName"] == "gold"


def test_a_table_that_does_not_exist_is_named(dynamodb: "Callable[[], DynamoDBClient]") -> None:
    with pytest.raises(ConfigurationError, match="could not be read from table absent: AWS answered ResourceNotFound"):
        DynamoDBTierDetails("absent", dynamodb).get("PREMIUM")


def test_a_static_tier_that_is_not_known_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"tier 'GOLD' is not known \(known: BASIC\)"):
        StaticTierDetails({"BASIC": {"jobName": "x"}}).get("GOLD")


def test_a_record_reads_back_as_it_was_saved(records: DynamoDBTenantRecords) -> None:
    record = {"planConfig": {"tier": "BASIC", "sizes": [1, 2.5, None, True, ""]}, "tenantId": "ignored"}

    assert records.save("t1", record, NOON) is None

    assert records.get("t1") == {**record, "tenantId": "t1", "savedAt": "2026-11-24T12:00:00.000Z"}
    assert records.get("t2") is None


@pytest.mark.parametrize("time", [NOON, NOON + timedelta(seconds=1)])
def test_a_record_is_replaced_by_an_event_that_is_no_older(records: DynamoDBTenantRecords, time: datetime) -> None:
    records.save("t1", {"one": 1}, NOON)

    assert records.save("t1", {"two": 2}, time) is None

    assert (records.get("t1") or {}).keys() == {"tenantId", "savedAt", "two"}


def test_a_record_is_kept_from_an_event_that_is_older(records: DynamoDBTenantRecords) -> None:
    records.save("t1", {"one": 1}, NOON)
    before = records.get("t1")

    assert records.save("t1", {"two": 2}, NOON - timedelta(milliseconds=1)) == "a later event has written the record"
    assert records.update("t1", {"two": 2}, NOON - timedelta(milliseconds=1)) == "a later event has written the record"

    assert records.get("t1") == before


def test_an_update_changes_and_removes_attributes_and_keeps_the_others(records: DynamoDBTenantRecords) -> None:
    records.save("t1", {"status": "A", "reason": "because", "size": 1}, NOON)

    assert records.update("t1", {"status": "B", "reason": None, "where": {"a": [1]}}, NOON) is None

    assert records.get("t1") == {
        "tenantId": "t1",
        "status": "B",
        "size": 1,
        "where": {"a": [1]},
        "savedAt": "2026-11-24T12:00:00.000Z",
        "updatedAt": "2026-11-24T12:00:00.000Z",
    }


def test_an_update_of_a_record_without_a_time_is_made(
    records: DynamoDBTenantRecords, dynamodb: "Callable[[], DynamoDBClient]"
) -> None:
    dynamodb().put_item(TableName="tenants", Item={"tenantId": {"S": "t1"}})

    assert records.update("t1", {"status": "B"}, NOON) is None

    assert (records.get("t1") or {})["status"] == "B"


def test_a_tenant_without_a_record_cannot_be_updated(records: DynamoDBTenantRecords) -> None:
    with pytest.raises(InvalidEvent, match="tenant 't1' has no record in table tenants: its provisioning did not"):
        records.update("t1", {"status": "B"}, NOON)

    assert records.get("t1") is None


def test_an_update_makes_a_record_where_that_is_asked_for(records: DynamoDBTenantRecords) -> None:
    assert records.update("t1", {"status": "B", "reason": None}, NOON, create=True) is None

    assert records.get("t1") == {"tenantId": "t1", "status": "B", "updatedAt": "2026-11-24T12:00:00.000Z"}


def test_a_record_that_only_updates_have_made_gives_way_to_the_whole_record(records: DynamoDBTenantRecords) -> None:
    records.update("t1", {"status": "FAILED"}, NOON, create=True)
    records.update("t1", {"status": "FAILED AGAIN"}, NOON, create=True)

    assert records.save("t1", {"status": "A", "size": 1}, NOON - timedelta(days=1)) is None

    assert (records.get("t1") or {}).keys() == {"tenantId", "status", "size", "savedAt"}


def test_a_record_that_was_changed_in_the_same_second_is_not_replaced(records: DynamoDBTenantRecords) -> None:
    records.save("t1", {"status": "A"}, NOON)
    records.update("t1", {"status": "FAILED"}, NOON)

    assert records.save("t1", {"status": "A"}, NOON) == "a later event has written the record"

    assert (records.get("t1") or {})["status"] == "FAILED"


def test_times_are_written_so_that_they_sort() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    times = [NOON, NOON + timedelta(milliseconds=1), NOON.replace(hour=13), NOON.astimezone(east) + timedelta(hours=2)]

    assert sorted(map(written, times)) == list(map(written, times))
    assert written(NOON.astimezone(east)) == "2026-11-24T12:00:00.000Z"
