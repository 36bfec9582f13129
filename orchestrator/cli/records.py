"""Reads the ledger's table and the table of tenant records, for the commands that show them.

The ledger has a record of each action that must be performed only once, such as the start of a job. The record of a
job's start also says how the job's run ended.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrator.aws import items
from orchestrator.aws.errors import aws_errors
from orchestrator.cli.account import Account
from orchestrator.cli.stack import YOUR_ROLE
from orchestrator.ledger.gate import lock_key, runs_in
from orchestrator.ledger.record import BY_TENANT, OPEN, OPEN_JOBS, UNREADABLE, Record, from_item

# The most keys that one BatchGetItem request may have.
_PAGE = 100


class LedgerTable:
    """The ledger's table. Every method raises `ConfigurationError` or `Unavailable` if the table cannot be read.

    Attributes:
        unreadable: The ids of the items that were found, but that this version of the package cannot read as records.
    """

    def __init__(self, account: Account) -> None:
        self.unreadable: set[str] = set()
        self._table = account.needed("IDEMPOTENCY_TABLE")
        self._client = account.dynamodb

    def open_jobs(self) -> list[Record]:
        """Read the records of the runs for which the function still checks whether they have ended.

        The records are sorted by the times of the events that the jobs were started for.
        """
        keys = self._ids(OPEN_JOBS, "openJob", OPEN)
        return _in_order(self.read(keys).values())

    def of_tenant(self, tenant_id: str) -> list[Record]:
        """Read the records of a tenant's jobs, sorted by the times of the events that the jobs were started for."""
        keys = self._ids(BY_TENANT, "tenantId", tenant_id)
        return _in_order(self.read(keys).values())

    def gate(self, key: str) -> Mapping[str, Any]:
        """Read the item of a gate, which is a limit on concurrent runs.

        The item lists the runs that count towards the limit. Return an empty mapping if there is no such item.

        Args:
            key: The item's key.
        """
        return self._items([key]).get(key, {})

    def holder(self, tenant_id: str) -> str | None:
        """Return the id of the event that began the operation whose runs the item of the tenant's lock lists.

        An operation is an event with all that follows from it, such as a provisioning and the deployment after it. The
        tenant's other jobs wait for these runs, unless the function no longer checks them (see `TenantLock`). Return
        `None` if the item lists no run.
        """
        lock = self.gate(lock_key(tenant_id))
        return lock.get("operation", {}).get("S") if runs_in(lock) else None

    def read(self, ids: Iterable[str]) -> dict[str, Record]:
        """Read records by their ids. Ids without a record, and records that have expired, are left out.

        Records that this version of the package cannot read are left out, too, and their ids are added to `unreadable`.
        """
        found: dict[str, Record] = {}
        for key, item in self._items(ids).items():
            try:
                record = from_item(item)
            except UNREADABLE:
                self.unreadable.add(key)
            else:
                if not record.is_expired:
                    found[key] = record
        return found

    def _ids(self, index: str, key: str, value: str) -> list[str]:
        # Only the ids: the indexes lack some attributes, such as the ending in `open-jobs`.
        request = {
            "TableName": self._table,
            "IndexName": index,
            "KeyConditionExpression": "#key = :value",
            "ProjectionExpression": "id",
            "ExpressionAttributeNames": {"#key": key},
            "ExpressionAttributeValues": {":value": {"S": value}},
        }
        failure = f"the index {index} of table {self._table} could not be read"
        with aws_errors(failure, role=YOUR_ROLE):
            pages = self._client.get_paginator("query").paginate(**request)
            return [item["id"]["S"] for page in pages for item in page["Items"]]

    def _items(self, ids: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        keys, found = list(dict.fromkeys(ids)), dict[str, Mapping[str, Any]]()
        for start in range(0, len(keys), _PAGE):
            left: Any = {
                self._table: {
                    "Keys": [{"id": {"S": key}} for key in keys[start : start + _PAGE]],
                    "ConsistentRead": True,
                }
            }
            while left:
                with aws_errors(f"table {self._table} could not be read", role=YOUR_ROLE):
                    answer = self._client.batch_get_item(RequestItems=left)
                found |= {item["id"]["S"]: item for item in answer["Responses"].get(self._table, [])}
                left = answer.get("UnprocessedKeys")
        return found


class TenantTable:
    """The table of tenant records.

    Every method raises `ConfigurationError` or `Unavailable` if the table cannot be read.

    Only the attributes in `SHOWN` and the tier in `planConfig` are read, because other attributes may be secret.
    """

    SHOWN = (
        "tenantId",
        "status",
        "statusAt",
        "statusRun",
        "statusBuild",
        "statusReason",
        "statusWebhook",
        "waitingFor",
        "startedBy",
        "startedAt",
        "updatedAt",
    )

    def __init__(self, account: Account) -> None:
        self._table = account.needed("DATA_STORE_TABLE")
        self._client = account.dynamodb

    def get(self, tenant_id: str) -> dict[str, Any] | None:
        """Read a tenant's record; `None` if the tenant has no record.

        If the record contains `planConfig.tier`, its value is returned as `tier`.
        """
        with aws_errors(f"table {self._table} could not be read", role=YOUR_ROLE):
            item = self._client.get_item(
                TableName=self._table, Key={"tenantId": {"S": tenant_id}}, ConsistentRead=True, **self._projection()
            ).get("Item")
        return None if item is None else _record(item)

    def waiting(self) -> Iterator[dict[str, Any]]:
        """Read the records of tenants with an event that waits for its job. This reads the whole table."""
        with aws_errors(f"table {self._table} could not be read", role=YOUR_ROLE):
            pages = self._client.get_paginator("scan").paginate(
                TableName=self._table, FilterExpression="attribute_exists(waitingFor)", **self._projection()
            )
            for page in pages:
                yield from map(_record, page["Items"])

    def _projection(self) -> dict[str, Any]:
        names = {f"#{name}": name for name in (*self.SHOWN, "planConfig", "tier")}
        texts = [*(f"#{name}" for name in self.SHOWN), "#planConfig.#tier"]
        return {"ProjectionExpression": ", ".join(texts), "ExpressionAttributeNames": names}


def _record(item: Mapping[str, Any]) -> dict[str, Any]:
    kept = items.plain(items.from_item(item))
    plan = kept.pop("planConfig", None)
    return {**kept, **({"tier": plan["tier"]} if isinstance(plan, dict) and "tier" in plan else {})}


def _in_order(records: Iterable[Record]) -> list[Record]:
    return sorted(
        (record for record in records if record.job is not None), key=lambda one: (one.started_job.since, one.id)
    )
