"""The stored record of each tenant."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import DecimalException
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError

from orchestrator import aws
from orchestrator.errors import InvalidEvent, UnknownTenant, shown
from orchestrator.limits import MAX_ITEM_BYTES, place_of
from orchestrator.validation import path_of

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

SAVED_AT = "savedAt"
"""Attribute with the time of the event that wrote the whole record."""

UPDATED_AT = "updatedAt"
"""Attribute with the time of the event that changed a part of it last."""

STATUS_WEBHOOK = "statusWebhook"
"""Attribute that says why the status webhook was not sent or not accepted."""

_KEY = "tenantId"
_IS_NO_OLDER = "(attribute_not_exists(#saved) OR #saved <= :at) AND (attribute_not_exists(#updated) OR #updated <= :at)"
# EventBridge counts whole seconds, and an event that is delivered again must not take back what came of it in its own.
# A record that only updates have made is not there yet: it gives way to any.
_IS_YOUNGER = "attribute_not_exists(#saved) OR (#saved <= :at AND (attribute_not_exists(#updated) OR #updated < :at))"
_NAMES = {"#saved": SAVED_AT, "#updated": UPDATED_AT}


class TenantRecords(Protocol):
    """Where tenant records are kept.

    It may also have a method `check(tenant_id, attributes)`, which raises `InvalidEvent` for attributes that no record
    can have: it is called before anything is done.
    """

    def get(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Read a tenant's record.

        Args:
            tenant_id: The tenant's id.

        Returns:
            The record, numbers as `int` or `float`; `None` where there is none.

        Raises:
            Unavailable: It could not be read just now.
        """
        ...

    def save(self, tenant_id: str, record: Mapping[str, Any], at: datetime) -> str | None:
        """Store a tenant's record in place of the one that is there, unless that is of a later event.

        Args:
            tenant_id: The tenant's id.
            record: The record's other attributes.
            at: Time of the event.

        Returns:
            Why nothing was stored; `None` where the record was.

        Raises:
            InvalidEvent: The record holds something that cannot be stored.
            Unavailable: It could not be stored just now.
        """
        ...

    def update(self, tenant_id: str, changes: Mapping[str, Any], at: datetime, *, create: bool = False) -> str | None:
        """Change attributes of a tenant's record and keep the others, unless it is of a later event.

        Args:
            tenant_id: The tenant's id.
            changes: The new values; `None` removes an attribute.
            at: Time of the event.
            create: Whether a record is made where there is none; the event that brings the whole record goes in
                its place, however old it is.

        Returns:
            Why nothing was changed; `None` where the record was.

        Raises:
            UnknownTenant: The tenant has no record.
            InvalidEvent: A change holds something that cannot be stored.
            Unavailable: It could not be changed just now.
        """
        ...


class NoTenantRecords:
    """Keeps nothing: what a function without `DATA_STORE_TABLE` has."""

    _WHY = "DATA_STORE_TABLE is not set"

    def get(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Read a tenant's record; see `TenantRecords.get`."""
        return None

    def save(self, tenant_id: str, record: Mapping[str, Any], at: datetime) -> str | None:
        """Store nothing and say why; see `TenantRecords.save`."""
        return self._WHY

    def update(self, tenant_id: str, changes: Mapping[str, Any], at: datetime, *, create: bool = False) -> str | None:
        """Change nothing and say why; see `TenantRecords.update`."""
        return self._WHY


class DynamoDBTenantRecords:
    """Tenant records in a DynamoDB table with the key `tenantId`."""

    def __init__(self, table: str, client: "Callable[[], DynamoDBClient]") -> None:
        self._table = table
        self._client = client

    def get(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Read a tenant's record; see `TenantRecords.get`."""
        aws.check_key(f"the tenant's id {shown(tenant_id)}", tenant_id)
        with aws.errors(f"tenant {shown(tenant_id)} could not be read from table {self._table}"):
            item = (
                self._client()
                .get_item(TableName=self._table, Key={_KEY: {"S": tenant_id}}, ConsistentRead=True)
                .get("Item")
            )
        return None if item is None else aws.plain(aws.from_item(item))

    def check(self, tenant_id: str, attributes: Mapping[str, Any]) -> None:
        """Refuse what is no item or too large for one; see `TenantRecords`.

        Args:
            tenant_id: The tenant's id.
            attributes: A record, or those attributes of one that are to change.

        Raises:
            InvalidEvent: They cannot be stored.
        """
        aws.check_key(f"the tenant's id {shown(tenant_id)}", tenant_id)
        given = {name: value for name, value in attributes.items() if name not in (SAVED_AT, UPDATED_AT, _KEY)}
        item = _item(tenant_id, given)
        size = aws.item_bytes(item) + aws.item_bytes(_item(tenant_id, {_KEY: tenant_id, SAVED_AT: _ANY_TIME}))
        if size > MAX_ITEM_BYTES:
            largest = max(item, key=lambda name: aws.item_bytes({name: item[name]}))
            raise InvalidEvent(
                f"{_too_large(tenant_id)}: it has {size:,} bytes, most of them in {path_of('', (largest,))}; send less"
            )

    def save(self, tenant_id: str, record: Mapping[str, Any], at: datetime) -> str | None:
        """Store a tenant's record; see `TenantRecords.save`."""
        whole = {name: value for name, value in record.items() if name != UPDATED_AT}
        item = _item(tenant_id, {**whole, SAVED_AT: written(at), _KEY: tenant_id})
        with aws.errors(f"tenant {shown(tenant_id)} could not be saved in table {self._table}", rejected=InvalidEvent):
            try:
                self._client().put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression=_IS_YOUNGER,
                    ExpressionAttributeNames=_NAMES,
                    ExpressionAttributeValues={":at": item[SAVED_AT]},
                )
            except ClientError as error:
                if aws.is_too_large(error):
                    raise InvalidEvent(f"{_too_large(tenant_id)}; send less") from None
                if not aws.is_condition_failure(error):
                    raise
                return _LATER
        return None

    def update(self, tenant_id: str, changes: Mapping[str, Any], at: datetime, *, create: bool = False) -> str | None:
        """Change a tenant's record; see `TenantRecords.update`."""
        kept = {name: value for name, value in changes.items() if value is not None}
        with aws.errors(f"tenant {shown(tenant_id)} could not be updated in table {self._table}", InvalidEvent):
            try:
                gone = sorted(changes.keys() - kept.keys())
                self._client().update_item(**self._update(tenant_id, kept, gone, at, create=create))
            except ClientError as error:
                if aws.is_too_large(error):
                    raise InvalidEvent(f"{_too_large(tenant_id)} once it is changed; send less") from None
                if not aws.is_condition_failure(error):
                    raise
                if "Item" in error.response:
                    return _LATER
                raise UnknownTenant(
                    f"tenant {shown(tenant_id)} has no record in table {self._table}: its provisioning did not come "
                    "through here; correct the event's tenant, or add its record"
                ) from None
        return None

    def _update(
        self, tenant_id: str, kept: Mapping[str, Any], gone: Sequence[str], at: datetime, *, create: bool
    ) -> dict[str, Any]:
        values = _item(tenant_id, {**kept, UPDATED_AT: written(at)})
        marks = {name: f"n{number}" for number, name in enumerate((*values, *gone))}
        assigned = ", ".join(f"#{marks[name]} = :{marks[name]}" for name in values)
        removed = ", ".join(f"#{marks[name]}" for name in gone)
        key = {} if create else {"#key": _KEY}
        return {
            "TableName": self._table,
            "Key": {_KEY: {"S": tenant_id}},
            "UpdateExpression": f"SET {assigned}" + (f" REMOVE {removed}" if removed else ""),
            "ConditionExpression": _IS_NO_OLDER if create else f"attribute_exists(#key) AND {_IS_NO_OLDER}",
            "ExpressionAttributeNames": {**{f"#{mark}": name for name, mark in marks.items()}, **_NAMES, **key},
            "ExpressionAttributeValues": {
                **{f":{marks[name]}": value for name, value in values.items()},
                ":at": values[UPDATED_AT],
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }


_LATER = "a later event has written the record"
_ANY_TIME = "2026-11-24T09:00:00.000Z"


def _too_large(tenant_id: str) -> str:
    return f"tenant {shown(tenant_id)}: its record exceeds the {MAX_ITEM_BYTES:,} bytes of a DynamoDB item"


def written(time: datetime) -> str:
    """Write a time so that texts compare as the times do.

    Args:
        time: Any time with a zone.

    Returns:
        It in UTC to the millisecond, as in `2026-11-24T09:00:00.000Z`.
    """
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _item(tenant_id: str, attributes: Mapping[str, Any]) -> Any:
    try:
        return aws.to_item(attributes)
    except (DecimalException, TypeError, RecursionError) as error:
        place = (
            None if isinstance(error, RecursionError) else place_of(attributes, lambda part: not aws.is_storable(part))
        )
        what = path_of("", place) if place else "one of its values"
        raise InvalidEvent(
            f"tenant {shown(tenant_id)}: its record cannot be stored: {what} is nothing that DynamoDB holds (a number "
            "has at most 38 digits and is between 1e-130 and 9.9e125, or 0); correct the event"
        ) from None
