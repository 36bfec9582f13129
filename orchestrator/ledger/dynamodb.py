"""Keeps the ledger's records in a DynamoDB table."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from orchestrator import telemetry
from orchestrator.action import Outcome
from orchestrator.aws import items
from orchestrator.aws.errors import aws_errors
from orchestrator.errors import OrchestratorError, Unavailable
from orchestrator.job import StartedJob
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
    job_attributes,
    latest_free_lock,
    seconds,
)
from orchestrator.timing import clock
from orchestrator.timing.clock import written
from orchestrator.values.limits import MAX_KEY_BYTES

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_PAGE = 100


class DynamoDBRecords:
    """Implements `Records` with a DynamoDB table. The table's key is `id`, and its TTL attribute is `expiration`."""

    memory: timedelta | None

    def __init__(self, table: str, client: "Callable[[], DynamoDBClient]", memory: timedelta) -> None:
        """Store the arguments.

        Args:
            table: The table's name. The table needs the index `open-jobs`.
            client: Returns the DynamoDB client. It is called for each request.
            memory: How long a record is kept.
        """
        self.memory = memory
        self._table = table
        self._client = client

    def claim(
        self, action_id: str, owner: str, locked_until: int, job: StartedJob | None = None, *, follow: bool = False
    ) -> tuple[bool, Record | None]:
        """Claim an action in one atomic step, which is one conditional request; see `Records.claim`."""
        new = {
            "state": State.CLAIMED,
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
            "(#owner = :owner OR (#lockedUntil < :free AND #firstOwner <> :owner)))",  # same as `may_be_claimed`
            {**new, **kept, "free": latest_free_lock(), "now": seconds(clock.now())},
            UpdateExpression=f"SET {', '.join(assigned)} REMOVE #outcome, #ending, #handled",
        )
        return is_mine, self._read(before) if before else None

    def settle(self, action_id: str, owner: str, outcome: Outcome) -> bool:
        """Store an action's outcome, if the claim on the action still belongs to `owner`; see `Records.settle`."""
        is_mine, _ = self._write(
            "update_item",
            action_id,
            "#owner = :owner",
            {"done": State.DONE, "owner": owner, "outcome": outcome, "expiration": expiration(self.memory)},
            UpdateExpression="SET #state = :done, #outcome = :outcome, #expiration = :expiration",
        )
        return is_mine

    def release(self, action_id: str, owner: str) -> None:
        """Delete the record of an action that is not done; see `Records.release`."""
        condition = "#owner = :owner AND #state = :claimed"
        self._write("delete_item", action_id, condition, {"owner": owner, "claimed": State.CLAIMED})

    def read(self, action_id: str) -> Record | None:
        """Read an action's record; see `Records.read`."""
        if len(action_id.encode()) > MAX_KEY_BYTES:
            return None  # no key is that long; the id may come from an event, whose sender made it up
        with self._reached():
            answer = self._client().get_item(TableName=self._table, Key={"id": {"S": action_id}}, ConsistentRead=True)
        record = self._read(answer["Item"]) if "Item" in answer else None
        return None if record is None or record.is_expired else record

    def close(self, run_id: str, ending: EndingStatus) -> EndingStatus | None:
        """Store how a run ended; see `Records.close`."""
        condition = "attribute_exists(#job)" + (
            " AND attribute_not_exists(#ending)" if ending is EndingStatus.SUCCESS else ""
        )
        _, before = self._write(
            "update_item",
            run_id,
            condition,
            {"done": State.DONE, "ending": ending, "at": written(first_check())},
            UpdateExpression="SET #state = :done, #ending = :ending, #checkAt = :at",
        )
        return self._read(before).ending if before else None

    def mark_handled(self, run_id: str) -> None:
        """Store that a run's report of its ending has been handled; see `Records.mark_handled`."""
        self._change_open(run_id, "SET #handled = :yes, #checkAt = :now", yes=True, now=written(clock.now()))

    def unfollow(self, run_id: str) -> None:
        """Stop following a run; see `Records.unfollow`."""
        self._change_open(run_id, "REMOVE #openJob, #checkAt")

    def due(self) -> Iterator[Sequence[Record]]:
        """Read the records of the followed runs whose check is due; see `Records.due`.

        A page has at most a hundred records. If a record cannot be read or has no job, an error is logged and the page
        leaves the record out.

        Raises:
            ConfigurationError: The index `open-jobs` does not exist, or the function may not read it.
        """
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": OPEN_JOBS,
            "KeyConditionExpression": "openJob = :open AND checkAt <= :now",
            "ExpressionAttributeValues": {":open": {"S": OPEN}, ":now": {"S": written(clock.now())}},
            "Limit": _PAGE,
        }
        while True:
            with aws_errors(f"open jobs could not be read from table {self._table}; it needs the index {OPEN_JOBS}"):
                answer = self._client().query(**request)
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

    def _read(self, item: Mapping[str, Any]) -> Record:
        try:
            return from_item(item)
        except UNREADABLE as error:
            raise Unavailable(
                f"record {item.get('id')} in table {self._table} cannot be read ({type(error).__name__}): another "
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
        # The check is postponed, because otherwise a hundred such records would fill the first page of every sweep.
        self._change_open(item["id"]["S"], "SET #checkAt = :at", at=written(clock.now() + LONGEST_PAUSE))
        telemetry.logger.error(f"open job {item['id']['S']} is not followed: {why}")
        return None

    def _change_open(self, run_id: str, expression: str, **values: Any) -> None:
        self._write("update_item", run_id, "attribute_exists(#openJob)", values, UpdateExpression=expression)

    def _write(
        self, operation: str, action_id: str, condition: str, values: Mapping[str, Any], **request: str
    ) -> tuple[bool, Mapping[str, Any] | None]:
        """Write or delete an action's record if a condition holds.

        In `condition` and in the expressions of `request`, the placeholder `#x` stands for the record's attribute `x`,
        and `:x` stands for `values["x"]`.

        Args:
            operation: The client's method: `update_item` or `delete_item`.
            condition: The condition expression.
            values: The values that the expressions use, by name.
            request: Further arguments of the method, such as `UpdateExpression`.

        Returns:
            Whether the condition held; and the record as it was before the request, or `None` if there was none.
        """
        names = re.findall(r"#(\w+)", " ".join((condition, *request.values())))
        given = {"ExpressionAttributeValues": {f":{name}": value for name, value in items.to_item(values).items()}}
        with self._reached():
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
    def _reached(self) -> Iterator[None]:
        """Turn every error that a request to the table raises into an `Unavailable`, so that the event is retried.

        A permanent error would not be retried. Instead, the function would publish that the tenant's operation failed,
        although the operation's job may be running.
        """
        try:
            with aws_errors(f"the ledger's record in table {self._table} could not be read or written"):
                yield
        except Unavailable:
            raise
        except OrchestratorError as error:
            raise Unavailable(str(error)) from None
