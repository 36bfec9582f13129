"""The emulated DynamoDB keeps what several threads write, as DynamoDB does."""

import sys
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from orchestrator.local.environment import embedded, running_emulator

_WRITES = 100


@pytest.fixture
def switching() -> Iterator[None]:
    """Let threads take turns so often that they interrupt each other's requests."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize("is_server", [False, True], ids=["in this process", "over HTTP"])
def test_a_refused_transaction_undoes_nothing_of_another_thread(switching: None, is_server: bool) -> None:
    if is_server:
        with running_emulator("127.0.0.1", 0) as url:
            written = write_while_transactions_are_refused(url)
    else:
        with embedded():
            written = write_while_transactions_are_refused(None)

    assert written == {str(number) for number in range(_WRITES)}


def write_while_transactions_are_refused(url: str | None) -> set[str]:
    """Write items while another thread's transactions are refused, and return the ids of the items that are left."""
    client: Any = boto3.client("dynamodb", "us-east-1", endpoint_url=url)
    client.create_table(
        TableName="written",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    put = {"TableName": "written", "Item": {"id": {"S": "x"}}, "ConditionExpression": "attribute_exists(id)"}
    began, is_over = threading.Event(), threading.Event()

    def refuse() -> None:
        while not is_over.is_set():
            with pytest.raises(ClientError, match="TransactionCanceledException"):
                client.transact_write_items(TransactItems=[{"Put": put}])
            began.set()

    other = threading.Thread(target=refuse)
    other.start()
    try:
        assert began.wait(10)
        for number in range(_WRITES):
            client.put_item(TableName="written", Item={"id": {"S": str(number)}})
    finally:
        is_over.set()
        other.join()
    return {item["id"]["S"] for item in client.scan(TableName="written")["Items"]}
