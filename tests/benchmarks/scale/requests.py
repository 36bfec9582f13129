"""Names the requests that the package sends to its tables, as `costs` does."""

from collections.abc import Iterator
from typing import Any


def names(operation: str, body: dict[str, Any]) -> Iterator[str]:
    """Yield what a request to the tables is called in `costs.UNITS`; no name for a request to another service."""
    if operation == "TransactWriteItems":
        ids = [next(iter(item.values()))["Key"]["id"]["S"] for item in body["TransactItems"]]
        yield "claim " + ", ".join(purpose(key) for key in ids)
    elif operation == "Query":
        yield f"query {body['IndexName']}"
    elif body.get("TableName") == "tenants":
        yield f"{operation.removesuffix('Item').lower()} tenant"
    elif body.get("TableName") == "idempotency":
        key = body["Key"]["id"]["S"]
        update = body.get("UpdateExpression", "")
        own = "gate" if purpose(key) != "record" and ("#openJob" in update or operation == "GetItem") else purpose(key)
        yield f"{operation.removesuffix('Item').lower()} {'waiting' if key.startswith('waiting#') else own}"


def purpose(key: str) -> str:
    """Return what an item of the ledger's table is for, by its id."""
    for beginning, name in (("tenant#", "lock"), ("slot#", "slot"), ("builder#", "gate"), ("waiting#", "waiting")):
        if key.startswith(beginning):
            return name
    return "record"
