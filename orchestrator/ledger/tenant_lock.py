"""Locks a tenant, so that the jobs of two operations never run for it at the same time.

An operation is an event together with all that follows from it, such as a provisioning and the deployment after it. The
tenant's lock names the operation that has it, and the operation's runs. A run joins the lock in the same step in which
its start is claimed. Jobs of the same operation may run side by side.

The lock is held while one of its runs is followed. It is free as soon as the records of all its runs say that the runs
are over, or are gone. So no process has to release the lock, and a process that is killed cannot leave a tenant locked.
A run that is no longer followed is also taken out of the lock. That is not necessary, but the next operation then need
not read the run's record.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from orchestrator.aws import items
from orchestrator.errors import Unavailable, WaitReason, shown
from orchestrator.job import StartedJob
from orchestrator.ledger.changes import Change, Item
from orchestrator.ledger.record import Record, State, lock_key
from orchestrator.timing.clock import written

_LATEST = "latest "


class Overtaken(Exception):
    """The tenant has had a run of a later event of the same type, so this job must not be started any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLock:
    """The lock of one tenant.

    Attributes:
        operation: The id of the event that began the operation that had the lock last.
        runs: The ids of the runs that have joined the lock and were not taken out.
        owner: The owner of the claim by which a run joined the lock last. If a run joins after the lock was read, the
            lock has another owner, and what the reader has seen is out of date.
        latest: By event type, when the operation of the latest run that has left the lock began.
    """

    operation: str
    runs: frozenset[str]
    owner: str
    latest: Mapping[str, str] = field(default_factory=dict)

    def admits(self, job: StartedJob) -> bool:
        """Whether a job's run may join the lock as it is. The condition of `joining` says the same to DynamoDB."""
        is_free = not self.runs or self.operation == job.start.event_id
        return is_free and self.latest.get(job.event_type, "") <= written(job.start.at)

    def emptied(self, runs: Mapping[str, Record | None]) -> "TenantLock":
        """Return the lock as it is after `leaving` has taken its runs out; `runs` has their records."""
        started = [record.job for record in runs.values() if record is not None and record.state is State.DONE]
        latest = {job.event_type: written(job.start.at) for job in started if job is not None}
        return replace(self, runs=frozenset(), latest={**self.latest, **latest})


def is_holding(record: Record | None) -> bool:
    """Whether the run with this record holds the lock that names the run.

    `None` means that the run has no record. Such a run does not hold the lock.
    """
    return record is not None and record.check_at is not None


def removable(
    tenant_id: str, job: StartedJob, lock: TenantLock, read: Callable[[str], Record | None]
) -> dict[str, Record | None]:
    """Return the runs that do not hold a lock any more, with their records, if none holds it.

    Args:
        tenant_id: The tenant's id.
        job: The job whose run could not join the lock.
        lock: The lock.
        read: Reads a run's record.

    Raises:
        Overtaken: The lock names no runs of another operation. The job's run could thus not join because the tenant
            has had a run of a later event of the same type.
        Unavailable: A run of another operation holds the lock.
    """
    if not lock.runs or lock.operation == job.start.event_id:
        raise Overtaken
    found = {run_id: read(run_id) for run_id in lock.runs}
    if any(map(is_holding, found.values())):
        raise busy(tenant_id)
    return found


def busy(tenant_id: str) -> Unavailable:
    """Build the error for a job that must wait for a job of another operation."""
    return Unavailable(
        f"tenant {shown(tenant_id)} has a job of another event that has not ended; a retry may succeed",
        ambiguous=False,
        waits_for=WaitReason.TENANT_BUSY,
    )


def joining(tenant_id: str, job: StartedJob, owner: str, expiration: int) -> Change:
    """Build the change by which a job's run joins its tenant's lock.

    The change is refused if the lock names runs of another operation, or if the tenant has had a run of a later event
    of the same type.

    Args:
        tenant_id: The tenant's id.
        job: The job.
        owner: The owner of the claim on the job's start.
        expiration: When DynamoDB may delete the lock, in seconds since 1970.
    """
    return Change(
        key=lock_key(tenant_id),
        condition="(attribute_not_exists(#runs) OR #operation = :operation) AND "
        "(attribute_not_exists(#latest) OR #latest <= :at)",
        values={
            "operation": job.start.event_id,
            "at": written(job.start.at),
            "runs": frozenset({job.run_id}),
            "owner": owner,
            "expiration": expiration,
        },
        update="SET #operation = :operation, #owner = :owner, #expiration = :expiration ADD #runs :runs",
        names={"latest": _latest(job)},
    )


def leaving(tenant_id: str, run_id: str, record: Record | None, owner: str | None = None) -> Change:
    """Build the change that takes a run out of its tenant's lock.

    If the run was started, the change also stores in the lock when the run's operation began. `joining` refuses
    jobs of the same event type whose operation began earlier.

    Args:
        tenant_id: The tenant's id.
        run_id: The run's id.
        record: The run's record, if there is one.
        owner: The lock's owner when the lock was read. If the lock has another owner now, the change is refused. `None`
            allows any owner.
    """
    started = record.job if record is not None and record.state is State.DONE else None
    return Change(
        key=lock_key(tenant_id),
        condition="contains(#runs, :run)" + (" AND #owner = :owner" if owner else ""),
        values={
            "run": run_id,
            "runs": frozenset({run_id}),
            **({"at": written(started.start.at)} if started else {}),
            **({"owner": owner} if owner else {}),
        },
        update=("SET #latest = :at " if started else "") + "DELETE #runs :runs",
        names={"latest": _latest(started)} if started else {},
    )


def from_item(item: Item) -> TenantLock:
    """Convert an item of the ledger's table to a lock.

    Raises:
        Exception: The item is not a valid lock. The exception has one of the types in `UNREADABLE`.
    """
    kept = items.from_item(item)
    return TenantLock(
        operation=kept["operation"],
        runs=frozenset(kept.get("runs", ())),
        owner=kept["owner"],
        latest={name.removeprefix(_LATEST): at for name, at in kept.items() if name.startswith(_LATEST)},
    )


def _latest(job: StartedJob) -> str:
    """Return the name of the lock's attribute that holds the time of the latest start for the job's event type.

    The time is that of the event that began the operation. A job of an operation that began earlier is not started.
    """
    return f"{_LATEST}{job.event_type}"
