"""The part of DynamoDB that this package uses; each operation is atomic."""

import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.expressions import Item, Unsupported, check_placeholders, holds, key_names, updated, value_of

_EXPRESSIONS = frozenset({"ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues"})
_CONDITIONAL = frozenset({"ReturnValues", "ReturnValuesOnConditionCheckFailure"}) | _EXPRESSIONS
_KNOWN = {
    "GetItem": frozenset({"TableName", "Key", "ConsistentRead"}),
    "PutItem": frozenset({"TableName", "Item"}) | _CONDITIONAL,
    "UpdateItem": frozenset({"TableName", "Key", "UpdateExpression"}) | _CONDITIONAL,
    "DeleteItem": frozenset({"TableName", "Key"}) | _CONDITIONAL,
    "Query": frozenset(
        {"TableName", "IndexName", "KeyConditionExpression", "Limit", "ExclusiveStartKey", "ScanIndexForward"}
    )
    | (_EXPRESSIONS - {"ConditionExpression"}),
}
# PutItem and DeleteItem can return only the old item.
_RETURNS = {
    "PutItem": ("NONE", "ALL_OLD"),
    "DeleteItem": ("NONE", "ALL_OLD"),
    "UpdateItem": ("NONE", "ALL_OLD", "ALL_NEW"),
}


class TransactionCanceled(Exception):
    """Nothing was changed, because an item does not meet its condition; `reasons` has one entry for each item."""

    def __init__(self, reasons: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("the transaction was cancelled")
        self.reasons = reasons


class ConditionFailed(Exception):
    """The item does not meet the request's condition."""

    def __init__(self, item: Item | None) -> None:
        super().__init__("the conditional request failed")
        self.item = item


@dataclass(frozen=True)
class Index:
    """A global secondary index with text keys; `attributes` are projected besides the keys."""

    hash_key: str
    range_key: str
    attributes: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table with a text key, and its indexes by name."""

    key: str
    indexes: Mapping[str, Index]


class _Replica:
    """The items of a table that its indexes show. They lag behind the table."""

    def __init__(self, table: Table) -> None:
        self._keys = [index.hash_key for index in table.indexes.values()]
        self._items: dict[str, Item] = {}
        self._coming: dict[str, deque[tuple[float, Item | None]]] = {}

    def change(self, key: str, item: Item | None, lag: float) -> None:
        """Show an item (`None`: its deletion) `lag` seconds from now, or later, after its earlier changes."""
        self._coming.setdefault(key, deque()).append((time.monotonic() + lag, item))

    def items(self) -> Iterable[Item]:
        """Show what is due."""
        now = time.monotonic()
        for key, changes in list(self._coming.items()):
            while changes and changes[0][0] <= now:
                item = changes.popleft()[1]
                self._items.pop(key, None)
                if item is not None and any(name in item for name in self._keys):
                    self._items[key] = item
            if not changes:
                del self._coming[key]
        return self._items.values()


class DynamoDB:
    """Tables and their items.

    Attributes:
        tables: The items by key, by the table's name.
        lag: The longest time, in seconds, after which an index shows a change. Changes of one item are shown in their
            order, but an item's change may be shown before an earlier change of another item.
    """

    def __init__(self, tables: Mapping[str, Table], *, lag: float = 0.0) -> None:
        """Create the tables, by name; `lag` is the attribute of that name."""
        self.tables: dict[str, dict[str, Item]] = {name: {} for name in tables}
        self._definitions = tables
        self.lag = lag
        self._shown: dict[str, _Replica] = {name: _Replica(table) for name, table in tables.items() if lag}
        self._lock = threading.Lock()
        self._tokens: set[str] = set()

    def perform(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Perform one operation.

        Raises:
            ConditionFailed: Nothing was changed, because the item does not meet the condition.
            TransactionCanceled: Nothing was changed, because an item does not meet its condition.
            Unsupported: The operation, or a part of it, is not emulated.
        """
        if operation == "TransactWriteItems":
            return self._transact(body)
        unknown = body.keys() - _KNOWN.get(operation, frozenset())
        returns = body.get("ReturnValues", "NONE")
        if operation not in _KNOWN or unknown or returns not in _RETURNS.get(operation, ("NONE",)):
            raise Unsupported(f"{operation} {sorted(unknown)} {returns}")
        check_placeholders(body)
        with self._lock:
            if operation == "Query":
                return self._query(body)
            return self._single(operation, body, returns)

    def _transact(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if body.keys() - {"TransactItems", "ClientRequestToken"}:
            raise Unsupported(f"TransactWriteItems {sorted(body)}")
        parts = [(f"{name}Item", part) for entry in body["TransactItems"] for name, part in entry.items()]
        for operation, part in parts:
            known = _KNOWN["DeleteItem" if operation == "ConditionCheckItem" else operation]
            if operation not in ("UpdateItem", "DeleteItem", "ConditionCheckItem") or part.keys() - known:
                raise Unsupported(f"TransactWriteItems {operation} {sorted(part)}")
            check_placeholders(part)
        with self._lock:
            if body.get("ClientRequestToken") in self._tokens:
                return {}
            reasons = [self._reason(part) for _, part in parts]
            if any(reason["Code"] != "None" for reason in reasons):
                raise TransactionCanceled(reasons)
            for operation, part in parts:
                if operation != "ConditionCheckItem":
                    self._single(operation, part, "NONE")
            self._tokens.add(body.get("ClientRequestToken", ""))
        return {}

    def _reason(self, part: Mapping[str, Any]) -> dict[str, Any]:
        key = part["Key"][self._definitions[part["TableName"]].key]["S"]
        old = self.tables[part["TableName"]].get(key)
        if "ConditionExpression" not in part or holds(part, old or {}):
            return {"Code": "None"}
        shown = old is not None and part.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        return {"Code": "ConditionalCheckFailed", **({"Item": old} if shown else {})}

    def _single(self, operation: str, body: Mapping[str, Any], returns: str) -> dict[str, Any]:
        table = self.tables[body["TableName"]]
        key_name = self._definitions[body["TableName"]].key
        key = body["Item" if operation == "PutItem" else "Key"][key_name]["S"]
        old = table.get(key)
        if "ConditionExpression" in body and not holds(body, old or {}):
            raise ConditionFailed(old if body.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" else None)
        match operation:
            case "GetItem":
                return {} if old is None else {"Item": old}
            case "DeleteItem":
                table.pop(key, None)
            case "PutItem":
                table[key] = self._checked(body, body["Item"])
            case "UpdateItem":
                new = updated(body, body["Key"] if old is None else old)
                if new.get(key_name) != {"S": key}:
                    raise Unsupported(f"{body['UpdateExpression']}: it changes the key")
                table[key] = self._checked(body, new)
        if body["TableName"] in self._shown:
            self._shown[body["TableName"]].change(key, table.get(key), random.uniform(0, self.lag))  # noqa: S311
        if returns == "ALL_NEW":
            return {"Attributes": table[key]}
        return {"Attributes": old} if returns == "ALL_OLD" and old is not None else {}

    def _checked(self, body: Mapping[str, Any], item: Item) -> Item:
        """Refuse, as DynamoDB does, an index key that is empty or not a text."""
        for index in self._definitions[body["TableName"]].indexes.values():
            for name in (index.hash_key, index.range_key):
                if name in item and not item[name].get("S"):
                    raise Unsupported(f"{name} is the key of an index, and no text")
        return item

    def _indexed(self, table: str) -> Iterable[Item]:
        return self._shown[table].items() if table in self._shown else self.tables[table].values()

    def _query(self, body: Mapping[str, Any]) -> dict[str, Any]:
        definition = self._definitions[body["TableName"]]
        index = definition.indexes[body["IndexName"]]
        if key_names(body) not in ([index.hash_key], [index.hash_key, index.range_key]):
            raise Unsupported(body["KeyConditionExpression"])
        if not body.get("ScanIndexForward", True):
            raise Unsupported("ScanIndexForward")
        keys = (index.range_key, definition.key)
        found = sorted(
            (
                item
                for item in self._indexed(body["TableName"])
                if index.hash_key in item and index.range_key in item and holds(body, item, "KeyConditionExpression")
            ),
            key=lambda item: [value_of(item[name])[1] for name in keys],
        )
        if "ExclusiveStartKey" in body:
            start = [value_of(body["ExclusiveStartKey"][name])[1] for name in keys]
            found = [item for item in found if [value_of(item[name])[1] for name in keys] > start]
        page = found[: body.get("Limit", len(found))]
        shown = {definition.key, index.hash_key, index.range_key, *index.attributes}
        answer: dict[str, Any] = {
            "Items": [{name: value for name, value in item.items() if name in shown} for item in page],
            "Count": len(page),
        }
        if len(page) < len(found):
            answer["LastEvaluatedKey"] = {name: page[-1][name] for name in (*keys, index.hash_key)}
        return answer
