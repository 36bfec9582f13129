"""Defines the ledger's record of one action, and its form as an item of the DynamoDB table."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from orchestrator.action import Outcome, OutcomeStatus
from orchestrator.aws import items
from orchestrator.errors import InvalidEvent, shown
from orchestrator.event import Start
from orchestrator.job import DeclaredEnding, Slot, StartedJob
from orchestrator.timing import clock
from orchestrator.timing.clock import written
from orchestrator.values.limits import MAX_ITEM_BYTES, MAX_KEY_BYTES

CLOCK_TOLERANCE_SECONDS = 2.0
"""How far the clocks of two Lambda environments may differ. A lock counts as free only this long after its expiry."""

FIRST_CHECK = timedelta(minutes=5)
"""Time from the claim of the action that starts a run to the first check whether the run has ended.

It is also the time from storing the run's ending to the next check.
"""

LONGEST_PAUSE = timedelta(hours=1)
"""Longest time between two checks whether a run has ended."""

OPEN_JOBS, BY_TENANT, WAITING = "open-jobs", "by-tenant", "waiting"
"""Names of the indexes of the ledger's table.

Their keys are, in this order, `openJob` and `checkAt`; `tenantId` and `since`; `waitingFor` and `waitingSince`. Only
the command `orchestrator status` reads `by-tenant`.
"""

OPEN_JOB, OPEN = "openJob", "open"
"""Name and value of an attribute that only the records of followed runs have."""

NOT_FOLLOWED = f"REMOVE #{OPEN_JOB}, #checkAt, #follower"
"""The update expression that ends the following of a run."""


class State(StrEnum):
    """The state of a record's action."""

    CLAIMED = "claimed"
    """A delivery is performing the action, or has stopped without storing an outcome."""
    DONE = "done"
    """The action's outcome, or the ending of its run, is stored."""


class EndingStatus(StrEnum):
    """How a run ended."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"


UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
"""The exceptions that `from_item` raises if an item is not a valid record."""

# Space for the attributes that `job_attributes` does not build: key, times, and the outcome, which contains the job's
# name.
_OTHER_BYTES = 8 * 1024
_JOB_TEXTS = ("builder", "name", "run_id", "event_id", "event_type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The ledger's record of one action. `orchestrator.ledger.ledger` explains claims and locks.

    Attributes:
        id: The action's identity. If the action starts a job, this is also the run id.
        owner: The owner of the latest claim: a text that is unique to the claim.
        first_owner: The owner of the first claim. It differs from `owner` if a retry has taken the claim over.
        locked_until: When the lock expires, in milliseconds since 1970.
        expiration: When the record expires, in seconds since 1970.
        outcome: The action's outcome, once it is known.
        job: The job that the action starts, if it starts one.
        ending: How the job's run ended, once that is known.
        handled: The ending that the run itself reported in an event, once that event has been handled.
        check_at: When to check next whether the run has ended; `None` if the function does not check the run (see
            `Prepared.follow`).
        follower: The owner of the claim with which the checks of the run began; `None` if the function does not check
            the run. If the checks stop (see `Records.give_up`) and a later claim begins them again, `follower` changes.
            If no limits on concurrent runs apply to the run, a later claim may change `follower`, too.
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
    handled: EndingStatus | None = None
    check_at: datetime | None = None
    follower: str | None = None

    @property
    def started_job(self) -> StartedJob:
        """The job that the action starts, with the run's id in the build system.

        This id is the job's `id`. It is `None` if `outcome` does not contain it.

        Raises:
            ValueError: The action starts no job.
        """
        if self.job is None:
            raise ValueError(f"record {self.id} has no job")
        return replace(self.job, id=(self.outcome or {}).get("id"))

    @property
    def known_outcome(self) -> Outcome:
        """The outcome of an action that is done.

        Read it only if `state` is `State.DONE`. If the record has the run's ending, but no outcome, the result is an
        outcome with the status `started`, because a run that has ended must have started.
        """
        if self.outcome is not None:
            return self.outcome
        job = self.started_job
        return Outcome(action="StartJob", status=OutcomeStatus.STARTED, builder=job.builder, name=job.name)

    @property
    def is_in_doubt(self) -> bool:
        """Whether the record has no outcome, even if it has the run's ending.

        Without an outcome and an ending, the action may or may not have been performed. If there is an ending, the
        action was certainly performed.
        """
        return self.outcome is None

    @property
    def age(self) -> timedelta:
        """Time since the event that the job is started for (see `StartedJob.since`); zero if there is no job."""
        return timedelta() if self.job is None else clock.now() - self.job.since

    @property
    def pause(self) -> timedelta:
        """How long to wait before the next check whether the run has ended.

        This is a quarter of `age`, but at least `FIRST_CHECK` and at most `LONGEST_PAUSE`.
        """
        return min(max(FIRST_CHECK, self.age / 4), LONGEST_PAUSE)

    @property
    def is_expired(self) -> bool:
        """Whether the record has expired and counts as deleted. DynamoDB may delete it only days later.

        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
        """
        return self.expiration < seconds(clock.now())

    def may_be_claimed(self, owner: str) -> bool:
        """Whether `owner` may claim the action.

        If the record has expired, every owner may claim the action. Otherwise, these rules apply:

        - Nobody may claim an action that is done.
        - The owner of the latest claim may repeat that claim.
        - Any other owner may claim the action once the lock of the latest claim has expired (see `latest_free_lock`).
        - However, the owner of the first claim may not claim the action again after another owner has claimed it. The
          ledger would mistake the new claim for the first one, and would ignore that another owner may have acted.
        """
        is_over = self.locked_until < latest_free_lock() and self.first_owner != owner
        return (self.state is State.CLAIMED and (self.owner == owner or is_over)) or self.is_expired


def latest_free_lock() -> int:
    """Return the time before which a lock must have expired to count as free, in milliseconds since 1970.

    It is `CLOCK_TOLERANCE_SECONDS` before now, because the clock of the lock's owner may be behind.
    """
    return milliseconds(clock.now()) - int(CLOCK_TOLERANCE_SECONDS * 1000)


def first_check() -> datetime:
    """Return when to check next a run that is about to be started, or whose ending is about to be stored."""
    return clock.now() + FIRST_CHECK


def expiration(memory: timedelta | None) -> int:
    """Return the expiration time of a record that is about to be written, in seconds since 1970.

    Args:
        memory: How long the record is kept. If there is no table (`None`; see `Records`), it is kept for a day.
    """
    return seconds(clock.now() + (memory or timedelta(days=1)))


def seconds(time: datetime) -> int:
    """Convert a time to whole seconds since 1970."""
    return int(time.timestamp())


def milliseconds(time: datetime) -> int:
    """Convert a time to whole milliseconds since 1970."""
    return int(time.timestamp() * 1000)


def job_attributes(job: StartedJob | None, *, follow: bool) -> dict[str, Any]:
    """Build the attributes that a job adds to the record of its action, including the keys of two indexes.

    Args:
        job: The job, before it is started. If it is `None`, the result is empty. If it is for a tenant, the attributes
            include the keys of the index `by-tenant`.
        follow: Whether to check the job's run until it ends. If so, the attributes include the keys of the index
            `open-jobs`.
    """
    if job is None:
        return {}
    start = {"event_id": job.start.event_id, "at": written(job.start.at)}
    texts = {name: getattr(job, name) for name in _JOB_TEXTS}
    attributes: dict[str, Any] = {"job": {**texts, "since": written(job.since), "start": start, "follow": job.follow}}
    if job.slot is not None:
        attributes["job"]["slot"] = {"name": job.slot.name, "size": job.slot.size}
    if job.tenant_id is not None:
        attributes["job"]["tenant_id"] = job.tenant_id
        attributes |= {"tenantId": job.tenant_id, "since": written(job.since)}
    if job.declared is not None:
        attributes["job"]["declared"] = {"consumer": job.declared.consumer, "kept": dict(job.declared.kept)}
    if follow:
        attributes |= {OPEN_JOB: OPEN, "checkAt": written(first_check())}
    return attributes


def is_run_id(key: str) -> bool:
    """Whether an item of the ledger's table with this key is a record. The keys of all other items contain a `#`."""
    return bool(key) and "#" not in key


def check(job: StartedJob) -> None:
    """Check that a job fits into a record.

    Raises:
        InvalidEvent: The job's names, ids and values from the event are together too large for a DynamoDB item.
    """
    kept = () if job.declared is None else (job.declared.consumer, *job.declared.kept.values())
    texts = (job.tenant_id or "", *kept, *(getattr(job, name) for name in _JOB_TEXTS))
    if sum(map(len, texts)) < MAX_KEY_BYTES:
        return  # nearly every job is small, and computing the exact size takes time
    size = items.item_bytes(items.to_item(job_attributes(job, follow=True)))
    if size > MAX_ITEM_BYTES - _OTHER_BYTES:
        raise InvalidEvent(
            f"job {shown(job.name)} cannot be followed: the names of job, event and tenant in its record, and what is "
            f"kept of the event, have "
            f"{size:,} bytes, and a DynamoDB item has at most {MAX_ITEM_BYTES:,}; correct the event"
        )


def from_item(item: Mapping[str, Any]) -> Record:
    """Convert an item of the ledger's DynamoDB table to a record.

    Args:
        item: The item, in the form that boto3's DynamoDB client returns.

    Raises:
        Exception: The item is not a valid record, because another version of this package or a person wrote it. The
            exception's type is one of `UNREADABLE`.
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
        handled=EndingStatus(kept["handled"]) if "handled" in kept else None,
        check_at=datetime.fromisoformat(kept["checkAt"]) if OPEN_JOB in kept else None,
        follower=kept.get("follower"),
    )


def _job(kept: Mapping[str, Any]) -> StartedJob:
    start = Start(event_id=kept["start"]["event_id"], at=datetime.fromisoformat(kept["start"]["at"]))
    texts: dict[str, Any] = {name: kept[name] for name in _JOB_TEXTS}
    return StartedJob(
        **texts,
        tenant_id=kept.get("tenant_id"),
        since=datetime.fromisoformat(kept["since"]),
        start=start,
        follow=kept["follow"],
        slot=Slot(**kept["slot"]) if "slot" in kept else None,
        declared=DeclaredEnding(**kept["declared"]) if "declared" in kept else None,
    )


def _outcome(kept: Mapping[str, Any]) -> Outcome:
    stored: Any = {**kept, "status": OutcomeStatus(kept["status"])}
    outcome: Outcome = stored
    return outcome
