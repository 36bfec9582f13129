"""What the ledger keeps of one action: an item of its table, which a person can read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from orchestrator.action import Outcome
from orchestrator.aws import items
from orchestrator.errors import InvalidEvent, shown
from orchestrator.event import Start
from orchestrator.job import StartedJob
from orchestrator.timing import clock
from orchestrator.timing.clock import written
from orchestrator.values.limits import MAX_ITEM_BYTES, MAX_KEY_BYTES

CLOCK_TOLERANCE_SECONDS = 2.0
"""How far the clocks of two environments may be apart."""

FIRST_CHECK = timedelta(minutes=5)
"""How long after its start a job is asked after for the first time."""

LONGEST_PAUSE = timedelta(hours=1)
"""How long a job is not asked after at most."""

OPEN_JOBS, BY_TENANT, WAITING = "open-jobs", "by-tenant", "waiting"
"""Indexes of the table: keys `openJob` and `checkAt`, `tenantId` and `since`, `waitingFor` and `waitingSince`.

The last two are there for what is to come: a table takes one change of its indexes per update.
"""

OPEN = "open"

Ending = Literal["SUCCESS", "FAILURE"]
"""How a run ended."""

UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
"""What reading an item raises that is no record."""

# Room for the other attributes of the record: its key, times and the outcome, which repeats the job's name.
_OTHER_BYTES = 8 * 1024
_JOB_TEXTS = ("builder", "name", "run_id", "id", "event_id", "event_type", "tenant_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the ledger knows of an action.

    Attributes:
        id: The action's identity; of a job, its run id.
        state: `claimed`, or `done` once its outcome is known.
        owner: Whose claim it is: another text for each.
        first_owner: Who claimed it first: whoever else does takes over.
        locked_until: When its owner does not act any more, in milliseconds since 1970.
        expiration: When it is forgotten, in seconds since 1970.
        outcome: What came of it.
        job: The job that it starts; its `id` is empty until its start has an outcome.
        ending: How the run of that job ended.
        check_at: When to ask how it ended; `None` where nobody does.
    """

    id: str
    state: Literal["claimed", "done"]
    owner: str
    first_owner: str
    locked_until: int
    expiration: int
    outcome: Outcome | None = None
    job: StartedJob | None = None
    ending: Ending | None = None
    check_at: datetime | None = None

    @property
    def started_job(self) -> StartedJob:
        """The job with the build system's name for its run, once that is known.

        Raises:
            ValueError: The action starts none.
        """
        if self.job is None:
            raise ValueError(f"record {self.id} is of no job")
        return replace(self.job, id=(self.outcome or {}).get("id") or self.job.id)

    @property
    def age(self) -> timedelta:
        """How long ago the job was asked for."""
        return timedelta() if self.job is None else clock.now() - self.job.since

    @property
    def pause(self) -> timedelta:
        """How long to wait before the job is asked after again: the longer it runs already, the longer."""
        return min(max(FIRST_CHECK, self.age / 4), LONGEST_PAUSE)

    @property
    def is_expired(self) -> bool:
        """Whether it is to be forgotten; DynamoDB deletes it up to some days late."""
        return self.expiration < seconds(clock.now())

    def may_be_claimed(self, owner: str) -> bool:
        """Say whether it is free for a claim: it has run out, or its lock has, or that very claim's answer got lost.

        Its first owner cannot take it back: that would look like a first claim, though another may have acted since.
        """
        is_over = self.locked_until < latest_free_lock() and self.first_owner != owner
        return (self.state == "claimed" and (self.owner == owner or is_over)) or self.is_expired


def latest_free_lock() -> int:
    """Compute until when a lock may have lasted that somebody else may take over now, in milliseconds since 1970."""
    return milliseconds(clock.now()) - int(CLOCK_TOLERANCE_SECONDS * 1000)


def expiration(memory: timedelta | None) -> int:
    """Compute when a record is forgotten that is written now, in seconds since 1970."""
    return seconds(clock.now() + (memory or timedelta(days=1)))


def seconds(time: datetime) -> int:
    """Compute a time's whole seconds since 1970."""
    return int(time.timestamp())


def milliseconds(time: datetime) -> int:
    """Compute a time's milliseconds since 1970."""
    return int(time.timestamp() * 1000)


def job_attributes(job: StartedJob | None, *, follow: bool) -> dict[str, Any]:
    """Make what a record holds of a job, from before that is started.

    Args:
        job: The job; `None` where the action starts none.
        follow: Whether somebody is to ask how it ends.

    Returns:
        Attributes of the record, those for its indexes among them.
    """
    if job is None:
        return {}
    start = {"event_id": job.start.event_id, "at": written(job.start.at)}
    kept = {name: getattr(job, name) for name in _JOB_TEXTS}
    attributes: dict[str, Any] = {"job": {**kept, "since": written(job.since), "start": start, "reports": job.reports}}
    if job.tenant_id:
        attributes |= {"tenantId": job.tenant_id, "since": written(job.since)}
    if follow:
        attributes |= {"openJob": OPEN, "checkAt": written(clock.now() + FIRST_CHECK)}
    return attributes


def check(job: StartedJob) -> None:
    """Refuse a job that no record can hold.

    Args:
        job: The job.

    Raises:
        InvalidEvent: Its names are too large for an item, or the tenant's id for the key of an index.
    """
    items.check_key(f"the tenant's id {shown(job.tenant_id)}", job.tenant_id)
    if sum(len(getattr(job, name)) for name in _JOB_TEXTS) < MAX_KEY_BYTES:
        return  # as of nearly every job, and computing the size takes time
    size = items.item_bytes(items.to_item(job_attributes(job, follow=True)))
    if size > MAX_ITEM_BYTES - _OTHER_BYTES:
        raise InvalidEvent(
            f"job {shown(job.name)} cannot be followed: the names in its record (of job, event and tenant) have "
            f"{size:,} bytes, and a DynamoDB item has at most {MAX_ITEM_BYTES:,}; correct the event"
        )


def from_item(item: Mapping[str, Any]) -> Record:
    """Read an item of the table.

    Args:
        item: The item as the low-level client gives it.

    Returns:
        The record.

    Raises:
        Exception: One of `UNREADABLE`: another version of this package, or a person, wrote the item.
    """
    kept = items.plain(items.from_item(item))
    job = kept.get("job")
    return Record(
        id=kept["id"],
        state=kept["state"],
        owner=kept["owner"],
        first_owner=kept["firstOwner"],
        locked_until=kept["lockedUntil"],
        expiration=kept["expiration"],
        outcome=kept.get("outcome"),
        job=None if job is None else _job(job),
        ending=kept.get("ending"),
        check_at=datetime.fromisoformat(kept["checkAt"]) if "checkAt" in kept else None,
    )


def _job(kept: Mapping[str, Any]) -> StartedJob:
    start = Start(event_id=kept["start"]["event_id"], at=datetime.fromisoformat(kept["start"]["at"]))
    texts = {name: kept[name] for name in _JOB_TEXTS}
    return StartedJob(**texts, since=datetime.fromisoformat(kept["since"]), start=start, reports=kept["reports"])
