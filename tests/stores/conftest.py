"""A client of the emulated DynamoDB."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from orchestrator.aws.clients import Clients
from tests.support.aws import REGION, Requests

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND_LATER = timedelta(seconds=1)


@pytest.fixture
def dynamodb(aws: Requests) -> "Callable[[], DynamoDBClient]":
    clients = Clients()
    return lambda: clients.get("dynamodb", REGION)
