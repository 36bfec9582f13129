"""Keeps the ledger's records in a DynamoDB table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from orchestrator import telemetry
from orchestrator.action import Outcome
from orchestrator.errors import Unavailable
from orchestrator.job import StartedJob
from orchestrator.ledger import gate
from orchestrator.ledger.changes import Change, Conflict, Item, Refused, Table
from orchestrator.ledger.gate import Gate
from orchestrator.ledger.gates import Gates
from orchestrator.ledger.record import (
    LONGEST_PAUSE,
    NOT_FOLLOWED,
    OPEN,
    OPEN_JOB,
    OPEN_JOBS,
    UNREADABLE,
    EndingStatus,
    Record,
    State,
    expiration,
    first_check,
    from_item,
    is_run_id,
    job_attributes,
    latest_free_lock,
    seconds,
)
from orchestrator.ledger.waiting_line import WaitingLine
from orchestrator.timing import clock
from orchestrator.timing.clock import written
from orchestrator.values.limits import MAX_KEY_BYTES

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_PAGE = 100
# Transactions until a claim gives up. Each but the first one expects the record that the one before has returned.
_CLAIM_TRIES = 5


class DynamoDBRecords:
    """Implements `Records` with a DynamoDB table. The table's key is `id`, and its TTL attribute is `expiration`."""

    memory: timedelta | None

    def __init__(
        self,
        table: str,
        client: "Callable[[], DynamoDBClient]",
        memory: timedelta,
        *,
        locks_tenants: bool = True,
        line: WaitingLine | None = None,
    ) -> None:
        """Store the arguments.

        Args:
            table: The table's name. The table needs the index `open-jobs`.
            client: Returns the DynamoDB client. It is called for each request.
            memory: How long a record is kept.
            locks_tenants: Whether a job waits while its tenant has runs of another operation (see `TenantLock`).
            line: Makes SQS deliver waiting events once their jobs may be started; `None` if events wait until SQS
                delivers them by itself.
        """
        self.memory = memory
        self._table = Table(table, client)
        self._line = line
        self._gates = Gates(self._table, self.read, line, locks_tenants=locks_tenants)

    def claim(
        self, action_id: str, owner: str, locked_until: int, job: StartedJob | None = None, *, follow: bool = False
    ) -> tuple[bool, Record | None]:
        """Claim an action in one atomic step; see `Records.claim`.

        The step is one conditional update. If limits on concurrent runs apply to the job's run, the step is a
        transaction that changes the items of these limits, too.
        """
        new = {
            "state": State.CLAIMED,
            "owner": owner,
            "lockedUntil": locked_until,
            "expiration": expiration(self.memory),
        }
        if follow:
            new["follower"] = owner
        kept = {"firstOwner": owner, **job_attributes(job, follow=follow)}
        assigned = [f"#{name} = :{name}" for name in new]
        assigned += [f"#{name} = if_not_exists(#{name}, :{name})" for name in kept]
        claim = Change(
            key=action_id,
            condition="attribute_not_exists(#state) OR #expiration < :now OR (#state = :state AND "
            "(#owner = :owner OR (#lockedUntil < :free AND #firstOwner <> :owner)))",  # same as `may_be_claimed`
            values={**new, **kept, "free": latest_free_lock(), "now": seconds(clock.now())},
            update=f"SET {', '.join(assigned)} REMOVE #outcome, #ending, #handled",
        )
        gates = self._gates.of(job) if job is not None and follow else []
        if gates:
            return self._claim_and_join(claim, gates)
        is_mine, before = self._write(claim)
        return is_mine, self._read(before) if before else None

    def _claim_and_join(self, claim: Change, gates: Sequence[Gate]) -> tuple[bool, Record | None]:
        """Claim an action, and make its job's run count towards limits on concurrent runs, in one transaction.

        The result must contain the record as it was before, but a transaction that succeeds does not return it.
        Therefore, the first transaction requires that there is no record. If there is a record, the transaction is
        refused and returns the record. The next transaction then expects this record (see `_expecting`).

        If a limit is reached, the runs that no longer count are removed from it before the next transaction.

        Args:
            claim: The change of the action's record.
            gates: The limits.

        Returns:
            See `Records.claim`, which also lists the exceptions.
        """
        before: Record | None = None
        owner: str = claim.values["owner"]
        try:
            for _ in range(_CLAIM_TRIES):
                member = gate.member_of(claim.key, _follower(before) or owner)
                joining = [one.joining(member, claim.values["expiration"]) for one in gates]
                claimed, *joined = self._table.change_all([_expecting(before, claim), *joining])
                if claimed is None and not any(joined):
                    return True, before
                if claimed is not None:
                    before = self._read(claimed.item) if claimed.item else None
                    if before is not None and not before.may_be_claimed(owner):
                        return False, before
                    continue  # the gates may list the run already, under the name that follows from its record
                for full, refused in zip(gates, joined, strict=True):
                    if refused is not None and refused.item:
                        self._gates.make_room(full, refused.item)
        except Conflict:
            pass
        raise gates[-1].busy()

    def check_turn(self, job: StartedJob) -> None:
        """Check that there may be room for the job of an event that has waited; see `Records.check_turn`."""
        if self._line is not None and self.read(job.run_id) is None:
            self._line.check_turn(job, self._gates.of(job), self._gates.clear)

    def wake(self) -> None:
        """Make SQS deliver the waiting events for whose jobs there may be room; see `Records.wake`."""
        if self._line is not None:
            self._line.sweep(self._gates.clear)

    def settle(self, action_id: str, owner: str, outcome: Outcome) -> bool:
        """Store an action's outcome, unless another owner has claimed the action; see `Records.settle`."""
        values = {"done": State.DONE, "owner": owner, "outcome": outcome, "expiration": expiration(self.memory)}
        update = "SET #state = :done, #outcome = :outcome, #expiration = :expiration"
        is_mine, _ = self._write(Change(key=action_id, condition="#owner = :owner", values=values, update=update))
        return is_mine

    def release(self, action_id: str, owner: str) -> None:
        """Delete the record of an action that is not done; see `Records.release`.

        The job's run then no longer counts towards limits on concurrent runs.
        """
        condition = "#owner = :owner AND #state = :claimed"
        values = {"owner": owner, "claimed": State.CLAIMED}
        was_deleted, before = self._write(Change(key=action_id, condition=condition, values=values, update=None))
        if was_deleted and before:
            self._gates.leave(self._read(before))

    def read(self, action_id: str) -> Record | None:
        """Read an action's record; see `Records.read`."""
        if len(action_id.encode()) > MAX_KEY_BYTES or not is_run_id(action_id):
            return None  # no record has such a key; the id may come from an event, whose sender made it up
        item = self._table.get(action_id)
        record = None if item is None else self._read(item)
        return None if record is None or record.is_expired else record

    def close(self, run_id: str, ending: EndingStatus) -> EndingStatus | None:
        """Store how a run ended; see `Records.close`."""
        condition = "attribute_exists(#job)" + (
            " AND attribute_not_exists(#ending)" if ending is EndingStatus.SUCCESS else ""
        )
        values = {"done": State.DONE, "ending": ending, "at": written(first_check())}
        update = "SET #state = :done, #ending = :ending, #checkAt = :at"
        _, before = self._write(Change(key=run_id, condition=condition, values=values, update=update))
        return self._read(before).ending if before else None

    def mark_handled(self, run_id: str, ending: EndingStatus) -> None:
        """Store that an event in which a run reported its ending has been handled; see `Records.mark_handled`."""
        update = "SET #handled = :ending, #checkAt = :now"
        self._change_open(run_id, update, ending=ending, now=written(clock.now()))

    def unfollow(self, run_id: str) -> None:
        """Stop checking whether a run has ended.

        If the action that starts the run is done, the run is also removed from the limits on concurrent runs that it
        counts towards. Otherwise, the limits list it until another job needs the room.
        """
        was_followed, before = self._change_open(run_id, NOT_FOLLOWED)
        if was_followed and before:
            record = self._read(before)
            if (
                record.state is State.DONE
            ):  # otherwise, its start may be claimed again, and the run is in its gates then
                self._gates.leave(record)

    def give_up(self, record: Record) -> bool:
        """Stop searching for a run that was not found in the build system; see `Records.give_up`."""
        condition = "attribute_exists(#openJob) AND attribute_not_exists(#outcome) AND #owner = :owner"
        values = {"owner": record.owner}
        is_given_up, _ = self._write(Change(key=record.id, condition=condition, values=values, update=NOT_FOLLOWED))
        return is_given_up

    def due(self) -> Iterator[Sequence[Record]]:
        """Read the records of the runs whose next check is due; see `Records.due`.

        Each sequence is one page of at most a hundred records. If a record is malformed or has no job, an error is
        logged, the record's next check is postponed by an hour, and the page does not contain the record.

        Raises:
            ConfigurationError: The index `open-jobs` does not exist, or the function may not read it.
        """
        for page in self._table.pages(OPEN_JOBS, (OPEN_JOB, OPEN), up_to=("checkAt", written(clock.now())), size=_PAGE):
            yield list(filter(None, map(self._open_job, page)))

    def postpone(self, record: Record) -> None:
        """Schedule the next check of whether the record's run has ended; see `Records.postpone`."""
        self._change_open(record.id, "SET #checkAt = :at", at=written(clock.now() + record.pause))

    def adopt(self, record: Record, outcome: Outcome) -> None:
        """Store the outcome of starting a job, after a search has found the job's run; see `Records.adopt`."""
        self._change_open(record.id, "SET #state = :done, #outcome = :outcome", done=State.DONE, outcome=outcome)

    def _read(self, item: Item) -> Record:
        try:
            return from_item(item)
        except UNREADABLE as error:
            raise Unavailable(
                f"item {item['id']['S']} in table {self._table.name} cannot be read ({type(error).__name__}): another "
                "version of this package, or a person, wrote it; deploy that version again, or delete the item"
            ) from None

    def _open_job(self, item: Mapping[str, Any]) -> Record | None:
        try:
            record = self._read(item)
            if record.job is not None:
                return record
            why = "it names no job"
        except Unavailable as error:
            why = str(error)
        # The check is postponed, because otherwise a hundred such records would fill the first page of every sweep.
        self._change_open(item["id"]["S"], "SET #checkAt = :at", at=written(clock.now() + LONGEST_PAUSE))
        telemetry.logger.error(f"open job {item['id']['S']} is not followed: {why}")
        return None

    def _change_open(self, run_id: str, update: str, **values: Any) -> tuple[bool, Item | None]:
        return self._write(Change(key=run_id, condition="attribute_exists(#openJob)", values=values, update=update))

    def _write(self, change: Change) -> tuple[bool, Item | None]:
        """Change an item if the change's condition holds.

        Returns:
            Whether the condition held; and the item as it was before, or `None` if there was none.
        """
        found = self._table.change(change)
        return (False, found.item) if isinstance(found, Refused) else (True, found)


def _follower(before: Record | None) -> str | None:
    """Return the `Record.follower` that a record must keep when its action is claimed again.

    The items of limits on concurrent runs may already list the run under a name that contains this text.

    Args:
        before: The record before the new claim, if there is one.

    Returns:
        `None` if the record is missing, has expired, or has no `follower`. The new claim then sets `follower`.
    """
    return None if before is None or before.is_expired else before.follower


def _expecting(before: Record | None, claim: Change) -> Change:
    """Return a copy of a claim that DynamoDB accepts only if the action's record is still the one that was read.

    DynamoDB compares the record's owner, state, expiration and `follower`. The copy keeps the `follower` (see
    `_follower`).

    Args:
        before: The record that was read. If it is `None`, the claim is accepted only if the action has no record.
        claim: The change of the record that claims the action.
    """
    values = {name: value for name, value in claim.values.items() if name not in ("free", "now")}
    if before is None:
        return replace(claim, condition="attribute_not_exists(#state)", values=values)
    seen = {"seenOwner": before.owner, "seenState": before.state, "seenExpiration": before.expiration}
    condition = "#owner = :seenOwner AND #state = :seenState AND #expiration = :seenExpiration AND "
    if before.follower is None:
        condition += "attribute_not_exists(#follower)"
    else:
        condition += "#follower = :seenFollower"
        seen["seenFollower"] = before.follower
    follower = _follower(before)
    kept = {"follower": follower} if follower else {}
    return replace(claim, condition=condition, values={**values, **seen, **kept})
