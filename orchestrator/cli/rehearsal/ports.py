"""Replaces an application's stores, clients and builders by others that only read, and records what would be sent.

The class `Ports` holds an application's stores, clients and builders.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.action import OutcomeStatus, SaveTenant, SendCallback, UpdateTenant
from orchestrator.application import Ports
from orchestrator.aws.clients import Clients
from orchestrator.cli.account import Account
from orchestrator.cli.records import LedgerTable
from orchestrator.cli.rehearsal.ledger import ReadOnlyRecords
from orchestrator.job import Builder, Job, Run
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.run import Origin
from orchestrator.settings import Settings
from orchestrator.stores.tenants import (
    STARTED_AT,
    STARTED_BY,
    NoTenantRecords,
    Refusal,
    TenantRecords,
    checks_records,
    refusal,
    unknown_tenant,
)
from orchestrator.timing.clock import written

if TYPE_CHECKING:
    from orchestrator.performers.callbacks import Callbacks


@dataclass(frozen=True, slots=True)
class Asked:
    """What the application would have sent.

    Attributes:
        published: The events that would have been published, as entries of PutEvents.
        callbacks: The callbacks that would have been sent.
        waiting: The messages that would have been sent to the waiting queue.
    """

    published: list[Mapping[str, Any]] = field(default_factory=list, repr=False)
    callbacks: list[SendCallback] = field(default_factory=list)
    waiting: list[Mapping[str, Any]] = field(default_factory=list, repr=False)


def only_reading(ports: Ports, table: LedgerTable | None) -> tuple[Ports, Asked]:
    """Build ports that read what an application's ports read, change nothing, and record what would have been sent.

    Args:
        ports: The application's stores, clients and builders.
        table: The ledger's table, as `ledger_table` returns it.

    Returns:
        The new ports; and the object to which they add whatever the application tries to send.
    """
    asked = Asked()
    client: Any = partial(_Client, asked)
    callbacks: Any = partial(_Callbacks, ports["callbacks"], asked.callbacks)
    tenants = ports["tenants"]
    records = ReadOnlyRecords(ports["records"], table, locks_tenants=ports["settings"].tenant_serialization)
    replaced = Ports(
        settings=ports["settings"],
        tiers=ports["tiers"],
        tenants=tenants if isinstance(tenants, NoTenantRecords) else ReadOnlyTenants(tenants, ports["settings"]),
        records=records,
        line=None,
        built_in={name: partial(_unstarted, make) for name, make in ports["built_in"].items()},
        builders={name: Unstarted(builder) for name, builder in ports["builders"].items()},
        events=client,
        sqs=client,
        callbacks=callbacks,
    )
    return replaced, asked


def ledger_table(ports: Ports) -> LedgerTable | None:
    """Return the table of a handler's ledger; `None` if the ledger has no table."""
    if not isinstance(ports["records"], DynamoDBRecords):
        return None
    return LedgerTable(Account(settings=ports["settings"], clients=Clients()))


class ReadOnlyTenants:
    """Implements `TenantRecords`: reads the records of another store, and keeps changes only in memory."""

    def __init__(self, tenants: TenantRecords, settings: Settings) -> None:
        table = settings.data_store_table
        self._tenants = tenants
        self._place = "the store of tenant records" if table is None else f"table {table}"
        self._changed: dict[str, Mapping[str, Any]] = {}
        self.check: Callable[..., None] | None = tenants.check if checks_records(tenants) else None

    def get(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Read a tenant record, with the changes that this object has kept in memory."""
        return self._changed.get(tenant_id) or self._tenants.get(tenant_id)

    def save(self, action: SaveTenant, origin: Origin) -> Refusal | None:
        """Keep the record in memory, and return `None`.

        If the real store would refuse the record, keep nothing, and return the reason.
        """
        return self._write(action, action.record, origin, {})

    def update(self, action: UpdateTenant, origin: Origin) -> Refusal | None:
        """Keep the changes in memory, and return `None`.

        If the real store would refuse the changes, keep nothing, and return the reason.

        Raises:
            UnknownTenant: The tenant has no record, and the action's `create` is false.
        """
        record = self.get(action.tenant_id)
        if record is None and not action.create:
            raise unknown_tenant(action.tenant_id, self._place)
        return self._write(action, action.changes, origin, record or {})

    def _write(
        self, action: SaveTenant | UpdateTenant, new: Mapping[str, Any], origin: Origin, kept: Mapping[str, Any]
    ) -> Refusal | None:
        refused = refusal(action, self.get(action.tenant_id) or {}, origin)
        if refused is None:
            begun = isinstance(action, SaveTenant) or action.starts
            started = {STARTED_BY: origin.start.event_id, STARTED_AT: written(origin.start.at)} if begun else {}
            changed = {**kept, **new, **started}
            self._changed[action.tenant_id] = {name: value for name, value in changed.items() if value is not None}
        return refused


class Unstarted:
    """A builder that starts nothing. All other methods and attributes are those of the real builder."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder

    def start(self, job: Job) -> Run:
        """Start nothing, and return a run without an id."""
        return Run()

    def find(self, job: Job) -> Run | None:
        """Search for an earlier run of the job, as the real builder does."""
        return self._builder.find(job)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)


def _unstarted(make: Callable[[], Builder]) -> Builder:
    return Unstarted(make())


class _Client:
    """Takes the place of the clients of EventBridge and SQS. It records requests, and sends none."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def put_events(self, Entries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:  # noqa: N803 (the SDK's name)
        self._asked.published.extend(Entries)
        return {"Entries": [{"EventId": ""} for _ in Entries]}

    def send_message(self, **message: Any) -> None:
        self._asked.waiting.append(message)


class _Callbacks:
    """Checks callbacks as the real `Callbacks` does. It records the callbacks, and sends none."""

    def __init__(self, callbacks: "Callable[[], Callbacks]", sent: list[SendCallback]) -> None:
        self._callbacks = callbacks
        self._sent = sent

    def check(self, action: SendCallback) -> str:
        return self._callbacks().check(action)

    def send(self, action: SendCallback, *, is_repeat: bool = False) -> OutcomeStatus:
        self._sent.append(action)
        return OutcomeStatus.SENT

    def ask(self, action: SendCallback) -> dict[str, str | int]:
        self._sent.append(action)
        return dict.fromkeys(action.keeps, "")
