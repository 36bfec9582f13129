"""Tier details from DynamoDB and from code."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from orchestrator import (
    ConfigurationError,
    DynamoDBTierDetails,
    StaticTierDetails,
)
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
