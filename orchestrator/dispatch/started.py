"""Finds out whether the jobs of a consumer were started, before its failure is published as jobs that were not."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TypeAlias

from orchestrator.action import Action, Following, StartJob
from orchestrator.ledger.record import Record, State
from orchestrator.run import job_position, positions
from orchestrator.timing import clock

# The last of Lambda's retries comes some minutes after the first try.
_RETRIES = timedelta(hours=1)

Read: TypeAlias = Callable[[int | str], Record | None]
"""Reads the ledger's record of the consumer's action at a position (see `positions`)."""


@dataclass(frozen=True, slots=True)
class _Job:
    position: int | str
    follow: bool
    record: Record | None


def were_started(actions: Sequence[Action | Following], tried: Collection[int | str], read: Read) -> bool | None:
    """Return whether the jobs of a consumer were started, by whichever delivery of the event.

    Only followed jobs count (`StartJob.follow`), because an event is published about the endings of their runs. If the
    consumer has no followed job, all its jobs count.

    Args:
        actions: The actions that the consumer returned. If it failed before it returned any, the jobs are those that
            earlier deliveries have claimed in the ledger.
        tried: The positions of the actions that this delivery has tried to perform.
        read: Reads the record of an action.

    Returns:
        `None` if an earlier delivery may have started one of the jobs, but it is not known.
    """
    jobs = list(_returned(actions, read) if actions else _claimed(read))
    counting = [job for job in jobs if job.follow] or jobs
    if counting and all(is_started(job.record) for job in counting):
        return True
    is_unknown = any(job.position not in tried and _is_in_doubt(job.record) for job in counting)
    return None if is_unknown else False


def is_started(record: Record | None) -> bool:
    """Whether the record of a `StartJob` says that the job was started."""
    return record is not None and record.state is State.DONE


def _returned(actions: Sequence[Action | Following], read: Read) -> Iterator[_Job]:
    for position, action in zip(positions(actions), actions, strict=True):
        if isinstance(action, StartJob):
            yield _Job(position, action.follow, read(position))


def _claimed(read: Read) -> Iterator[_Job]:
    for number in count():
        position = job_position(number)
        record = read(position)
        if record is None:
            return
        yield _Job(position, record.started_job.follow, record)


def _is_in_doubt(record: Record | None) -> bool:
    """Whether an earlier delivery may have started the job.

    A run that is followed is searched for, until it is found or given up. Of one that is not followed, nobody learns
    whether it was started, so it stays in doubt for as long as Lambda may retry the event.
    """
    if record is None or is_started(record):
        return False
    locked_until = datetime.fromtimestamp(record.locked_until / 1000, UTC)
    return record.follower is not None or clock.now() - locked_until < _RETRIES
