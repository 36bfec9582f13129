"""Defines gates, which limit which runs go on at the same time. There are two types of gates.

A tenant's lock lets through the runs of one operation. An operation is an event together with all that follows from it,
such as a provisioning and the deployment after it. A slot lets through a fixed number of runs, whatever they are for.

Each gate is an item of the ledger's table that names the runs in the gate. A run joins its gates in the same step in
which a delivery claims the action that starts the run (see `orchestrator.ledger.ledger`). The run stays in the gates
while it is followed, that is, as long as the function checks whether the run has ended. A delivery that finds a gate
full removes the runs that are no longer followed. So a process that is killed cannot leave a gate full. Normally, a run
is removed as soon as it is over, and the next event that waits is woken (see `orchestrator.ledger.waiting_line`).
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from orchestrator.aws import items
from orchestrator.errors import Unavailable, Wait, WaitReason, shown
from orchestrator.job import Slot, StartedJob
from orchestrator.ledger.changes import Change, Item
from orchestrator.ledger.record import Record, State, seconds
from orchestrator.timing import clock
from orchestrator.timing.clock import written

_TENANT, _SLOT, _BUILDER = "tenant#", "slot#", "builder#"

# How many of a full gate's runs one delivery looks at.
_MOST_LOOKED_AT = 10

# For so long after a refusal, a build system is not asked by an event that comes back by itself.
_REFUSAL = timedelta(minutes=1)


class Overtaken(Exception):
    """The tenant has had a run of a later event of the same type, so this job must not be started any more."""


class Awaited(Protocol):
    """Something that a job may have to wait for: a gate, which limits concurrent runs, or a build system."""

    @property
    def key(self) -> str:
        """The key of the item for this gate or build system in the ledger's table."""
        ...

    def is_full(self, item: Item) -> bool:
        """Whether there is no room for the job's run, according to the item."""
        ...

    def busy(self) -> Unavailable:
        """Build the error that is raised if the job must wait."""
        ...


class Gate(Awaited, Protocol):
    """Limits which runs go on at the same time: a tenant's lock, or a slot. A run joins its gates before it starts."""

    def joining(self, member: str, expiration: int) -> Change:
        """Build the change by which the job's run joins the gate. DynamoDB refuses the change if `admits` is false.

        Args:
            member: The run's name in the gate (see `member_of`).
            expiration: When DynamoDB may delete the gate's item, in seconds since 1970.
        """
        ...

    def admits(self, item: Item) -> bool:
        """Whether the run may join the gate, according to the gate's item."""
        ...


@dataclass(frozen=True, slots=True)
class TenantLock:
    """The lock of a job's tenant. It lets through the runs of one operation at a time.

    An operation is an event with all that follows from it, such as a provisioning and the deployment after it.

    The lock also refuses a job if a later event of the same type has already had a run. Therefore, when a run that was
    started leaves the lock, the time when the run's operation began is stored in the lock's item, under the event type.
    """

    tenant_id: str
    job: StartedJob

    @property
    def key(self) -> str:
        """The key of the lock's item."""
        return lock_key(self.tenant_id)

    def joining(self, member: str, expiration: int) -> Change:
        """Build the change by which a run joins; see `Gate.joining`."""
        return Change(
            key=self.key,
            condition="(attribute_not_exists(#runs) OR #operation = :operation) AND "
            "(attribute_not_exists(#latest) OR #latest <= :at)",
            values={
                "operation": self.job.start.event_id,
                "at": written(self.job.start.at),
                "runs": frozenset({member}),
                "expiration": expiration,
            },
            update="SET #operation = :operation, #expiration = :expiration ADD #runs :runs",
            names={"latest": _latest(self.job)},
        )

    def is_full(self, item: Item) -> bool:
        """Whether runs of another operation are in the lock."""
        return bool(runs_in(item)) and item["operation"] != {"S": self.job.start.event_id}

    def admits(self, item: Item) -> bool:
        """Whether the run may join the lock; see `Gate.admits`."""
        latest = item.get(_latest(self.job), {}).get("S", "")
        return not self.is_full(item) and latest <= written(self.job.start.at)

    def busy(self) -> Unavailable:
        """Build the error that is raised if the job must wait."""
        return _busy(
            f"tenant {shown(self.tenant_id)} has a job of another event that has not ended", WaitReason.TENANT_BUSY
        )


@dataclass(frozen=True, slots=True)
class SlotGate:
    """The gate for a slot, which limits how many runs go on at the same time; see `Slot`."""

    slot: Slot
    run_id: str

    @property
    def key(self) -> str:
        """The key of the slot's item in the ledger's table."""
        return _SLOT + self.slot.name

    def joining(self, member: str, expiration: int) -> Change:
        """Build the change by which the job's run joins the slot; see `Gate.joining`."""
        return Change(
            key=self.key,
            condition="attribute_not_exists(#runs) OR contains(#runs, :run) OR size(#runs) < :size",
            values={
                "run": member,
                "runs": frozenset({member}),
                "size": self.slot.size,
                "expiration": expiration,
            },
            update="SET #size = :size, #expiration = :expiration ADD #runs :runs",
        )

    def is_full(self, item: Item) -> bool:
        """Whether other runs fill the slot."""
        runs = runs_in(item)
        return len(runs) >= self.slot.size and self.run_id not in map(run_of, runs)

    def admits(self, item: Item) -> bool:
        """Whether the run may join the slot; see `Gate.admits`."""
        return not self.is_full(item)

    def busy(self) -> Unavailable:
        """Build the error that is raised if the job must wait."""
        return _busy(f"slot {shown(self.slot.name)} is full (runs at a time: {self.slot.size})", WaitReason.SLOT_FULL)


@dataclass(frozen=True, slots=True)
class BuildSystem:
    """A build system that has refused a job. Only another attempt to start a job shows whether it has room again."""

    builder: str
    reason: WaitReason

    @property
    def key(self) -> str:
        """The key of the build system's item in the ledger's table; see `builder_key`."""
        return builder_key(self.builder)

    def is_full(self, item: Item) -> bool:
        """Whether the build system has refused a job in the last minute."""
        refused = item.get("refusedAt", {}).get("S")
        return refused is not None and clock.now() - datetime.fromisoformat(refused) <= _REFUSAL

    def busy(self) -> Unavailable:
        """Build the error that is raised if the job must wait."""
        return _busy(f"build system {shown(self.builder)} has just refused a job ({self.reason})", self.reason)


def gates_of(job: StartedJob, *, locks_tenants: bool) -> list[Gate]:
    """Return the gates that a job's run must join.

    Args:
        job: The job.
        locks_tenants: Whether a run must join the lock of its tenant.
    """
    gates: list[Gate] = []
    if locks_tenants and job.tenant_id is not None:
        gates.append(TenantLock(job.tenant_id, job))
    if job.slot is not None:
        gates.append(SlotGate(job.slot, job.run_id))
    return gates


def wait_of(reason: WaitReason, job: StartedJob, *, was_tried: bool) -> Wait:
    """Build the `Wait` that says what a job waits for: its tenant's lock, its slot, or its build system.

    Args:
        reason: Why the job cannot be started.
        job: The job.
        was_tried: Whether an attempt to start the job was made.
    """
    awaited: Awaited = BuildSystem(job.builder, reason)
    if reason is WaitReason.TENANT_BUSY and job.tenant_id is not None:
        awaited = TenantLock(job.tenant_id, job)
    elif reason is WaitReason.SLOT_FULL and job.slot is not None:
        awaited = SlotGate(job.slot, job.run_id)
    return Wait(
        reason=reason,
        key=awaited.key,
        is_full=awaited.is_full,
        size=job.slot.size if isinstance(awaited, SlotGate) and job.slot is not None else None,
        run_id=job.run_id,
        since=job.start.at,
        was_tried=was_tried,
    )


def builder_key(builder: str) -> str:
    """Return the key of a build system's item. The table gets this item when an event waits for the build system."""
    return _BUILDER + builder


def is_build_system(key: str) -> bool:
    """Whether a key belongs to the item of a build system; see `builder_key`."""
    return key.startswith(_BUILDER)


def lock_key(tenant_id: str) -> str:
    """Return the key of a tenant's lock."""
    return _TENANT + tenant_id


def member_of(run_id: str, follower: str) -> str:
    """Return the name by which a gate's item lists a run.

    A run that is given up (see `Records.give_up`) and later followed again gets a new name. The old name is not used
    again, so it may be removed from the gate at any time.

    Args:
        run_id: The run's id.
        follower: See `Record.follower`.
    """
    return f"{run_id}#{follower}"


def is_in(member: str, record: Record | None) -> bool:
    """Whether the run with this name in a gate is still followed, that is, checked until it ends.

    Args:
        member: The run's name in the gate (see `member_of`).
        record: The run's record, if there is one.
    """
    return record is not None and record.follower is not None and member == member_of(record.id, record.follower)


def run_of(member: str) -> str:
    """Extract the run's id from its name in a gate; see `member_of`."""
    return member.partition("#")[0]


def follower_of(member: str) -> str:
    """Extract the `Record.follower` from a run's name in a gate; see `member_of`."""
    return member.partition("#")[2]


def runs_in(item: Item) -> frozenset[str]:
    """Return the names of the runs in a gate."""
    return frozenset(item.get("runs", {}).get("SS", ()))


def some_runs_in(item: Item) -> list[str]:
    """Return the names of ten of the runs in a gate, chosen at random; all names if there are fewer."""
    runs = sorted(runs_in(item))
    return runs if len(runs) <= _MOST_LOOKED_AT else random.sample(runs, _MOST_LOOKED_AT)


def room_in(key: str, item: Item) -> int | None:
    """Return how many more runs may join a gate; `None` for a build system, whose room is unknown.

    Args:
        key: The key of the gate or build system.
        item: The item with that key.
    """
    if is_build_system(key):
        return None
    size = int(item["size"]["N"]) if "size" in item else 1
    return max(0, size - len(runs_in(item)))


def leaving(key: str, member: str, record: Record | None) -> Change:
    """Build the change that takes a run out of a gate.

    If the run was started, and the gate is its tenant's lock, the change also stores when the run's operation began
    (see `TenantLock`).

    Args:
        key: The gate's key.
        member: The run's name in the gate (see `member_of`).
        record: The run's record, if there is one.
    """
    job = record.job if record is not None and record.state is State.DONE else None
    keeps_order = job is not None and job.tenant_id is not None and key == lock_key(job.tenant_id)
    values: dict[str, Any] = {"run": member, "runs": frozenset({member})}
    return Change(
        key=key,
        condition="contains(#runs, :run)",
        values={**values, "at": written(job.start.at)} if job is not None and keeps_order else values,
        update=("SET #latest = :at " if keeps_order else "") + "DELETE #runs :runs",
        names={"latest": _latest(job)} if job is not None and keeps_order else {},
    )


def gone(run_id: str, follower: str) -> Change:
    """Build the check that a run in a gate is no longer followed (see `Prepared.follow`).

    The transaction that removes the run must contain this check. Reading the gate and the run's record one after the
    other is not enough: another transaction, in which the run joins, might be visible in only one of the two reads.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-isolation

    Args:
        run_id: The run's id.
        follower: The part of the run's name in the gate that `follower_of` returns.
    """
    return Change(
        key=run_id,
        condition="attribute_not_exists(#follower) OR #follower <> :follower OR #expiration < :now",
        values={"follower": follower, "now": seconds(clock.now())},
        update=None,
        only_checks=True,
    )


def without(key: str, item: Item, members: Mapping[str, Record | None]) -> Item:
    """Return a gate's item as it will be after some of its runs have left the gate.

    The function `leaving` builds the changes by which the runs leave the gate.

    Args:
        members: The records of the runs that leave, by the runs' names in the gate (see `member_of`).
    """
    latest = [change for one in members.items() if "at" in (change := leaving(key, *one)).values]
    times = {change.names["latest"]: {"S": change.values["at"]} for change in latest}
    return {**item, **times, "runs": {"SS": sorted(runs_in(item) - members.keys())}}


def check(job: StartedJob) -> None:
    """Check that the keys of a job's gates are not too long for a DynamoDB table.

    Raises:
        InvalidEvent: A key is too long.
    """
    if job.tenant_id is not None:
        items.check_key(f"the lock of tenant {shown(job.tenant_id)}", lock_key(job.tenant_id))
    if job.slot is not None:
        items.check_key(f"the slot {shown(job.slot.name)}", _SLOT + job.slot.name)


def _latest(job: StartedJob) -> str:
    return f"latest {job.event_type}"


def _busy(what: str, reason: WaitReason) -> Unavailable:
    return Unavailable(f"{what}; a retry may succeed", ambiguous=False, waits_for=reason)
