"""Tier details from DynamoDB and from code."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator import (
    ConfigurationError,
    DynamoDBTierDetails,
    StaticTierDetails,
)
from orchestrator.stores.tiers import slot_of, variables_of
from tests.support.aws import Requests

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND_LATER = timedelta(seconds=1)


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


def test_an_unknown_tier_is_looked_up_again(aws: Requests, dynamodb: "Callable[[], DynamoDBClient]") -> None:
    tiers = DynamoDBTierDetails("tiers", dynamodb)
    with pytest.raises(ConfigurationError):
        tiers.get("GOLD")

    dynamodb().put_item(TableName="tiers", Item={"tier": {"S": "GOLD"}, "jobName": {"S": "gold"}})

    assert tiers.get("GOLD")["jobName"] == "gold"


def test_a_table_that_does_not_exist_is_named(dynamodb: "Callable[[], DynamoDBClient]") -> None:
    with pytest.raises(ConfigurationError, match="could not be read from table absent: AWS answered ResourceNotFound"):
        DynamoDBTierDetails("absent", dynamodb).get("PREMIUM")


def test_an_unknown_static_tier_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"tier 'GOLD' is unknown \(known: BASIC\)"):
        StaticTierDetails({"BASIC": {"jobName": "x"}}).get("GOLD")


@pytest.mark.parametrize(
    ("limits", "slot"),
    [
        ({}, None),
        ({"maxConcurrent": 5}, ("tier GOLD", 5)),
        ({"maxConcurrent": Decimal(5)}, ("tier GOLD", 5)),
        ({"maxConcurrent": "5"}, ("tier GOLD", 5)),
        ({"maxConcurrentByType": {"TENANT_DEPLOYMENT": 2}}, ("tier GOLD TENANT_DEPLOYMENT", 2)),
        ({"maxConcurrent": 5, "maxConcurrentByType": {"TENANT_DEPLOYMENT": 2}}, ("tier GOLD TENANT_DEPLOYMENT", 2)),
        ({"maxConcurrent": 5, "maxConcurrentByType": {"TENANT_PROVISIONING": 2}}, ("tier GOLD", 5)),
        ({"maxConcurrentByType": {"TENANT_PROVISIONING": 2}}, None),
    ],
)
def test_a_tier_limits_its_jobs(limits: dict[str, Any], slot: object) -> None:
    assert slot_of({"tier": "GOLD", **limits}, "TENANT_DEPLOYMENT") == slot


@pytest.mark.parametrize("limit", [0, -1, 2.5, "", "many", True, [5], {"TENANT_DEPLOYMENT": 5}])
def test_a_malformed_limit_is_named(limit: object) -> None:
    by_type = [] if isinstance(limit, dict) else {"TENANT_DEPLOYMENT": limit}
    for limits in ({"maxConcurrent": limit}, {"maxConcurrentByType": by_type}):
        with pytest.raises(ConfigurationError, match=r"tier GOLD.* has a malformed limit; make maxConcurrent a whole"):
            slot_of({"tier": "GOLD", **limits}, "TENANT_DEPLOYMENT")


def test_a_limit_is_no_variable() -> None:
    tier = {"tier": "GOLD", "maxConcurrent": 5, "maxConcurrentByType": {"TENANT_DEPLOYMENT": 2}}

    assert variables_of(tier) == {"tier": "GOLD"}
