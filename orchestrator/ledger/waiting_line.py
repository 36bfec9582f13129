"""Wakes events that wait in a queue, as soon as there may be room for their jobs.

An event waits for a gate (see `orchestrator.ledger.gate`) or for a build system. Its message stays in its queue, where
a visibility timeout hides it, at last for hours. An item of the ledger's table keeps the message's receipt handle, by
which the message can be made visible earlier:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html

A message is hidden first, then its item is written, and then the gate is looked at once more. If a run leaves the gate
in between, either the process that takes the run out finds the item, or the second look finds the room. Whatever else
goes wrong costs only time, because the message becomes visible by itself at the end of its timeout.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from botocore.exceptions import ClientError

from orchestrator import telemetry
from orchestrator.aws.errors import aws_errors
from orchestrator.errors import OrchestratorError, Unavailable, Wait, WaitReason
from orchestrator.ledger import gate
from orchestrator.ledger.changes import Change, Item, Refused, Table
from orchestrator.ledger.record import OPEN_JOBS, WAITING, expiration, seconds
from orchestrator.timing import clock, deadline
from orchestrator.timing.clock import written

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

AWAITED = "awaited"
"""Value of the attribute `openJob` of a gate for which events wait; `checkAt` is when the last of them began to."""

TakeOutGone: TypeAlias = Callable[[str, Item], int]
"""The type of functions that take runs out of a gate that are not followed any more, and return their number.

The arguments are the gate's key and item.
"""

_KEY = "waiting#"
# An entry of an index is there at most so long after its item was written.
_INDEX_LAG = timedelta(minutes=2)
# If a message turns out to be gone, the next one is woken instead; at most so many are tried.
_SPARE = 10
# A build system does not say how many jobs it would take. So many events are woken at a time; each that has started its
# job wakes the next one.
_TRIED_AT_ONCE = 10
_LONG = timedelta(hours=1)
_REFUSAL = timedelta(minutes=1)
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
    """The events that wait for each gate, and for each build system, in the order of their times."""

    def __init__(self, table: Table, memory: timedelta, sqs: "Callable[[], SQSClient]") -> None:
        """Store the arguments.

        Args:
            table: The ledger's table. It needs the indexes `open-jobs` and `waiting`.
            memory: How long an item is kept for a gate that has none yet.
            sqs: Returns the SQS client. It is called for each request.
        """
        self._table = table
        self._memory = memory
        self._sqs = sqs

    def join(self, wait: Wait, queue: str, receipt: str, until: datetime) -> bool:
        """Let a hidden message be woken as soon as there may be room for its event's job.

        Args:
            wait: The job, and what it waits for.
            queue: The URL of the message's queue.
            receipt: The message's receipt handle.
            until: When the message becomes visible by itself.

        Returns:
            Whether the event has to wait. If not, there is room by now, and the caller makes the message visible.

        Raises:
            Unavailable: The table could not be written, so the message becomes visible only by itself.
        """
        key, own_key = wait.key, _KEY + wait.run_id
        item = {
            "waitingFor": key,
            # A build system takes jobs in any order. So the one that was tried longest ago is tried next.
            "waitingSince": written(clock.now() if gate.is_build_system(key) else wait.since),
            "reason": wait.reason,
            "queue": queue,
            "receipt": receipt,
            "expiration": seconds(until),
        }
        mark = {"openJob": AWAITED, "checkAt": written(clock.now())}
        if wait.was_tried:
            mark["refusedAt"] = mark["checkAt"]
        self._table.change(_setting(own_key, item))
        found = self._table.change(_setting(key, mark, once={"expiration": expiration(self._memory)}))
        room = gate.room_in(key, {} if found is None or isinstance(found, Refused) else found)
        if room:
            self._take(own_key, receipt)
        return not room

    def check_turn(self, run_id: str, take_out_gone: TakeOutGone) -> None:
        """Check that a job that has waited should be tried again.

        If the event was woken, it should. If its message became visible by itself, it should only if its gate has room.
        For a build system, it should if no job has been refused in the last minute.

        Args:
            run_id: The id of the job's run.
            take_out_gone: See `TakeOutGone`.

        Raises:
            Unavailable: The job should not be tried (`waits_for` is set), or the table could not be reached.
        """
        own = self._table.get(_KEY + run_id)
        if own is None:
            return
        key = own["waitingFor"]["S"]
        item = self._table.get(key) or {}
        room = gate.room_in(key, item, leaving=take_out_gone(key, item))
        if room is None:
            refused = item.get("refusedAt", {}).get("S")
            room = refused is None or clock.now() - datetime.fromisoformat(refused) > _REFUSAL
        if not room:
            reason = WaitReason(own["reason"]["S"])
            raise Unavailable(f"{reason}; a retry may succeed", ambiguous=False, waits_for=reason)
        self._take(_KEY + run_id, own["receipt"]["S"])

    def wake(self, key: str, most: int) -> None:
        """Make the messages of the first events that wait for a gate visible. A failure is only logged.

        Args:
            key: The gate's key.
            most: How many messages at most.
        """
        try:
            self._wake(self._first(key, most), most)
        except OrchestratorError as error:
            telemetry.logger.warning(str(error), error=type(error).__name__)

    def sweep(self, take_out_gone: TakeOutGone) -> None:
        """For every gate for which events wait, wake as many events as there is room for.

        Also count the gates whose first event has waited for more than an hour.

        Args:
            take_out_gone: See `TakeOutGone`.

        Raises:
            OrchestratorError: The table or its indexes could not be used.
        """
        long = 0
        entries = [entry for page in self._table.pages(OPEN_JOBS, ("openJob", AWAITED), size=_PAGE) for entry in page]
        for key in (entry["id"]["S"] for entry in entries):
            if not deadline.has_time():
                break
            item = self._table.get(key) or {}
            take_out_gone(key, item)  # this wakes an event for each run that is gone
            room = gate.room_in(key, item)
            most = _TRIED_AT_ONCE if room is None else room
            first = self._first(key, most)
            if not first:
                self._forget(key, item)
                continue
            has_waited = [one for one in first if clock.now() - _since(one) > _LONG]
            long += bool(has_waited)
            # Without room to count, an event would be woken at every sweep, and go to the failure queue at last.
            self._wake(has_waited if room is None else first, most)
        telemetry.count("EventsWaitingLong", value=long)

    def _forget(self, key: str, item: Item) -> None:
        """Store that no event waits for a gate any more, unless one may have begun to wait just now."""
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
            is_mine = self._take(item["id"]["S"], item["receipt"]["S"])
            woken += is_mine and int(item["expiration"]["N"]) > seconds(clock.now()) and self._show(item)

    def _take(self, key: str, receipt: str) -> bool:
        """Delete the item of a waiting event, unless it has another receipt by now; return whether it was deleted."""
        change = Change(key=key, condition="#receipt = :receipt", values={"receipt": receipt}, update=None)
        return not isinstance(self._table.change(change), Refused)

    def _show(self, item: Item) -> bool:
        """Make a message visible; return False if SQS does not have it any more, or does not hide it any more."""
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


def _since(item: Item) -> datetime:
    return datetime.fromisoformat(item["waitingSince"]["S"])


def _setting(key: str, values: dict[str, Any], once: dict[str, Any] | None = None) -> Change:
    """Build a change that sets attributes; those in `once` only if the item lacks them."""
    once = once or {}
    assigned = [f"#{name} = :{name}" for name in values]
    assigned += [f"#{name} = if_not_exists(#{name}, :{name})" for name in once]
    return Change(key=key, condition=None, values={**values, **once}, update=f"SET {', '.join(assigned)}")
