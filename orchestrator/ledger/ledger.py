"""One record for each action, so that it is performed once, and for each job until it has ended.

An action is claimed before it is performed and settled after. A claim is a lock until `lockedUntil`, beyond which its
holder does not act any more; then another delivery may take it over, and is told so, since
the holder may have acted before it was killed. `tests/test_ledger_model.py` goes through everything that two
deliveries can do to each other.
"""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from orchestrator import telemetry
from orchestrator.action import Outcome, repeated
from orchestrator.aws import items
from orchestrator.aws.errors import aws_errors
from orchestrator.errors import OrchestratorError, Unavailable, is_certain
from orchestrator.job import StartedJob
from orchestrator.ledger.record import (
    LONGEST_PAUSE,
    OPEN,
    OPEN_JOBS,
    UNREADABLE,
    Ending,
    Record,
    expiration,
    from_item,
    job_attributes,
    latest_free_lock,
    milliseconds,
    seconds,
)
from orchestrator.timing import clock, deadline
from orchestrator.timing.clock import written
from orchestrator.values.limits import MAX_KEY_BYTES

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

MAX_ACTION_SECONDS = 50.0
"""How long one action may take, and so its lock last: shorter than Lambda waits before its first retry."""

_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What whoever performs an action may need to know.

    Attributes:
        is_retry: Whether an earlier attempt is known of, whose end is not.
        since: When that attempt asked for its job; `None` where there is no such attempt.
    """

    is_retry: bool = False
    since: datetime | None = None


Performance = Callable[[Claim], Outcome]
"""Performs an action."""


class Ledger:
    """Keeps the records in a DynamoDB table.

    Attributes:
        memory: How long an action is remembered by all environments; `None` where each remembers only its own.
    """

    memory: timedelta | None

    def __init__(self, table: str, client: "Callable[[], DynamoDBClient]", memory: timedelta) -> None:
        """Keep what is needed for the first action; nothing is sent yet.

        Args:
            table: The table's name: its key is `id`, its TTL attribute `expiration`, and it has the index `open-jobs`.
            client: Gives the DynamoDB client.
            memory: How long an action is remembered.
        """
        self.memory = memory
        self._table = table
        self._client = client

    def perform(
        self, action_id: str, what: str, act: Performance, job: StartedJob | None = None, *, follow: bool = False
    ) -> Outcome:
        """Perform an action, unless that has been done.

        Args:
            action_id: The action's identity.
            what: What is not done if this fails, as the beginning of messages.
            act: Performs it. What it does after its time is up (`deadline.seconds_left`) may be done twice.
            job: The job that it starts.
            follow: Whether somebody is to ask how that job ends; noted before it is started.

        Returns:
            The outcome: of this performance, or, with a status that says so, of the earlier one.

        Raises:
            Unavailable: Another delivery is performing the action, or its record cannot be kept.
            Exception: What `act` raises.
        """
        owner = secrets.token_hex(8)
        with deadline.within(MAX_ACTION_SECONDS):
            locked_for = timedelta(seconds=deadline.seconds_left() + deadline.MARGIN_SECONDS)
            locked_until = milliseconds(clock.now() + locked_for) + 1
            with _failing_as(what):
                is_mine, before = self.claim(action_id, owner, locked_until, job, follow=follow)
            if not is_mine:
                if before is not None and before.state == "done":
                    return repeated(before.outcome or _started(before.job))
                raise Unavailable(
                    f"{what}: another delivery of the event is at it; it will be retried", ambiguous=False
                )
            is_retry = before is not None and before.first_owner != owner
            since = before.job.since if before is not None and before.job is not None else None
            try:
                outcome = act(Claim(is_retry=is_retry, since=since if is_retry else None))
            except Exception as error:
                # A lock that was taken over is the only trace of the attempt before, and after a failure in doubt it
                # is the only thing that keeps another delivery from acting at the same time.
                if is_certain(error) and not is_retry:
                    self._give_up(action_id, owner)
                raise
        if outcome["status"] in ("skipped", "superseded"):  # nothing was done, and the next time it may be
            if not is_retry:
                self._give_up(action_id, owner)
            return outcome
        with _failing_as(what):
            if not self.settle(action_id, owner, outcome):
                raise Unavailable("it took so long that another delivery has taken over; it will be retried")
        return outcome

    def _give_up(self, action_id: str, owner: str) -> None:
        try:
            self.release(action_id, owner)
        except OrchestratorError as error:  # why the action failed matters more, and a lock has an end
            telemetry.logger.info(str(error))

    def claim(
        self, action_id: str, owner: str, locked_until: int, job: StartedJob | None = None, *, follow: bool = False
    ) -> tuple[bool, Record | None]:
        """Claim an action that nobody has claimed, or whose lock or record has run out; in one request.

        Args:
            action_id: The action's identity.
            owner: Who claims it.
            locked_until: Until when it is to be locked, in milliseconds since 1970.
            job: The job that it starts.
            follow: Whether somebody is to ask how that job ends.

        Returns:
            Whether it is claimed now, and the record as it was before. A claim that is repeated because its answer
            got lost finds itself there.

        Raises:
            Unavailable: The table was not reached.
        """
        new = {
            "state": "claimed",
            "owner": owner,
            "lockedUntil": locked_until,
            "expiration": expiration(self.memory),
        }
        kept = {"firstOwner": owner, **job_attributes(job, follow=follow)}
        assigned = [f"#{name} = :{name}" for name in new]
        assigned += [f"#{name} = if_not_exists(#{name}, :{name})" for name in kept]
        is_mine, before = self._write(
            "update_item",
            action_id,
            "attribute_not_exists(#state) OR #expiration < :now OR (#state = :state AND "
            "(#owner = :owner OR (#lockedUntil < :free AND #firstOwner <> :owner)))",  # as `Record.may_be_claimed`
            {**new, **kept, "free": latest_free_lock(), "now": seconds(clock.now())},
            UpdateExpression=f"SET {', '.join(assigned)} REMOVE #outcome, #ending",
        )
        return is_mine, self._read(before) if before else None

    def settle(self, action_id: str, owner: str, outcome: Outcome) -> bool:
        """Keep an action's outcome, if it is still its owner's; says whether it is."""
        is_mine, _ = self._write(
            "update_item",
            action_id,
            "#owner = :owner",
            {"done": "done", "owner": owner, "outcome": outcome, "expiration": expiration(self.memory)},
            UpdateExpression="SET #state = :done, #outcome = :outcome, #expiration = :expiration",
        )
        return is_mine

    def release(self, action_id: str, owner: str) -> None:
        """Give a claim up, as if it had never been, if it is still its owner's."""
        condition = "#owner = :owner AND #state = :claimed"
        self._write("delete_item", action_id, condition, {"owner": owner, "claimed": "claimed"})

    def read(self, action_id: str) -> Record | None:
        """Read a record; `None` where there is none, or it has expired."""
        if len(action_id.encode()) > MAX_KEY_BYTES:
            return None  # of what somebody sent, perhaps
        with self._kept():
            answer = self._client().get_item(TableName=self._table, Key={"id": {"S": action_id}}, ConsistentRead=True)
        record = self._read(answer["Item"]) if "Item" in answer else None
        return None if record is None or record.is_expired else record

    def close(self, run_id: str, ending: Ending, *, unfollow: bool = True) -> Ending | None:
        """Note how a run has ended: nothing claims it again.

        A failure is not taken back by a success: a run may fail after it told of a success, and not the other way
        round.

        Args:
            run_id: The run id.
            ending: How it ended.
            unfollow: Whether nobody is to ask after it any more.

        Returns:
            How it had ended by what was known before.
        """
        condition = "attribute_exists(#job)" + (" AND attribute_not_exists(#ending)" if ending == "SUCCESS" else "")
        _, before = self._write(
            "update_item",
            run_id,
            condition,
            {"done": "done", "ending": ending},
            UpdateExpression="SET #state = :done, #ending = :ending"
            + (" REMOVE #openJob, #checkAt" if unfollow else ""),
        )
        return self._read(before).ending if before else None

    def unfollow(self, run_id: str) -> None:
        """Ask no more after a job."""
        self._change_open(run_id, "REMOVE #openJob, #checkAt")

    def due(self) -> Iterator[Sequence[Record]]:
        """Give the jobs that are to be asked after, those that have waited longest first.

        Yields:
            At most a hundred at a time.

        Raises:
            ConfigurationError: They cannot be read.
            Unavailable: They cannot be read just now.
        """
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": OPEN_JOBS,
            "KeyConditionExpression": "openJob = :open AND checkAt <= :now",
            "ExpressionAttributeValues": {":open": {"S": OPEN}, ":now": {"S": written(clock.now())}},
            "Limit": _PAGE,
        }
        while True:
            what = f"open jobs could not be read from table {self._table}; it needs the index {OPEN_JOBS}"
            with aws_errors(what):
                answer = self._client().query(**request)
            yield list(filter(None, map(self._open_job, answer["Items"])))
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def postpone(self, record: Record) -> None:
        """Ask after a job again later; see `Record.pause`."""
        self._change_open(record.id, "SET #checkAt = :at", at=written(clock.now() + record.pause))

    def adopt(self, record: Record, run: str) -> None:
        """Keep the build system's name for a run whose start had ended in doubt."""
        self._change_open(record.id, "SET #job.#id = :id", id=run)

    def _read(self, item: Mapping[str, Any]) -> Record:
        try:
            return from_item(item)
        except UNREADABLE as error:
            raise Unavailable(
                f"its record {item.get('id')} in table {self._table} cannot be read ({type(error).__name__}): another "
                "version of this package, or a person, wrote it; deploy that version again, or delete the record"
            ) from None

    def _open_job(self, item: Mapping[str, Any]) -> Record | None:
        try:
            record = self._read(item)
            if record.job is not None:
                return record
            why = "it names no job"
        except Unavailable as error:
            why = str(error)
        # Out of the way, or a hundred of them would keep all others from being seen.
        self._change_open(item["id"]["S"], "SET #checkAt = :at", at=written(clock.now() + LONGEST_PAUSE))
        telemetry.logger.error(f"open job {item['id']['S']} is not asked after: {why}")
        return None

    def _change_open(self, run_id: str, expression: str, **values: Any) -> None:
        self._write("update_item", run_id, "attribute_exists(#openJob)", values, UpdateExpression=expression)

    def _write(
        self, operation: str, action_id: str, condition: str, values: Mapping[str, Any], **request: str
    ) -> tuple[bool, Mapping[str, Any] | None]:
        """Write a record if the condition holds; gives whether it does, and the record as it was before.

        Expressions have the attributes' own names, as `#name`, and the names of the values, as `:name`.
        """
        names = re.findall(r"#(\w+)", " ".join((condition, *request.values())))
        given = {"ExpressionAttributeValues": {f":{name}": value for name, value in items.to_item(values).items()}}
        with self._kept():
            try:
                answer = getattr(self._client(), operation)(
                    TableName=self._table,
                    Key={"id": {"S": action_id}},
                    ConditionExpression=condition,
                    ExpressionAttributeNames={f"#{name}": name for name in names},
                    ReturnValues="ALL_OLD",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    **request,
                    **(given if values else {}),
                )
            except ClientError as error:
                if not items.is_condition_failure(error):
                    raise
                refused: Any = error.response
                return False, refused.get("Item")
        return True, answer.get("Attributes")

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Raise what keeps the table from being used as `Unavailable`: no job of a tenant has failed for that."""
        try:
            with aws_errors(f"its record in table {self._table} could not be kept"):
                yield
        except Unavailable:
            raise
        except OrchestratorError as error:
            raise Unavailable(str(error)) from None


@contextmanager
def _failing_as(what: str) -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise Unavailable(f"{what}: {error}") from None


def _started(job: StartedJob | None) -> Outcome:
    """Make the outcome of a start of which only the end became known."""
    if job is None:
        return Outcome(action="unknown", status="done")
    return Outcome(action="StartJob", status="started", builder=job.builder, name=job.name)
