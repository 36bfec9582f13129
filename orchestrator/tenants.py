"""The stored record of each tenant."""

from collections.abc import Callable, Mapping
from decimal import DecimalException
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator import aws
from orchestrator.errors import InvalidEvent, shown

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


class TenantRecords(Protocol):
    """Where tenant records are kept."""

    def get(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Read a tenant's record.

        Args:
            tenant_id: The tenant's id.

        Returns:
            The record, or `None` where there is none.

        Raises:
            Unavailable: It could not be read just now.
        """
        ...

    def save(self, tenant_id: str, record: Mapping[str, Any]) -> bool:
        """Store a tenant's record in place of the one that is there.

        Args:
            tenant_id: The tenant's id.
            record: The record's other attributes.

        Returns:
            Whether records are kept at all.

        Raises:
            InvalidEvent: The record holds something that cannot be stored.
            Unavailable: It could not be stored just now.
        """
        ...


class NoTenantRecords:
    """Keeps nothing: what a function without `DATA_STORE_TABLE` has."""

    def get(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Read a tenant's record; see `TenantRecords.get`."""
        return None

    def save(self, tenant_id: str, record: Mapping[str, Any]) -> bool:
        """Store nothing and say so; see `TenantRecords.save`."""
        return False


class DynamoDBTenantRecords:
    """Tenant records in a DynamoDB table with the key `tenantId` (CONTRACT section 2)."""

    def __init__(self, table: str, client: "Callable[[], DynamoDBClient]") -> None:
        self._table = table
        self._client = client

    def get(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Read a tenant's record; see `TenantRecords.get`."""
        key = {"tenantId": {"S": tenant_id}}
        with aws.errors(f"tenant {shown(tenant_id)} could not be read from table {self._table}"):
            item = self._client().get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item")
        return None if item is None else aws.from_item(item)

    def save(self, tenant_id: str, record: Mapping[str, Any]) -> bool:
        """Store a tenant's record; see `TenantRecords.save`."""
        try:
            item = aws.to_item({**record, "tenantId": tenant_id})
        except (DecimalException, TypeError, RecursionError):
            raise InvalidEvent(
                f"tenant {shown(tenant_id)}: its record holds a value that DynamoDB cannot store (a number of "
                "more than 38 digits, or one that is not finite); correct the event"
            ) from None
        what = f"tenant {shown(tenant_id)} could not be saved in table {self._table}"
        with aws.errors(what, rejected=InvalidEvent):
            self._client().put_item(TableName=self._table, Item=item)
        return True
