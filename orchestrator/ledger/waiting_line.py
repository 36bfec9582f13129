"""Makes SQS deliver the events that wait in a queue, as soon as there may be room for their jobs.

An event waits for a gate, which limits concurrent runs (see `orchestrator.ledger.gate`), or for a build system. Its
message stays in its SQS queue, hidden by a visibility timeout of up to eleven hours. To wake an event is to make its
message visible earlier. The request for this needs the message's receipt handle. Therefore, each waiting event has an
item of its own in the ledger's table, which stores the handle:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html

A run may end, and be removed from the gate's item, at the same time as an event begins to wait for the gate. Therefore,
the message is hidden first, then the event's item with the handle is written, and then the gate's item is read again:

- If the run is removed before this reading, the reading shows the room, and the event need not wait.
- If the run is removed later, the process that removes the run looks for the event's item, and wakes the event. That
  process may miss the item, because it reads an index, which may lag behind the table. The event then only waits
  longer: until the scheduled sweep finds that there is room, or until the message becomes visible by itself after its
  timeout.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from botocore.exceptions import ClientError

from orchestrator import telemetry
from orchestrator.aws.errors import aws_errors
from orchestrator.errors import OrchestratorError, Wait, WaitReason
from orchestrator.job import StartedJob
from orchestrator.ledger import gate
from orchestrator.ledger.changes import Change, Item, Refused, Table
from orchestrator.ledger.gate import Awaited
from orchestrator.ledger.record import OPEN_JOBS, WAITING, expiration, seconds
from orchestrator.timing import clock, deadline
from orchestrator.timing.clock import written

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

AWAITED = "awaited"
"""Value of `openJob` in a gate's item while events wait for the gate. `checkAt` is when an event last began to wait."""

Clear: TypeAlias = Callable[[str, Item], Item]
"""The type of functions that remove from a gate the runs that are no longer followed, and wake an event for each.

The arguments are the gate's key and item. The result is the item without these runs.
"""

_KEY = "waiting#"
# An entry of an index is there at most so long after its item was written.
_INDEX_LAG = timedelta(minutes=2)
# If a message turns out to be gone, the next one is woken instead; at most so many are tried.
_SPARE = 10
# A build system does not say how many jobs it would take. So many events are woken at a time; each that has started its
# job wakes the next one.
_TRIED_AT_ONCE = 5
_LONG = timedelta(hours=1)
_PAGE = 1000
# How SQS says that a receipt handle is of no use any more, in its two protocols:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
_GONE = frozenset(
    {
        "AWS.SimpleQueueService.MessageNotInflight",
        "InvalidParameterValue",
        "InvalidParameterValueException",
        "MessageNotInflight",
        "ReceiptHandleIsInvalid",
    }
)


class WaitingLine:
    """The events that wait for gates, which limit concurrent runs, and for build systems.

    The events that wait for a gate are in the order in which their operations began. An operation is an event with all
    that follows from it, such as a provisioning and the deployment after it. The events that wait for a build system
    are in the order in which they began to wait; an event that has to wait again goes to the end.
    """

    def __init__(self, table: Table, memory: timedelta, sqs: "Callable[[], SQSClient]") -> None:
        """Store the arguments.

        Args:
            table: The ledger's table. It needs the indexes `open-jobs` and `waiting`.
            memory: How long the item of a gate or build system is kept after an event has begun to wait for it.
            sqs: Returns the SQS client. It is called for each request.
        """
        self._table = table
        self._memory = memory
        self._sqs = sqs

    def join(self, wait: Wait, queue: str, receipt: str, until: datetime) -> bool:
        """Store the receipt handle of an event's message, which is hidden in its queue because the event waits.

        With the handle, the message can be made visible as soon as there may be room for the event's job. The message
        must be hidden before this call (see the module's docstring).

        Args:
            wait: The job, and the limit or build system that it waits for.
            queue: The URL of the message's queue.
            receipt: The message's receipt handle.
            until: When the message becomes visible by itself.

        Returns:
            Whether the event has to wait. If not, there is room by now, and the caller must make the message visible.
            For a build system, the result is always true.

        Raises:
            Unavailable: The table could not be written. The message becomes visible at `until`, or earlier.
        """
        own = {
            "waitingFor": wait.key,
            # A build system takes jobs in any order. So the one that was tried longest ago is tried next.
            "waitingSince": written(clock.now() if gate.is_build_system(wait.key) else wait.since),
            "reason": wait.reason,
            "queue": queue,
            "receipt": receipt,
            "expiration": seconds(until),
        }
        now = written(clock.now())
        mark = {"openJob": AWAITED, "checkAt": now, "expiration": expiration(self._memory)}
        if wait.size is not None:
            mark["size"] = wait.size
        if gate.is_build_system(wait.key) and wait.was_tried:
            mark["refusedAt"] = now
        self._table.change(_setting(_KEY + wait.run_id, own))
        found = self._table.change(_setting(wait.key, mark))
        item = {} if found is None or isinstance(found, Refused) else found
        is_full = gate.is_build_system(wait.key) or wait.is_full(item)
        if not is_full:
            self._take(_KEY + wait.run_id, receipt)
        return is_full

    def check_turn(self, job: StartedJob, gates: Sequence[Awaited], clear: Clear) -> None:
        """Check that there may be room for the job of an event that has waited.

        If the event was woken (see `wake`), nothing is checked. Otherwise, the item of the limit or build system that
        the event waits for is read. If there is room, the receipt handle of the event's message is deleted.

        Args:
            job: The job.
            gates: The limits on concurrent runs that apply to the job.
            clear: Removes from a limit the runs that no longer count; see `Gates.clear`.

        Raises:
            Unavailable: There is no room yet (`waits_for` is set), or the table could not be reached.
        """
        own = self._table.get(_KEY + job.run_id)
        if own is None:
            return
        key = own["waitingFor"]["S"]
        for awaited in (*gates, gate.BuildSystem(job.builder, WaitReason(own["reason"]["S"]))):
            if awaited.key == key and awaited.is_full(clear(key, self._table.get(key) or {})):
                raise awaited.busy()
        self._take(_KEY + job.run_id, own["receipt"]["S"])

    def wake(self, key: str, most: int) -> None:
        """Wake the first events that wait for a limit on concurrent runs or for a build system.

        This makes their messages visible, so that SQS delivers them. A failure is only logged.

        Args:
            key: The key of the item about the limit or build system in the ledger's table.
            most: How many events to wake at most.
        """
        with _logged():
            self._wake(self._first(key, most), most)

    def sweep(self, clear: Clear) -> None:
        """Wake the events for whose jobs there may be room: make their messages visible, so that SQS delivers them.

        For each limit on concurrent runs, as many events are woken as it has room for. For each build system, at most
        five are woken, and only events that have waited long enough (see `_has_slept`). The sweep stops when the
        caller's time limit ends (see `deadline.within`). If the events of one limit or build system cannot be woken,
        the error is only logged.

        Also count, in the metric `EventsWaitingLong`, the limits and build systems whose first event has waited for
        more than an hour (see `_sweep`).

        Args:
            clear: Removes from a limit the runs that no longer count; see `Gates.clear`.

        Raises:
            ConfigurationError: The index `open-jobs` does not exist, or the function may not read it.
            Unavailable: DynamoDB could not be reached, or throttled the request for this index.
        """
        long = 0
        entries = [entry for page in self._table.pages(OPEN_JOBS, ("openJob", AWAITED), size=_PAGE) for entry in page]
        random.shuffle(entries)  # so that each gate's turn comes, even if the time is too short for all
        for key in (entry["id"]["S"] for entry in entries):
            if not deadline.has_time():
                break
            with _logged():
                long += self._sweep(key, clear)
        telemetry.count("EventsWaitingLong", value=long)

    def _sweep(self, key: str, clear: Clear) -> bool:
        """Wake events that wait for one limit on concurrent runs, or for one build system; see `sweep`.

        Args:
            key: The key of the item about the limit or build system in the ledger's table.
            clear: Removes from a limit the runs that no longer count; see `Gates.clear`.

        Returns:
            Whether the first of these events has waited for more than an hour. For a limit, the hour is counted from
            the beginning of the event's operation, which may be earlier than the beginning of its wait.
        """
        item = clear(key, self._table.get(key) or {})
        room = gate.room_in(key, item)
        most = _TRIED_AT_ONCE if room is None else room
        first = self._first(key, most)
        if not first:
            self._forget(key, item)
        self._wake([one for one in first if _has_slept(one)] if room is None else first, most)
        return any(clock.now() - _since(one) > _LONG for one in first)

    def _forget(self, key: str, item: Item) -> None:
        """Store that no event waits for a limit or build system.

        Call this if the index `waiting` contains no such event. Nothing is stored if an event began to wait in the last
        two minutes, because the index may not contain it yet.

        Args:
            key: The key of the item about the limit or build system in the ledger's table.
            item: The item with that key.
        """
        seen = item["checkAt"]["S"] if "checkAt" in item else written(clock.now())
        if clock.now() - datetime.fromisoformat(seen) > _INDEX_LAG:
            update = "REMOVE #openJob, #checkAt"
            self._table.change(Change(key=key, condition="#checkAt = :seen", values={"seen": seen}, update=update))

    def _first(self, key: str, most: int) -> Sequence[Item]:
        return next(self._table.pages(WAITING, ("waitingFor", key), size=most + _SPARE))

    def _wake(self, waiting: Sequence[Item], most: int) -> None:
        woken = 0
        for item in waiting:
            if woken == most or not deadline.has_time():
                return
            is_hidden = int(item["expiration"]["N"]) > seconds(clock.now()) and self._show(item)
            # Another process may have woken the same event. Then the next one is woken, too.
            woken += self._take(item["id"]["S"], item["receipt"]["S"]) and is_hidden

    def _take(self, key: str, receipt: str) -> bool:
        """Delete a waiting event's item, if it exists and still stores this handle; return whether it was deleted."""
        change = Change(key=key, condition="#receipt = :receipt", values={"receipt": receipt}, update=None)
        return not isinstance(self._table.change(change), Refused)

    def _show(self, item: Item) -> bool:
        """Make a waiting event's message visible; return False if it no longer exists or is visible already.

        Args:
            item: The event's item.
        """
        with aws_errors("an event that waits could not be woken"):
            try:
                self._sqs().change_message_visibility(
                    QueueUrl=item["queue"]["S"], ReceiptHandle=item["receipt"]["S"], VisibilityTimeout=0
                )
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in _GONE:
                    raise
                return False
        return True


@contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except OrchestratorError as error:
        telemetry.logger.warning(str(error), error=type(error).__name__)


def _since(item: Item) -> datetime:
    return datetime.fromisoformat(item["waitingSince"]["S"])


def _has_slept(item: Item) -> bool:
    """Whether the scheduled sweep may wake an event that waits for a build system.

    The sweep may wake the event once the event has waited for an hour, or for a quarter of the time for which its
    message is hidden, whichever is shorter. If every sweep woke the event, its message would soon reach the queue's
    limit of deliveries, and SQS would move the message to the failure queue.

    Args:
        item: The event's item.
    """
    since = _since(item)
    sleep = datetime.fromtimestamp(int(item["expiration"]["N"]), UTC) - since
    return clock.now() - since > min(sleep / 4, _LONG)


def _setting(key: str, values: Mapping[str, Any]) -> Change:
    update = f"SET {', '.join(f'#{name} = :{name}' for name in values)}"
    return Change(key=key, condition=None, values=values, update=update)
