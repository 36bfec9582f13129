"""Limits which runs go on at the same time. Such a limit is called a gate, and there are two types of gates.

A tenant's lock allows only the runs of one operation at a time. An operation is an event together with all that follows
from it, such as a provisioning and the deployment after it. A slot allows a fixed number of runs at a time. All runs
whose jobs name this slot count, whichever tenants and events they are for.

Each gate is an item of the ledger's table. The item lists the runs that count towards the limit. A run is added to this
list in the same step in which a delivery claims the action that starts the run (see `orchestrator.ledger.ledger`). The
run counts as long as the function checks whether the run has ended. Normally, the checks stop once the event about the
run's ending has been handled. The run is then removed from the list, and the next event that waits for the gate is
delivered (see `orchestrator.ledger.waiting_line`).

A process may be killed before it removes a run. Therefore, a delivery that finds the limit reached removes the runs
that the function no longer checks.

A job may also have to wait for a build system that has refused it (see `BuildSystem`). This is not a gate.
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

# If a limit is reached, one delivery looks up at most so many of the runs that count towards it.
_MOST_LOOKED_AT = 10

# For so long after a refusal, a build system is not asked by an event that comes back by itself.
_REFUSAL = timedelta(minutes=1)


class Overtaken(Exception):
    """A job must not be started any more, because its tenant has had a run for a later event of the same type."""


class Awaited(Protocol):
    """Something that a job may have to wait for: a limit on concurrent runs (a gate), or a build system."""

    @property
    def key(self) -> str:
        """The key of this limit's or build system's item in the ledger's table."""
        ...

    def is_full(self, item: Item) -> bool:
        """Whether the job must wait, according to the item with this `key` in the ledger's table."""
        ...

    def busy(self) -> Unavailable:
        """Build the error that is raised if the job must wait."""
        ...


class Gate(Awaited, Protocol):
    """A limit on which runs go on at the same time: a tenant's lock, or a slot, which allows a fixed number of runs."""

    def joining(self, member: str, expiration: int) -> Change:
        """Build the change of the limit's item that makes the job's run count towards the limit.

        DynamoDB refuses the change if the limit does not allow the run to start now (see `admits`).

        Args:
            member: The name under which the item lists the run (see `member_of`).
            expiration: When DynamoDB may delete the item, in seconds since 1970.
        """
        ...

    def admits(self, item: Item) -> bool:
        """Whether the limit allows the job's run to start now, according to the limit's item in the ledger's table.

        If `is_full` is true, the result is false, unless the limit is a slot whose item lists this run already. The
        result is also false if the limit is a tenant's lock that refuses the job for ever (see `Overtaken`).
        """
        ...


@dataclass(frozen=True, slots=True)
class TenantLock:
    """The lock of a job's tenant. It allows only the runs of one operation at a time.

    An operation is an event with all that follows from it, such as a provisioning and the deployment after it.

    The lock also refuses a job if the tenant has had a run for a later event of the same type (see `Overtaken`). For
    this check, the lock's item has one attribute for each event type. When a started run for an event of that type is
    removed from the item, the attribute is set to the time when the run's operation began. A job is refused if its own
    operation began before that time.
    """

    tenant_id: str
    job: StartedJob

    @property
    def key(self) -> str:
        """The key of the lock's item in the ledger's table."""
        return lock_key(self.tenant_id)

    def joining(self, member: str, expiration: int) -> Change:
        """Build the change that adds the job's run to the lock's item. DynamoDB refuses it if `admits` is false."""
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
        """Whether the lock's item lists runs of another operation."""
        return bool(runs_in(item)) and item["operation"] != {"S": self.job.start.event_id}

    def admits(self, item: Item) -> bool:
        """Whether the lock allows the job's run to start now, according to the lock's item."""
        latest = item.get(_latest(self.job), {}).get("S", "")
        return not self.is_full(item) and latest <= written(self.job.start.at)

    def busy(self) -> Unavailable:
        """Build the error that is raised if the job must wait."""
        return _busy(
            f"tenant {shown(self.tenant_id)} has a job of another event that has not ended", WaitReason.TENANT_BUSY
        )


@dataclass(frozen=True, slots=True)
class SlotGate:
    """The limit that a `Slot` sets on how many runs go on at the same time, and the id of the run that is to start."""

    slot: Slot
    run_id: str

    @property
    def key(self) -> str:
        """The key of the slot's item in the ledger's table."""
        return _SLOT + self.slot.name

    def joining(self, member: str, expiration: int) -> Change:
        """Build the change that adds the job's run to the slot's item.

        DynamoDB refuses the change if the slot has no room, unless the item lists `member` already.
        """
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
        """Whether the slot's item lists at least as many runs as the slot allows."""
        return len(runs_in(item)) >= self.slot.size

    def admits(self, item: Item) -> bool:
        """Whether the slot has room for the job's run, or lists this run already, according to the slot's item."""
        return not self.is_full(item) or self.run_id in map(run_of, runs_in(item))

    def busy(self) -> Unavailable:
        """Build the error that is raised if the job must wait."""
        return _busy(f"slot {shown(self.slot.name)} is full (runs at a time: {self.slot.size})", WaitReason.SLOT_FULL)


@dataclass(frozen=True, slots=True)
class BuildSystem:
    """A build system that has refused a job.

    Only another attempt to start a job shows whether the build system accepts jobs again.

    Attributes:
        builder: The build system's name.
        reason: Why the build system refused the job.
    """

    builder: str
    reason: WaitReason

    @property
    def key(self) -> str:
        """The key of the build system's item in the ledger's table."""
        return builder_key(self.builder)

    def is_full(self, item: Item) -> bool:
        """Whether the build system has refused a job in the last minute."""
        refused = item.get("refusedAt", {}).get("S")
        return refused is not None and clock.now() - datetime.fromisoformat(refused) <= _REFUSAL

    def busy(self) -> Unavailable:
        """Build the error that is raised if the job must wait."""
        return _busy(f"build system {shown(self.builder)} has just refused a job ({self.reason})", self.reason)


def gates_of(job: StartedJob, *, locks_tenants: bool) -> list[Gate]:
    """Return the limits on concurrent runs that a job's run counts towards: its tenant's lock, and its slot.

    Args:
        job: The job. It may have no tenant or no slot.
        locks_tenants: Whether a job waits while its tenant has runs of another operation. If not, the tenant's lock is
            left out.
    """
    gates: list[Gate] = []
    if locks_tenants and job.tenant_id is not None:
        gates.append(TenantLock(job.tenant_id, job))
    if job.slot is not None:
        gates.append(SlotGate(job.slot, job.run_id))
    return gates


def wait_of(reason: WaitReason, job: StartedJob, *, was_tried: bool) -> Wait:
    """Build the `Wait` that says what a job waits for: its tenant's lock, its slot, or its build system.

    The lock and the slot are limits on concurrent runs.

    Args:
        reason: Why the job cannot be started.
        job: The job.
        was_tried: If the job waits for its build system, whether the build system has just refused it. False if the
            build system was not asked, because an earlier refusal was less than a minute ago.
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
    """Return the key of a build system's item in the ledger's table.

    The item is written when an event begins to wait for the build system.
    """
    return _BUILDER + builder


def is_build_system(key: str) -> bool:
    """Whether a key in the ledger's table is the key of a build system's item, as `builder_key` returns it."""
    return key.startswith(_BUILDER)


def lock_key(tenant_id: str) -> str:
    """Return the key, in the ledger's table, of the item that lists the runs of a tenant."""
    return _TENANT + tenant_id


def member_of(run_id: str, follower: str) -> str:
    """Return the name under which the items of gates list a run.

    If the function gives up searching for the run (see `Records.give_up`), and a later delivery starts the job, the run
    gets a new name. The old name is never used again, so it may be removed from the items at any time.

    Args:
        run_id: The run's id.
        follower: The run's `Record.follower`.
    """
    return f"{run_id}#{follower}"


def is_in(member: str, record: Record | None) -> bool:
    """Whether a run that a limit's item lists still counts towards the limit.

    The run counts as long as the function checks whether the run has ended. An old name of the run (see `member_of`)
    does not count.

    Args:
        member: The name under which the limit's item lists the run (see `member_of`).
        record: The run's record, if there is one. Without a record, the run does not count.
    """
    return record is not None and record.follower is not None and member == member_of(record.id, record.follower)


def run_of(member: str) -> str:
    """Extract the run's id from a name that `member_of` returned."""
    return member.partition("#")[0]


def follower_of(member: str) -> str:
    """Extract the `follower` from a name that `member_of` returned. The run's record may have another one by now."""
    return member.partition("#")[2]


def runs_in(item: Item) -> frozenset[str]:
    """Return the names (see `member_of`) of the runs that count towards a limit, according to the limit's item."""
    return frozenset(item.get("runs", {}).get("SS", ()))


def some_runs_in(item: Item) -> list[str]:
    """Return ten of the names that `runs_in` returns, chosen at random; all of them if there are fewer."""
    runs = sorted(runs_in(item))
    return runs if len(runs) <= _MOST_LOOKED_AT else random.sample(runs, _MOST_LOOKED_AT)


def room_in(key: str, item: Item) -> int | None:
    """Return how many more runs a limit on concurrent runs has room for.

    A tenant's lock that lists no run has room for one. If it lists a run, the result is 0, although the lock would
    allow more runs of the same operation.

    Args:
        key: The key, in the ledger's table, of the item about the limit or build system.
        item: The item with that key.

    Returns:
        The number of runs; `None` for a build system, which does not say how many more runs it would accept.
    """
    if is_build_system(key):
        return None
    size = int(item["size"]["N"]) if "size" in item else 1
    return max(0, size - len(runs_in(item)))


def leaving(key: str, member: str, record: Record | None) -> Change:
    """Build the change that removes a run from a gate's item.

    DynamoDB refuses the change if the item does not list the run. If the run was started, according to its record, and
    the gate is the lock of the run's tenant, the change also stores when the run's operation began (see `TenantLock`).

    Args:
        key: The key of the gate's item in the ledger's table.
        member: The name under which the item lists the run (see `member_of`).
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
    """Build a condition check that fails if the function still checks whether a run has ended.

    If a run seems to count no longer, the transaction that removes the run from a gate's item must contain this check.
    Reading the gate's item and the run's record one after the other is not enough: a transaction that changes both
    might be visible in only one of the two reads.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-isolation

    Args:
        run_id: The run's id.
        follower: What `follower_of` returns for the name under which the gate's item lists the run. Checks of the run
            that began under another name do not make the condition fail.
    """
    return Change(
        key=run_id,
        condition="attribute_not_exists(#follower) OR #follower <> :follower OR #expiration < :now",
        values={"follower": follower, "now": seconds(clock.now())},
        update=None,
        only_checks=True,
    )


def without(key: str, item: Item, members: Mapping[str, Record | None]) -> Item:
    """Compute a gate's item as it is after some runs are removed from it.

    Nothing is written: the changes that `leaving` builds remove the runs from the stored item.

    Args:
        key: The item's key.
        item: The item before the removal.
        members: The runs' records, by the names under which the item lists the runs (see `member_of`). A run without a
            record has the value `None`.
    """
    latest = [change for one in members.items() if "at" in (change := leaving(key, *one)).values]
    times = {change.names["latest"]: {"S": change.values["at"]} for change in latest}
    return {**item, **times, "runs": {"SS": sorted(runs_in(item) - members.keys())}}


def check(job: StartedJob) -> None:
    """Check that a job's tenant id and the name of its slot are short enough for keys of the ledger's table.

    Raises:
        InvalidEvent: A key would be too long.
    """
    if job.tenant_id is not None:
        items.check_key(f"the lock of tenant {shown(job.tenant_id)}", lock_key(job.tenant_id))
    if job.slot is not None:
        items.check_key(f"the slot {shown(job.slot.name)}", _SLOT + job.slot.name)


def _latest(job: StartedJob) -> str:
    return f"latest {job.event_type}"


def _busy(what: str, reason: WaitReason) -> Unavailable:
    return Unavailable(f"{what}; a retry may succeed", ambiguous=False, waits_for=reason)
