"""The emulated DynamoDB answers as moto's does, and refuses what it does not emulate."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.chaos.dynamodb import ConditionFailed, DynamoDB, Index, Table
from tests.chaos.expressions import Unsupported

_ITEM = {"id": {"S": "a"}, "state": {"S": "claimed"}, "number": {"N": "7"}, "map": {"M": {"kept": {"S": "x"}}}}
_OPEN = {
    name: {"id": {"S": name}, "openJob": {"S": "open"}, "checkAt": {"S": f"2026-11-0{day}"}, "job": {"S": name}}
    for day, name in enumerate(("first", "second", "third"), 1)
}
_KEY = {"id": {"S": "a"}}


@pytest.fixture
def emulated() -> DynamoDB:
    open_jobs = Index(hash_key="openJob", range_key="checkAt", attributes=("job",))
    database = DynamoDB({"records": Table("id", {"open-jobs": open_jobs})})
    for item in (_ITEM, *_OPEN.values()):
        database.perform("PutItem", {"TableName": "records", "Item": item})
    return database


@pytest.fixture(scope="module")
def moto() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client(
            "dynamodb", region_name="eu-west-1", aws_access_key_id="testing", aws_secret_access_key="testing"
        )
        client.create_table(
            TableName="records",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": "S"} for name in ("id", "openJob", "checkAt")
            ],
            BillingMode="PAY_PER_REQUEST",
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "open-jobs",
                    "KeySchema": [
                        {"AttributeName": "openJob", "KeyType": "HASH"},
                        {"AttributeName": "checkAt", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["job"]},
                }
            ],
        )
        yield client


def _names(*names: str) -> dict[str, str]:
    return {f"#{name}": name for name in names}


_UPDATES = {
    "sets, keeps and removes": {
        "UpdateExpression": "SET #state = :new, #other = if_not_exists(#other, :new), "
        "#number = if_not_exists(#number, :new) REMOVE checkAt",
        "ExpressionAttributeNames": _names("state", "other", "number"),
        "ExpressionAttributeValues": {":new": {"S": "done"}},
    },
    "reads attributes as they were before": {
        "UpdateExpression": "SET #state = :new, #other = #state",
        "ExpressionAttributeNames": _names("state", "other"),
        "ExpressionAttributeValues": {":new": {"S": "done"}},
    },
    "sets within a map": {
        "UpdateExpression": "SET #map.#new = :new REMOVE #map.kept",
        "ExpressionAttributeNames": _names("map", "new"),
        "ExpressionAttributeValues": {":new": {"S": "done"}},
    },
    "where a number is less or equal": {
        "UpdateExpression": "SET #other = :other",
        "ConditionExpression": "(#number < :number OR #number = :number) AND NOT #state <> :state",
        "ExpressionAttributeNames": _names("number", "state", "other"),
        "ExpressionAttributeValues": {":number": {"N": "7.0"}, ":state": {"S": "claimed"}, ":other": {"S": "y"}},
    },
    "where a value is one of several, and another between two": {
        "UpdateExpression": "REMOVE #number",
        "ConditionExpression": "#state IN (:done, :claimed) AND #number BETWEEN :low AND :high",
        "ExpressionAttributeNames": _names("number", "state"),
        "ExpressionAttributeValues": {
            ":done": {"S": "done"},
            ":claimed": {"S": "claimed"},
            ":low": {"N": "7"},
            ":high": {"N": "8"},
        },
    },
    "where one attribute exists and another does not": {
        "UpdateExpression": "REMOVE #map.kept",
        "ConditionExpression": "attribute_exists(#map.kept) AND attribute_not_exists(#missing)",
        "ExpressionAttributeNames": _names("map", "missing"),
    },
    "not where an attribute is missing": {
        "UpdateExpression": "REMOVE #state",
        "ConditionExpression": "#other = :value",
        "ExpressionAttributeNames": _names("state", "other"),
        "ExpressionAttributeValues": {":value": {"S": "x"}},
    },
}


@pytest.mark.parametrize("returned", ["ALL_NEW", "ALL_OLD", "NONE"])
@pytest.mark.parametrize("update", _UPDATES.values(), ids=_UPDATES)
def test_an_update_has_the_same_result_as_in_moto(
    emulated: DynamoDB, moto: Any, update: dict[str, Any], returned: str
) -> None:
    request = {
        "TableName": "records",
        "Key": _KEY,
        "ReturnValues": returned,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        **update,
    }
    moto.put_item(TableName="records", Item=_ITEM)
    try:
        answer = {"Attributes": moto.update_item(**request).get("Attributes")}
    except ClientError as error:
        answer = {"refused": error.response["Item"]}  # type: ignore[typeddict-item]
    try:
        own = {"Attributes": emulated.perform("UpdateItem", request).get("Attributes")}
    except ConditionFailed as failed:
        own = {"refused": failed.item}

    assert own == answer
    read = {"TableName": "records", "Key": _KEY}
    assert emulated.perform("GetItem", read)["Item"] == moto.get_item(**read)["Item"]


@pytest.mark.parametrize("condition", ["openJob = :open AND checkAt <= :at", "openJob = :open AND checkAt < :at"])
def test_a_query_reads_an_index_in_order_and_in_pages(emulated: DynamoDB, moto: Any, condition: str) -> None:
    for item in _OPEN.values():
        moto.put_item(TableName="records", Item=item)
    request = {
        "TableName": "records",
        "IndexName": "open-jobs",
        "KeyConditionExpression": condition,
        "ExpressionAttributeValues": {":open": {"S": "open"}, ":at": {"S": "2026-11-03"}},
        "Limit": 2,
    }
    for _ in range(2):
        expected, answer = moto.query(**request), emulated.perform("Query", request)
        assert answer["Items"] == expected["Items"]
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("Scan", {}),
        ("GetItem", {"Key": _KEY, "ProjectionExpression": "number"}),
        ("UpdateItem", {"Key": _KEY, "UpdateExpression": "ADD number :one"}),
        ("UpdateItem", {"Key": _KEY, "UpdateExpression": "REMOVE state"}),  # a reserved word
        ("UpdateItem", {"Key": _KEY, "UpdateExpression": "REMOVE missing.inner, missing.other"}),
        ("UpdateItem", {"Key": _KEY, "UpdateExpression": "REMOVE map.kept, map"}),
        ("UpdateItem", {"Key": _KEY, "UpdateExpression": "REMOVE id"}),
        ("UpdateItem", {"Key": _KEY, "UpdateExpression": "SET checkAt = number"}),  # a key of the index
        ("DeleteItem", {"Key": _KEY, "ConditionExpression": "contains(number, number)"}),
        ("DeleteItem", {"Key": _KEY, "ReturnValues": "ALL_NEW"}),
        ("DeleteItem", {"Key": _KEY, "ExpressionAttributeNames": {"#unused": "number"}}),
        ("Query", {"IndexName": "open-jobs", "KeyConditionExpression": "checkAt = :x"}),
    ],
)
def test_a_request_that_is_not_emulated_is_refused(
    emulated: DynamoDB, operation: str, request_: dict[str, Any]
) -> None:
    with pytest.raises(Unsupported):
        emulated.perform(operation, {"TableName": "records", **request_})
