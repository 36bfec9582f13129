"""The ledger's record of one action: an item of its table, which a person can read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from orchestrator.action import Outcome, OutcomeStatus
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
"""How long after its start a run is checked for the first time."""

LONGEST_PAUSE = timedelta(hours=1)
"""How long a followed run is not checked at most."""

OPEN_JOBS, BY_TENANT, WAITING = "open-jobs", "by-tenant", "waiting"
"""Indexes of the table: keys `openJob` and `checkAt`, `tenantId` and `since`, `waitingFor` and `waitingSince`.

The last two are there for what is to come: a table takes one change of its indexes per update.
"""

OPEN = "open"


class State(StrEnum):
    """State of a record."""

    CLAIMED = "claimed"
    """A delivery performs the action, or was killed while it did."""
    DONE = "done"
    """The outcome, or at least the run's ending, is known."""


class EndingStatus(StrEnum):
    """How a run ended."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"


UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
"""What reading an item raises that is no record."""

# Room for the other attributes of the record: its key, times and the outcome, which repeats the job's name.
_OTHER_BYTES = 8 * 1024
_JOB_TEXTS = ("builder", "name", "run_id", "event_id", "event_type")
_OPTIONAL_JOB_TEXTS = ("id", "tenant_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the ledger knows of an action.

    Attributes:
        id: The action's identity; of a job, its run id.
        state: Its state.
        owner: The latest claim's owner: a text that is different for each claim.
        first_owner: The first claim's owner; any other has taken over.
        locked_until: End of the lock, in milliseconds since 1970.
        expiration: When it is forgotten, in seconds since 1970.
        outcome: What came of the action.
        job: The job that the action starts.
        ending: How the run of that job ended.
        check_at: When to check whether it has ended; `None` where it is not followed.
    """

    id: str
    state: State
    owner: str
    first_owner: str
    locked_until: int
    expiration: int
    outcome: Outcome | None = None
    job: StartedJob | None = None
    ending: EndingStatus | None = None
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
    def known_outcome(self) -> Outcome:
        """The outcome; of a start that has none but whose run has ended, that it started."""
        if self.outcome is not None:
            return self.outcome
        job = self.started_job
        return Outcome(action="StartJob", status=OutcomeStatus.STARTED, builder=job.builder, name=job.name)

    @property
    def is_in_doubt(self) -> bool:
        """Whether the run is yet to be searched for: its start has no outcome, and no search has found it."""
        return self.outcome is None

    @property
    def age(self) -> timedelta:
        """How long ago the job was asked for."""
        return timedelta() if self.job is None else clock.now() - self.job.since

    @property
    def pause(self) -> timedelta:
        """How long to wait before the run is checked again: the longer it runs already, the longer."""
        return min(max(FIRST_CHECK, self.age / 4), LONGEST_PAUSE)

    @property
    def is_expired(self) -> bool:
        """Whether it counts as deleted; DynamoDB deletes it up to some days late."""
        return self.expiration < seconds(clock.now())

    def may_be_claimed(self, owner: str) -> bool:
        """Say whether it is free for a claim: it has run out, or its lock has, or that very claim's answer got lost.

        Its first owner cannot take it back: that would look like a first claim, though another may have acted since.
        """
        is_over = self.locked_until < latest_free_lock() and self.first_owner != owner
        return (self.state is State.CLAIMED and (self.owner == owner or is_over)) or self.is_expired


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
    """Make a record's attributes about a job, as they are before it is started.

    Args:
        job: The job; `None` where the action starts none.
        follow: Whether somebody is to ask how it ends.

    Returns:
        Attributes of the record, those for its indexes among them.
    """
    if job is None:
        return {}
    start = {"event_id": job.start.event_id, "at": written(job.start.at)}
    texts = {name: getattr(job, name) for name in (*_JOB_TEXTS, *_OPTIONAL_JOB_TEXTS)}
    known = {name: text for name, text in texts.items() if text is not None}
    attributes: dict[str, Any] = {"job": {**known, "since": written(job.since), "start": start, "follow": job.follow}}
    if job.tenant_id is not None:
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
    items.check_key(f"the tenant's id {shown(job.tenant_id)}", job.tenant_id or "")
    if sum(len(getattr(job, name) or "") for name in (*_JOB_TEXTS, *_OPTIONAL_JOB_TEXTS)) < MAX_KEY_BYTES:
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
        state=State(kept["state"]),
        owner=kept["owner"],
        first_owner=kept["firstOwner"],
        locked_until=kept["lockedUntil"],
        expiration=kept["expiration"],
        outcome=_outcome(kept["outcome"]) if "outcome" in kept else None,
        job=None if job is None else _job(job),
        ending=EndingStatus(kept["ending"]) if "ending" in kept else None,
        check_at=datetime.fromisoformat(kept["checkAt"]) if "checkAt" in kept else None,
    )


def _job(kept: Mapping[str, Any]) -> StartedJob:
    start = Start(event_id=kept["start"]["event_id"], at=datetime.fromisoformat(kept["start"]["at"]))
    texts: dict[str, Any] = {name: kept[name] for name in _JOB_TEXTS}
    texts |= {name: kept.get(name) for name in _OPTIONAL_JOB_TEXTS}
    return StartedJob(**texts, since=datetime.fromisoformat(kept["since"]), start=start, follow=kept["follow"])


def _outcome(kept: Mapping[str, Any]) -> Outcome:
    stored: Any = {**kept, "status": OutcomeStatus(kept["status"])}
    outcome: Outcome = stored
    return outcome
