"""Keeps the ledger's records in a DynamoDB table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator import telemetry
from orchestrator.action import Outcome
from orchestrator.aws.errors import aws_errors
from orchestrator.errors import OrchestratorError, Unavailable
from orchestrator.job import StartedJob
from orchestrator.ledger import tenant_lock
from orchestrator.ledger.changes import Change, Conflict, Item, Refused, Table
from orchestrator.ledger.record import (
    LONGEST_PAUSE,
    OPEN,
    OPEN_JOBS,
    UNREADABLE,
    EndingStatus,
    Record,
    State,
    expiration,
    first_check,
    from_item,
    is_lock_key,
    job_attributes,
    latest_free_lock,
    seconds,
)
from orchestrator.timing import clock
from orchestrator.timing.clock import written
from orchestrator.values.limits import MAX_KEY_BYTES

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

ConvertedT = TypeVar("ConvertedT")

_PAGE = 100
# Transactions until a claim gives up. Each but the first one expects the record that the one before has returned.
_CLAIM_TRIES = 5


class DynamoDBRecords:
    """Implements `Records` with a DynamoDB table. The table's key is `id`, and its TTL attribute is `expiration`."""

    memory: timedelta | None

    def __init__(
        self, table: str, client: "Callable[[], DynamoDBClient]", memory: timedelta, *, locks_tenants: bool = True
    ) -> None:
        """Store the arguments.

        Args:
            table: The table's name. The table needs the index `open-jobs`.
            client: Returns the DynamoDB client. It is called for each request.
            memory: How long a record is kept.
            locks_tenants: Whether a run must wait while runs of another operation are followed for its tenant.
        """
        self.memory = memory
        self._table = Table(table, client)
        self._locks_tenants = locks_tenants

    def claim(
        self, action_id: str, owner: str, locked_until: int, job: StartedJob | None = None, *, follow: bool = False
    ) -> tuple[bool, Record | None]:
        """Claim an action in one atomic step, which is one conditional request; see `Records.claim`.

        If the job's run must join the tenant's lock, the request is a transaction. Further requests are needed only if
        it is refused.
        """
        new = {
            "state": State.CLAIMED,
            "owner": owner,
            "lockedUntil": locked_until,
            "expiration": expiration(self.memory),
        }
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
        if job is not None and follow and job.tenant_id is not None and self._locks_tenants:
            return self._claim_and_join(claim, job.tenant_id, job)
        is_mine, before = self._write(claim)
        return is_mine, self._read(before) if before else None

    def _claim_and_join(self, claim: Change, tenant_id: str, job: StartedJob) -> tuple[bool, Record | None]:
        """Claim an action, and let its job's run join the tenant's lock, in one transaction.

        A transaction that succeeds does not return the record as it was before. Therefore, the first transaction
        requires that there is no record. If there is one, the transaction is refused and returns the record. The next
        transaction then requires that the record has not changed since.
        """
        before: Record | None = None
        owner: str = claim.values["owner"]
        joining = tenant_lock.joining(tenant_id, job, owner, claim.values["expiration"])
        try:
            for _ in range(_CLAIM_TRIES):
                with self._reached():
                    claimed, joined = self._table.change_both(_expecting(before, claim), joining)
                if claimed is None and joined is None:
                    return True, before
                if claimed is not None:
                    before = self._read(claimed.item) if claimed.item else None
                    if before is not None and not before.may_be_claimed(owner):
                        return False, before
                if joined is not None and joined.item:
                    self._clear(tenant_id, job, joined.item)
        except Conflict:
            pass
        raise tenant_lock.busy(tenant_id)

    def _clear(self, tenant_id: str, job: StartedJob, item: Item) -> None:
        """Take the runs that do not hold a tenant's lock out of it.

        Args:
            tenant_id: The tenant's id.
            job: The job whose run could not join the lock.
            item: The lock.

        Raises:
            Overtaken: See `tenant_lock.removable`.
            Unavailable: A run of another operation holds the lock, or the lock cannot be read.
        """
        lock = self._converted(tenant_lock.from_item, item)
        for run_id, record in tenant_lock.removable(tenant_id, job, lock, self.read).items():
            self._write(tenant_lock.leaving(tenant_id, run_id, record, lock.owner))

    def settle(self, action_id: str, owner: str, outcome: Outcome) -> bool:
        """Store an action's outcome, if the claim on the action still belongs to `owner`; see `Records.settle`."""
        values = {"done": State.DONE, "owner": owner, "outcome": outcome, "expiration": expiration(self.memory)}
        update = "SET #state = :done, #outcome = :outcome, #expiration = :expiration"
        is_mine, _ = self._write(Change(key=action_id, condition="#owner = :owner", values=values, update=update))
        return is_mine

    def release(self, action_id: str, owner: str) -> None:
        """Delete the record of an action that is not done; see `Records.release`."""
        condition = "#owner = :owner AND #state = :claimed"
        values = {"owner": owner, "claimed": State.CLAIMED}
        self._write(Change(key=action_id, condition=condition, values=values, update=None))

    def read(self, action_id: str) -> Record | None:
        """Read an action's record; see `Records.read`."""
        if len(action_id.encode()) > MAX_KEY_BYTES or is_lock_key(action_id):
            return None  # no record has such a key; the id may come from an event, whose sender made it up
        with self._reached():
            answer = self._table.client().get_item(
                TableName=self._table.name, Key={"id": {"S": action_id}}, ConsistentRead=True
            )
        record = self._read(answer["Item"]) if "Item" in answer else None
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
        """Store that a run's report of its ending has been handled; see `Records.mark_handled`."""
        update = "SET #handled = :ending, #checkAt = :now"
        self._change_open(run_id, update, ending=ending, now=written(clock.now()))

    def unfollow(self, run_id: str) -> None:
        """Stop following a run, and take it out of its tenant's lock; see `Records.unfollow`."""
        was_followed, before = self._change_open(run_id, "REMOVE #openJob, #checkAt")
        if not was_followed or not before or not self._locks_tenants:
            return
        record = self._read(before)
        if record.state is State.DONE and record.job is not None and record.job.tenant_id is not None:
            with suppress(Unavailable):  # the run does not hold the lock any more, whether the lock names it or not
                self._write(tenant_lock.leaving(record.job.tenant_id, run_id, record))

    def give_up(self, record: Record) -> bool:
        """Stop following a run that was not found; see `Records.give_up`."""
        condition = "attribute_exists(#openJob) AND attribute_not_exists(#outcome) AND #owner = :owner"
        values = {"owner": record.owner}
        is_given_up, _ = self._write(
            Change(key=record.id, condition=condition, values=values, update="REMOVE #openJob, #checkAt")
        )
        return is_given_up

    def due(self) -> Iterator[Sequence[Record]]:
        """Read the records of the followed runs whose check is due; see `Records.due`.

        Each sequence is one page of at most a hundred records. If a record cannot be read or has no job, an error is
        logged, and the page does not contain the record.

        Raises:
            ConfigurationError: The index `open-jobs` does not exist, or the function may not read it.
        """
        request: dict[str, Any] = {
            "TableName": self._table.name,
            "IndexName": OPEN_JOBS,
            "KeyConditionExpression": "openJob = :open AND checkAt <= :now",
            "ExpressionAttributeValues": {":open": {"S": OPEN}, ":now": {"S": written(clock.now())}},
            "Limit": _PAGE,
        }
        while True:
            with aws_errors(
                f"open jobs could not be read from table {self._table.name}; it needs the index {OPEN_JOBS}"
            ):
                answer = self._table.client().query(**request)
            yield list(filter(None, map(self._open_job, answer["Items"])))
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def postpone(self, record: Record) -> None:
        """Postpone the next check of a run; see `Records.postpone`."""
        self._change_open(record.id, "SET #checkAt = :at", at=written(clock.now() + record.pause))

    def adopt(self, record: Record, outcome: Outcome) -> None:
        """Store the outcome of starting a job, after a search has found the job's run; see `Records.adopt`."""
        self._change_open(record.id, "SET #outcome = :outcome", outcome=outcome)

    def _read(self, item: Item) -> Record:
        return self._converted(from_item, item)

    def _converted(self, convert: Callable[[Item], ConvertedT], item: Item) -> ConvertedT:
        try:
            return convert(item)
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
        with self._reached():
            found = self._table.change(change)
        return (False, found.item) if isinstance(found, Refused) else (True, found)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turn every error that a request to the table raises into an `Unavailable`, so that the event is retried.

        A permanent error would not be retried. Instead, the function would publish that the tenant's operation failed,
        although the operation's job may be running.
        """
        try:
            with aws_errors(f"the ledger's record in table {self._table.name} could not be read or written"):
                yield
        except Unavailable:
            raise
        except OrchestratorError as error:
            raise Unavailable(str(error)) from None


def _expecting(before: Record | None, claim: Change) -> Change:
    """Return a copy of a claim that succeeds only if the ledger still has the record `before`.

    If `before` is `None`, the claim succeeds only if the ledger has no record of the action.
    """
    values = {name: value for name, value in claim.values.items() if name not in ("free", "now")}
    if before is None:
        return replace(claim, condition="attribute_not_exists(#state)", values=values)
    seen = {"seenOwner": before.owner, "seenState": before.state, "seenExpiration": before.expiration}
    return replace(
        claim,
        condition="#owner = :seenOwner AND #state = :seenState AND #expiration = :seenExpiration",
        values={**values, **seen},
    )
