"""Finds out whether the jobs of a consumer were started, before its failure is published as jobs that were not."""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import count

from orchestrator.action import Action, Following, StartJob
from orchestrator.ledger.record import Record, State
from orchestrator.run import positions


def is_started(record: Record | None) -> bool:
    """Whether the record of a `StartJob` says that the job was started."""
    # A sweep that finds the run stores the outcome, and leaves the state as it was.
    return record is not None and (record.state is State.DONE or record.outcome is not None)


def were_started(
    actions: Sequence[Action | Following],
    tried: Collection[int | str],
    read: Callable[[int | str], Record | None],
) -> bool | None:
    """Return whether the jobs of a consumer were started, by whichever delivery of the event.

    Only followed jobs count (`StartJob.follow`), because an event is published about the endings of their runs. If the
    consumer returned no followed job, all its jobs count.

    Args:
        actions: The actions that the consumer returned; empty if it failed before it returned any. The jobs that
            earlier deliveries have claimed then count.
        tried: The positions (see `positions`) of the actions that this delivery has tried to perform.
        read: Reads the ledger's record of the action at a position.

    Returns:
        `None` if an earlier delivery may have started one of the jobs.
    """
    jobs = [(place, one) for place, one in zip(positions(actions), actions, strict=True) if isinstance(one, StartJob)]
    followed = [place for place, job in jobs if job.follow] or [place for place, _ in jobs]
    found = {place: read(place) for place in followed} if actions else dict(_claimed(read))
    if found and all(map(is_started, found.values())):
        return True
    is_unknown = any(_is_in_doubt(record) for place, record in found.items() if place not in tried)
    return None if is_unknown else False


def _claimed(read: Callable[[int | str], Record | None]) -> Iterator[tuple[str, Record]]:
    for number in count():
        record = read(f"job {number}")
        if record is None:
            return
        if record.job is not None and record.job.follow:
            yield f"job {number}", record


def _is_in_doubt(record: Record | None) -> bool:
    return record is not None and record.follower is not None and not is_started(record)
