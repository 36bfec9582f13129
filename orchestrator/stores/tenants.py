"""Reads and writes tenant records.

An event that is delivered late does not undo the changes of a later event. `SaveTenant` and `UpdateTenant` describe the
rules.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import DecimalException
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from botocore.exceptions import ClientError

from orchestrator.action import SaveTenant, UpdateTenant
from orchestrator.aws import items
from orchestrator.aws.errors import aws_errors
from orchestrator.errors import InvalidEvent, UnknownTenant, shown
from orchestrator.run import Origin
from orchestrator.timing.clock import written
from orchestrator.values.limits import MAX_ITEM_BYTES, place_of
from orchestrator.values.validation import path_of

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

STARTED_BY = "startedBy"
"""Attribute: id of the event that began the tenant's current operation, such as its provisioning."""

STARTED_AT = "startedAt"
"""Attribute: time of the event that `startedBy` identifies, as in `Start.at`."""

UPDATED_AT = "updatedAt"
"""Attribute: time of the last event that made a plain change to the record.

`UpdateTenant` defines plain changes. A plain change by an older event is skipped.
"""

WAITING_FOR = "waitingFor"
"""Attribute: what an event of the tenant waits for. Changing only this attribute is not a plain change."""

STATUS_WEBHOOK = "statusWebhook"
"""Attribute: why the tenant's status webhook was not sent or was refused."""

_KEY, _STATUS = "tenantId", "status"
_OWN = (STARTED_BY, STARTED_AT, UPDATED_AT, _KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a tenant record was not written.

    Attributes:
        reason: The reason, safe to log.
        supersedes: Whether the whole event is outdated, because a later event has begun an operation for the tenant, or
            because the tenant has one of the statuses in `UpdateTenant.final`. If so, the consumer's remaining actions
            must not be performed either.
    """

    reason: str
    supersedes: bool = False


class TenantLookup(Protocol):
    """Reads tenant records."""

    def get(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Read a tenant record.

        Returns:
            The record, with numbers as `int` or `float`; `None` if the tenant has no record.

        Raises:
            InvalidEvent: The id is too long for the key of a DynamoDB table.
            ConfigurationError: The store does not exist, or the function may not read it.
            Unavailable: The store could not be reached.
        """
        ...


class TenantRecords(TenantLookup, Protocol):
    """Stores tenant records.

    A class that implements this protocol may also implement `ChecksRecords`, to check in advance whether a record can
    be stored.
    """

    def save(self, action: SaveTenant, origin: Origin) -> Refusal | None:
        """Store a tenant record; see `SaveTenant`.

        Returns:
            Why nothing was stored; `None` if the record was stored.

        Raises:
            InvalidEvent: The record is too large, or holds a value that cannot be stored.
            ConfigurationError: The store does not exist, or the function may not write to it.
            Unavailable: The store could not be reached.
        """
        ...

    def update(self, action: UpdateTenant, origin: Origin) -> Refusal | None:
        """Change a tenant record; see `UpdateTenant`.

        Returns:
            Why nothing was changed; `None` if the record was changed.

        Raises:
            UnknownTenant: The tenant has no record, and the action's `create` is false.
            InvalidEvent: A new value cannot be stored, or the record would be too large.
            ConfigurationError: The store does not exist, or the function may not write to it.
            Unavailable: The store could not be reached.
        """
        ...


class ChecksRecords(Protocol):
    """A store of tenant records that can check in advance whether it can store a record."""

    def check(self, action: SaveTenant | UpdateTenant, origin: Origin) -> None:
        """Check the record or the changes of an action, before any action of the consumer is performed.

        Raises:
            InvalidEvent: The record or the changes cannot be stored.
        """
        ...


def checks_records(tenants: object) -> TypeGuard[ChecksRecords]:
    """Return whether a store of tenant records implements `ChecksRecords`."""
    return callable(getattr(tenants, "check", None))


class TenantReader:
    """Reads tenant records for consumers. It cannot write: a consumer writes a tenant record by returning an action."""

    def __init__(self, records: TenantRecords) -> None:
        self._records = records

    def get(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Read a tenant record; see `TenantLookup.get`."""
        return self._records.get(tenant_id)


class NoTenantRecords:
    """Implements `TenantRecords` without storing anything; it is used if `DATA_STORE_TABLE` is not set."""

    _WHY = Refusal(reason="DATA_STORE_TABLE is not set")

    def get(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Return `None`, because no tenant has a record."""
        return None

    def save(self, action: SaveTenant, origin: Origin) -> Refusal | None:
        """Store nothing, and return the reason why nothing was stored."""
        return self._WHY

    def update(self, action: UpdateTenant, origin: Origin) -> Refusal | None:
        """Change nothing, and return the reason why nothing was changed."""
        return self._WHY


class DynamoDBTenantRecords:
    """Stores tenant records in a DynamoDB table with the key `tenantId`."""

    def __init__(self, table: str, client: "Callable[[], DynamoDBClient]") -> None:
        self._table = table
        self._client = client

    def get(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Read a tenant record; see `TenantLookup.get`."""
        items.check_key(f"the tenant's id {shown(tenant_id)}", tenant_id)
        with aws_errors(f"tenant {shown(tenant_id)} could not be read from table {self._table}"):
            item = (
                self._client()
                .get_item(TableName=self._table, Key={_KEY: {"S": tenant_id}}, ConsistentRead=True)
                .get("Item")
            )
        return None if item is None else items.plain(items.from_item(item))

    def check(self, action: SaveTenant | UpdateTenant, origin: Origin) -> None:
        """Refuse values that DynamoDB cannot store, and records that are too large; see `ChecksRecords.check`."""
        tenant_id = action.tenant_id
        items.check_key(f"the tenant's id {shown(tenant_id)}", tenant_id)
        given = action.record if isinstance(action, SaveTenant) else _given(action.changes)
        if "" in given:
            raise InvalidEvent(f"tenant {shown(tenant_id)}: its record cannot be stored: an attribute has no name")
        for name, value in given.items():
            if items.is_too_deep(value):
                raise InvalidEvent(
                    f"tenant {shown(tenant_id)}: its record cannot be stored: {path_of('', (name,))} has more than 32 "
                    "levels, the most in DynamoDB; send fewer"
                )
        item = _item(tenant_id, {name: value for name, value in given.items() if name not in _OWN})
        own = {_KEY: tenant_id, **_started(origin)}
        item |= _item(tenant_id, own)
        size = items.item_bytes(item)
        if size > MAX_ITEM_BYTES:
            largest = max(item, key=lambda name: items.item_bytes({name: item[name]}))
            raise InvalidEvent(
                f"{_too_large(tenant_id)}: it has {size:,} bytes, most of them in {path_of('', (largest,))}; send less"
            )

    def save(self, action: SaveTenant, origin: Origin) -> Refusal | None:
        """Store a tenant record; see `TenantRecords.save`."""
        tenant_id, started = action.tenant_id, _started(origin)
        given = {name: value for name, value in action.record.items() if name not in _OWN}
        request = {
            "Item": _item(tenant_id, {**given, **started, _KEY: tenant_id}),
            "ConditionExpression": _MAY_START,
            "ExpressionAttributeNames": {"#startedBy": STARTED_BY, "#startedAt": STARTED_AT},
            "ExpressionAttributeValues": _start_values(origin),
        }
        written_before = self._written("put_item", tenant_id, request, "saved")
        return None if written_before is None else refusal(action, written_before, origin) or _OVERTAKEN

    def update(self, action: UpdateTenant, origin: Origin) -> Refusal | None:
        """Change a tenant record; see `TenantRecords.update`."""
        before = self._written("update_item", action.tenant_id, _update(action, origin), "updated")
        if before is None:
            return None
        if not before:
            raise unknown_tenant(action.tenant_id, f"table {self._table}")
        return refusal(action, before, origin) or (_OVERTAKEN if action.starts else _CHANGED)

    def _written(
        self, operation: str, tenant_id: str, request: Mapping[str, Any], done: str
    ) -> Mapping[str, Any] | None:
        """Send a conditional request that writes a tenant record.

        Args:
            operation: The client's method: `put_item` or `update_item`.
            request: The method's arguments, except the table's name.
            done: The verb for error messages: `saved` or `updated`.

        Returns:
            `None` if the record was written. If the request's condition was not met, the result is the stored record,
            or an empty mapping if the tenant has no record.
        """
        failure = f"tenant {shown(tenant_id)} could not be {done} in table {self._table}"
        with aws_errors(failure, rejected=InvalidEvent):
            try:
                getattr(self._client(), operation)(
                    TableName=self._table, ReturnValuesOnConditionCheckFailure="ALL_OLD", **request
                )
            except ClientError as error:
                if items.is_too_large(error):
                    raise InvalidEvent(f"{_too_large(tenant_id)} once it is {done}; send less") from None
                if not items.is_condition_failure(error):
                    raise
                item: Any = error.response.get("Item", {})
                return items.from_item(item)
        return None


def refusal(action: SaveTenant | UpdateTenant, record: Mapping[str, Any], origin: Origin) -> Refusal | None:
    """Return why an action must not write a tenant record.

    DynamoDB checks equivalent conditions before it writes a record, but does not say why a condition is false. This
    function does not check whether the record must exist already (see `UpdateTenant.create`).

    Args:
        action: The action.
        record: The tenant record as it is stored; empty if the tenant has no record.
        origin: The event and the consumer that the action comes from.

    Returns:
        The reason; `None` if the record may be written.
    """
    if isinstance(action, SaveTenant):
        return _refused_start(record, origin)
    if action.starts and (refused := _refused_start(record, origin)):
        return refused
    status = record.get(_STATUS)
    if not action.starts and _is_later(record, origin):
        return Refusal(reason=_LATER, supersedes=origin.event.start is not None or action.status is not None)
    if status in (*action.ahead, *action.final):
        return Refusal(reason=f"the tenant record says {status}", supersedes=status in action.final)
    return _CHANGED if _is_plain(action) and str(record.get(UPDATED_AT, "")) > written(origin.time) else None


def unknown_tenant(tenant_id: str, place: str) -> UnknownTenant:
    """Build the error for an update of a tenant that has no record in `place`."""
    return UnknownTenant(
        f"tenant {shown(tenant_id)} has no record in {place}: this function did not provision it; correct the event's "
        "tenant, or add its record"
    )


_LATER = "a later event began another operation for the tenant"
_OVERTAKEN = Refusal(reason=_LATER, supersedes=True)
_CHANGED = Refusal(reason="a later event has changed the record")
_MAY_START = (
    "(attribute_not_exists(#startedAt) OR #startedAt <= :start) AND "
    "(attribute_not_exists(#startedBy) OR #startedBy <> :by)"
)
# EventBridge's times are whole seconds, so two operations may have begun in the same second. If the start of an event's
# operation is known (`Event.start`), the event is outdated when another event began an operation in the second of that
# start or later. If the start is not known, only the event's own time can be compared. The event is then outdated when
# another event began an operation in a later second.
_FOLLOWS = (
    "#startedBy = :by OR attribute_not_exists(#startedAt) OR #startedAt < :start OR "
    "(attribute_not_exists(#startedBy) AND #startedAt = :start)"
)
_IS_NOT_BEFORE_START = "#startedBy = :by OR attribute_not_exists(#startedAt) OR #startedAt <= :start"


def _is_later(record: Mapping[str, Any], origin: Origin) -> bool:
    """Whether the tenant record names another operation that counts as later than the operation of `origin`.

    `origin.start` is the event that began the operation of `origin`. The other operation counts as later if its
    `startedAt` is later than `origin.start.at`. If both times are equal, it counts as later only if the record has a
    `startedBy`, and `origin.event.start` is not `None`.

    Requests to DynamoDB contain the opposite condition: `_IS_NOT_BEFORE_START` if `origin.event.start` is `None`, and
    `_FOLLOWS` otherwise.
    """
    by, at, start = record.get(STARTED_BY), record.get(STARTED_AT), written(origin.start.at)
    if by == origin.start.event_id or at is None:
        return False
    return at > start or (at == start and by is not None and origin.event.start is not None)


def _refused_start(record: Mapping[str, Any], origin: Origin) -> Refusal | None:
    if record.get(STARTED_BY) == origin.start.event_id:
        return Refusal(reason="an earlier delivery of this event wrote the record")
    return _OVERTAKEN if str(record.get(STARTED_AT, "")) > written(origin.start.at) else None


def _is_plain(action: UpdateTenant) -> bool:
    return action.status is None and not action.starts and set(action.changes) != {WAITING_FOR}


def _started(origin: Origin) -> dict[str, str]:
    return {STARTED_BY: origin.start.event_id, STARTED_AT: written(origin.start.at)}


def _start_values(origin: Origin) -> dict[str, Any]:
    return {":by": {"S": origin.start.event_id}, ":start": {"S": written(origin.start.at)}}


def _given(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if value is not None}


def _update(action: UpdateTenant, origin: Origin) -> dict[str, Any]:
    """Build the arguments of the client's `update_item`, except the table's name.

    They contain a condition, by which DynamoDB checks the rules that `UpdateTenant` describes.
    """
    new, kept = _given(action.changes), dict[str, Any]()
    conditions = list[str]()
    gone = sorted(action.changes.keys() - new.keys())
    names = {"#startedBy": STARTED_BY, "#startedAt": STARTED_AT}
    values = _start_values(origin)
    if not action.create:
        conditions.append("attribute_exists(#key)")
        names["#key"] = _KEY
    if action.starts:
        new |= _started(origin)
        conditions.append(_MAY_START)
    else:
        conditions.append(f"({_IS_NOT_BEFORE_START if origin.event.start is None else _FOLLOWS})")
        if action.create:
            kept = {STARTED_AT: written(origin.start.at)}
    if _is_plain(action):
        new[UPDATED_AT] = written(origin.time)
        conditions.append("(attribute_not_exists(#updatedAt) OR #updatedAt <= :at)")
        names["#updatedAt"] = UPDATED_AT
        values[":at"] = {"S": written(origin.time)}
    over = {f":over{number}": {"S": status} for number, status in enumerate((*action.ahead, *action.final))}
    if over:
        conditions.append(f"(attribute_not_exists(#status) OR NOT #status IN ({', '.join(over)}))")
        names["#status"] = _STATUS
        values |= over
    mark = {name: f"n{number}" for number, name in enumerate((*new, *kept, *gone))}
    assigned = [f"#{mark[name]} = :{mark[name]}" for name in new]
    assigned += [f"#{mark[name]} = if_not_exists(#{mark[name]}, :{mark[name]})" for name in kept]
    gone_marks = [f"#{mark[name]}" for name in gone]
    item = _item(action.tenant_id, {**new, **kept})
    return {
        "Key": {_KEY: {"S": action.tenant_id}},
        "UpdateExpression": " ".join([*_clause("SET", assigned), *_clause("REMOVE", gone_marks)]),
        "ConditionExpression": " AND ".join(conditions),
        "ExpressionAttributeNames": {**{f"#{text}": name for name, text in mark.items()}, **names},
        "ExpressionAttributeValues": {**{f":{mark[name]}": value for name, value in item.items()}, **values},
    }


def _clause(verb: str, parts: Sequence[str]) -> list[str]:
    return [f"{verb} {', '.join(parts)}"] if parts else []


def _too_large(tenant_id: str) -> str:
    return f"tenant {shown(tenant_id)}: its record exceeds the {MAX_ITEM_BYTES:,} bytes of a DynamoDB item"


def _item(tenant_id: str, attributes: Mapping[str, Any]) -> Any:
    try:
        return items.to_item(attributes)
    except (DecimalException, TypeError, RecursionError) as error:
        place = None if isinstance(error, RecursionError) else place_of(attributes, items.is_unstorable)
        part = path_of("", place) if place else "one of its values"
        raise InvalidEvent(
            f"tenant {shown(tenant_id)}: its record cannot be stored: DynamoDB cannot hold {part} (a number has at "
            "most 38 digits and is between 1e-130 and 9.9e125, or 0); correct the event"
        ) from None
