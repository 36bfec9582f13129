"""Reads what the ledger and the tenant record already say about an event's actions, run and tenant."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.application import Ports
from orchestrator.cli.records import LedgerTable, TenantTable
from orchestrator.cli.story import job_status
from orchestrator.errors import Unavailable
from orchestrator.ledger.gate import is_in, lock_key, run_of, runs_in
from orchestrator.ledger.record import Record, State, milliseconds
from orchestrator.timing import clock
from orchestrator.timing.clock import written
from orchestrator.values.limits import MAX_KEY_BYTES

NEVER_KEPT, NO_TABLE, NO_RECORD, UNREADABLE = "not kept", "no table", "no record", "unreadable"
BEING_PERFORMED, IN_DOUBT, DONE, WAITING = "being performed", "in doubt", "done", "waiting"
"""The possible values of `state` in what is stored about an action. `WAITING` comes from the tenant record."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Reads what the ledger and the tenant record already say about an event's actions, run and tenant.

    Attributes:
        ports: The handler's stores and clients (see `Ports`). They are only used to read.
        table: The ledger's table; `None` if the ledger has none.
    """

    ports: Ports
    table: LedgerTable | None

    def of_action(self, action_id: str | None) -> dict[str, Any]:
        """Return what the ledger has stored about an action: the action's `state`, with details such as the outcome.

        `state` is one of this module's constants. `UNREADABLE` means that the record cannot be read; `reason` says why.

        Args:
            action_id: The action's identity; `None` if the ledger never stores the action (see `Prepared.action_id`).
        """
        if action_id is None:
            return {"state": NEVER_KEPT}
        if self.ports["records"].memory is None:
            return {"state": NO_TABLE}
        try:
            record = self.ports["records"].read(action_id)
        except Unavailable as error:
            return {"state": UNREADABLE, "reason": str(error)}
        return {"state": NO_RECORD} if record is None else _known(record)

    def of_run(self, run_id: str) -> dict[str, Any]:
        """Return what the ledger has stored about a run.

        The key `isKnown` is false if the ledger has no record of the run, or the record cannot be read.
        """
        record = self._record(run_id)
        return {"runId": run_id, "isKnown": False} if record is None or record.job is None else _run(record)

    def of_tenant(self, tenant_id: str) -> dict[str, Any]:
        """Return the tenant's status and tier from its record, with other attributes that describe the status.

        The key `hasRecord` is false if the tenant has no record.
        """
        record = self.ports["tenants"].get(tenant_id) if _is_key(tenant_id) else None
        if record is None:
            return {"tenantId": tenant_id, "hasRecord": False}
        plan = record.get("planConfig")
        tier = {"tier": plan["tier"]} if isinstance(plan, Mapping) and "tier" in plan else {}
        shown = {name: record[name] for name in TenantTable.SHOWN if name in record and name != "tenantId"}
        return {"tenantId": tenant_id, "hasRecord": True, **shown, **tier}

    def of_lock(self, tenant_id: str) -> dict[str, Any] | None:
        """Return the operation whose runs keep the tenant's other jobs waiting, and these runs.

        An operation is an event with all that follows from it, such as a provisioning and the deployment after it.

        Returns:
            A dictionary with the keys `operation`, the id of the event that began the operation, and `runs`. `None` if
            no run keeps jobs of the tenant waiting, or if the ledger has no table.
        """
        if self.table is None or not _is_key(tenant_id):
            return None
        lock = self.table.gate(lock_key(tenant_id))
        records = {member: self._record(run_of(member)) for member in sorted(runs_in(lock))}
        held = [_run(record) for member, record in records.items() if record is not None and is_in(member, record)]
        return {"operation": lock["operation"]["S"], "runs": held} if held else None

    def _record(self, action_id: str) -> Record | None:
        try:
            return self.ports["records"].read(action_id)
        except Unavailable:  # the rehearsal has met the same record, and says so
            return None


def _is_key(tenant_id: str) -> bool:
    return len(lock_key(tenant_id).encode()) <= MAX_KEY_BYTES


def _known(record: Record) -> dict[str, Any]:
    if record.state is State.CLAIMED:
        is_locked = record.locked_until > milliseconds(clock.now())
        until = written(datetime.fromtimestamp(record.locked_until / 1000, UTC))
        return {"state": BEING_PERFORMED if is_locked else IN_DOUBT, "lockedUntil": until}
    outcome: Mapping[str, Any] = record.known_outcome
    kept = ("status", "id", "reason", "error")
    known = {"outcome": {name: str(outcome[name]) for name in kept if name in outcome}}
    link = outcome.get("buildLink") or outcome.get("link")
    run = {"run": job_status(record)} if record.job is not None else {}
    return {"state": DONE, **known, **run, **({"link": link} if link else {})}


def _run(record: Record) -> dict[str, Any]:
    job = record.started_job
    return {
        "runId": job.run_id,
        "isKnown": True,
        "builder": job.builder,
        "name": job.name,
        "run": job_status(record),
        "eventId": job.event_id,
        "eventType": job.event_type,
        "since": written(job.since),
    }
