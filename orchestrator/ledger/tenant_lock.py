"""Locks a tenant, so that the jobs of two operations never run for it at the same time.

An operation is an event together with all that follows from it, such as a provisioning and the deployment after it. The
tenant's lock names the operation that has it, and the operation's runs. A run joins the lock in the same step in which
its start is claimed. Jobs of the same operation may run side by side.

The lock is held for as long as one of its runs is followed. So nobody has to give it back, and it cannot be left
behind: it is free as soon as the last run's record says that the run is over, or is gone. When a run is no longer
followed, it is also taken out of the lock, but only to spare the next operation from reading the run's record.
"""

from dataclasses import dataclass
from datetime import timedelta

from orchestrator.aws import items
from orchestrator.errors import Unavailable, WaitReason, shown
from orchestrator.job import StartedJob
from orchestrator.ledger.changes import Change, Item
from orchestrator.ledger.record import Record, State, lock_key, milliseconds
from orchestrator.timing import clock
from orchestrator.timing.clock import written

# Longer than a build can wait and run on CodeBuild. A build system that does not answer must not block a tenant for as
# long as the run's record is kept.
_LONGEST_HOLD = timedelta(days=3)


class Overtaken(Exception):
    """A job of a later operation of the tenant has run, so this job must not be started any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLock:
    """The lock of one tenant.

    Attributes:
        operation: The id of the event that began the operation that took the lock last.
        runs: The ids of that operation's runs, except for those that were taken out.
        latest: The time of the latest operation whose run was taken out after it had been started; an empty text if
            there is none.
        owner: The owner of the claim by which a run joined the lock last. It is another text after each claim.
    """

    operation: str
    runs: frozenset[str]
    latest: str = ""
    owner: str


def is_holding(record: Record | None) -> bool:
    """Whether the run of a record holds the tenant's lock, provided that the lock names the run."""
    longest = milliseconds(clock.now() - _LONGEST_HOLD)
    return record is not None and record.check_at is not None and record.locked_until > longest


def began(record: Record | None) -> str:
    """Return the time of a run's operation; an empty text if the run was never started, or is not known."""
    if record is None or record.job is None or record.state is not State.DONE:
        return ""
    return written(record.job.start.at)


def busy(job: StartedJob) -> Unavailable:
    """Build the error for a job that must wait for a job of another operation."""
    return Unavailable(
        f"tenant {shown(job.tenant_id)} has a job of another event that has not ended; a retry may succeed",
        ambiguous=False,
        waits_for=WaitReason.TENANT_BUSY,
    )


def joining(job: StartedJob, owner: str, expiration: int) -> Change:
    """Build the change by which a job's run joins its tenant's lock.

    The change is refused if the lock names runs of another operation, or if a job of a later operation has run.

    Args:
        job: The job.
        owner: The owner of the claim on the job's start.
        expiration: When DynamoDB may delete the lock, in seconds since 1970.
    """
    return Change(
        key=lock_key(job.tenant_id),
        condition="attribute_not_exists(#operation) OR #operation = :operation OR "
        "(attribute_not_exists(#runs) AND (attribute_not_exists(#latest) OR #latest <= :at))",
        values={
            "operation": job.start.event_id,
            "at": written(job.start.at),
            "runs": frozenset({job.run_id}),
            "owner": owner,
            "expiration": expiration,
        },
        update="SET #operation = :operation, #owner = :owner, #expiration = :expiration ADD #runs :runs",
    )


def leaving(tenant_id: str | None, run_id: str, record: Record | None, owner: str | None = None) -> Change:
    """Build the change that takes a run out of its tenant's lock.

    Args:
        tenant_id: The tenant's id.
        run_id: The run's id.
        record: The run's record, if there is one.
        owner: The lock's owner when the lock was read. If the lock has another owner now, the change is refused. `None`
            allows any owner.
    """
    latest = began(record)
    return Change(
        key=lock_key(tenant_id),
        condition="contains(#runs, :run)" + (" AND #owner = :owner" if owner else ""),
        values={
            "run": run_id,
            "runs": frozenset({run_id}),
            **({"latest": latest} if latest else {}),
            **({"owner": owner} if owner else {}),
        },
        update=("SET #latest = :latest " if latest else "") + "DELETE #runs :runs",
    )


def from_item(item: Item) -> TenantLock:
    """Convert an item of the ledger's table to a lock."""
    kept = items.from_item(item)
    return TenantLock(
        operation=kept["operation"],
        runs=frozenset(kept.get("runs", ())),
        latest=kept.get("latest", ""),
        owner=kept["owner"],
    )
