"""Reads items of the ledger's table, and changes them under conditions: one item, or several in one transaction."""

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from botocore.exceptions import ClientError

from orchestrator.aws import items
from orchestrator.aws.errors import aws_errors
from orchestrator.errors import OrchestratorError, Unavailable
from orchestrator.timing import deadline

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

Item: TypeAlias = Mapping[str, Any]
ResultT = TypeVar("ResultT")

# The SDK does not repeat a request that met a conflict, so this module does, after these pauses.
_PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.4)
_IN_THE_WAY = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of one item that is made only if a condition holds.

    In `condition` and `update`, the placeholder `#x` stands for the item's attribute `names["x"]`. If `names` has no
    entry `"x"`, `#x` stands for the attribute `x`. The placeholder `:x` stands for `values["x"]`.

    Attributes:
        key: The item's key.
        condition: The condition expression. If it is `None`, the change is always made.
        values: The values by placeholder, without `:`.
        update: The update expression. If it is `None`, the item is deleted, unless `only_checks` is true.
        names: The attribute names by placeholder, without `#`.
        only_checks: Whether to check the condition and leave the item unchanged. Only `Table.change_all` can do this,
            and `update` must be `None`.
    """

    key: str
    condition: str | None
    values: Mapping[str, Any]
    update: str | None
    names: Mapping[str, str] = field(default_factory=dict)
    only_checks: bool = False

    @property
    def kind(self) -> str:
        """The key of this change in a `transact_write_items` request: `Update`, `Delete` or `ConditionCheck`."""
        return "ConditionCheck" if self.only_checks else "Delete" if self.update is None else "Update"

    def request(self, table: str) -> dict[str, Any]:
        """Build the arguments for the DynamoDB client's method `update_item` or `delete_item`.

        An entry of a `transact_write_items` request has the same form.
        """
        names = re.findall(r"#(\w+)", f"{self.condition or ''} {self.update or ''}")
        values = {f":{name}": value for name, value in items.to_item(self.values).items()}
        return {
            "TableName": table,
            "Key": {"id": {"S": self.key}},
            "ExpressionAttributeNames": {f"#{name}": self.names.get(name, name) for name in names},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **({"ConditionExpression": self.condition} if self.condition else {}),
            **({"UpdateExpression": self.update} if self.update else {}),
            **({"ExpressionAttributeValues": values} if values else {}),
        }


@dataclass(frozen=True, slots=True)
class Refused:
    """The result for a change that was not made, because its condition did not hold.

    Attributes:
        item: The item as it is stored; `None` if there is no such item.
    """

    item: Item | None


class Conflict(Exception):
    """Nothing was changed: another request was using one of the items, or DynamoDB throttled the transaction."""


class Table:
    """The ledger's table.

    If the table cannot be used, every method except `pages` raises `Unavailable`, so that the event is retried. This
    applies even if the cause is permanent, such as a missing permission. If a method raised a permanent error instead,
    the function would publish that the tenant's job failed, although the job may be running.
    """

    def __init__(self, name: str, client: "Callable[[], DynamoDBClient]") -> None:
        """Store the arguments.

        Args:
            name: The table's name.
            client: Returns the DynamoDB client. It is called for each request.
        """
        self.name = name
        self.client = client

    def get(self, key: str) -> Item | None:
        """Read an item; return `None` if there is none."""
        with self._reached():
            return self.client().get_item(TableName=self.name, Key={"id": {"S": key}}, ConsistentRead=True).get("Item")

    def change(self, change: Change) -> Item | Refused | None:
        """Change an item.

        Returns:
            `Refused` if the condition did not hold. Otherwise, the change was made, and the result is the item as it
            was before the change, or `None` if there was no such item.

        Raises:
            Unavailable: The table cannot be used, or every attempt met a transaction that used the same item.
        """

        def once() -> Item | Refused | None:
            client = self.client()
            operation = client.delete_item if change.update is None else client.update_item
            try:
                return operation(**change.request(self.name), ReturnValues="ALL_OLD").get("Attributes")
            except ClientError as error:
                if items.is_condition_failure(error):
                    refused: Any = error.response
                    return Refused(refused.get("Item"))
                if error.response["Error"]["Code"] == "TransactionConflictException":
                    raise Conflict from None
                raise

        with self._reached():
            try:
                return _repeated(once)
            except Conflict:
                raise Unavailable("transactions with the same item were in the way; a retry may succeed") from None

    def change_all(self, changes: Sequence[Change]) -> list[Refused | None]:
        """Change several items in one transaction: all, or none.

        Returns:
            One entry for each change: `Refused` if the change's condition did not hold, and otherwise `None`. If at
            least one change was refused, nothing was changed.

        Raises:
            Conflict: Every attempt met other requests for the same items, or was throttled. Nothing was changed.
            Unavailable: The table cannot be used.
        """
        entries: list[Any] = [{change.kind: change.request(self.name)} for change in changes]

        def once() -> list[Refused | None]:
            try:
                self.client().transact_write_items(TransactItems=entries)
            except ClientError as error:
                return _refusals(error)
            return [None] * len(entries)

        with self._reached():
            return _repeated(once)

    def pages(
        self, index: str, key: tuple[str, str], *, up_to: tuple[str, str] | None = None, size: int
    ) -> Iterator[Sequence[Item]]:
        """Read the entries of an index that have a given partition key, page by page, in the order of the sort key.

        Args:
            index: The index's name.
            key: Name and value of the partition key.
            up_to: Name of the sort key, and the greatest value to read. If this is `None`, all entries are read.
            size: How many entries a page has at most.

        Raises:
            ConfigurationError: The index does not exist, or the function may not read it.
            Unavailable: DynamoDB could not be reached, or throttled the request.
        """
        last = " AND #last <= :last" if up_to else ""
        request: dict[str, Any] = {
            "TableName": self.name,
            "IndexName": index,
            "KeyConditionExpression": f"#key = :key{last}",
            "ExpressionAttributeNames": {"#key": key[0], **({"#last": up_to[0]} if up_to else {})},
            "ExpressionAttributeValues": {":key": {"S": key[1]}, **({":last": {"S": up_to[1]}} if up_to else {})},
            "Limit": size,
        }
        while True:
            with aws_errors(f"table {self.name} could not be read; it needs the index {index}"):
                answer = self.client().query(**request)
            yield answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            with aws_errors(f"the ledger's record in table {self.name} could not be read or written"):
                yield
        except Unavailable:
            raise
        except OrchestratorError as error:
            raise Unavailable(str(error)) from None


def _refusals(error: ClientError) -> list[Refused | None]:
    """Read from the error of a transaction which of its changes were refused.

    The result has the form of the result of `Table.change_all`.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html

    Raises:
        Conflict: Another request was using one of the items, or DynamoDB throttled the transaction.
        ClientError: The transaction failed for another reason. This is the argument `error` itself.
    """
    response: Any = error.response
    reasons = response.get("CancellationReasons", [])
    codes = {reason.get("Code", "None") for reason in reasons} - {"None"}
    if codes & _IN_THE_WAY:
        raise Conflict
    if codes != {"ConditionalCheckFailed"}:
        raise error
    return [
        Refused(reason.get("Item") or None) if reason.get("Code") == "ConditionalCheckFailed" else None
        for reason in reasons
    ]


def _repeated(once: Callable[[], ResultT]) -> ResultT:
    for pause in _PAUSES_SECONDS:
        try:
            return once()
        except Conflict:
            pause *= random.uniform(0.5, 1)  # noqa: S311 (spreads tries, guards no secret)
            if not deadline.has_time(pause):
                raise
            time.sleep(pause)
    return once()
