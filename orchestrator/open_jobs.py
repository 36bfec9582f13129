"""The jobs that were started and have not been reported: kept with the records of what was done."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError

from orchestrator import aws, telemetry
from orchestrator.builders import StartedJob
from orchestrator.errors import InvalidEvent, shown
from orchestrator.idempotency import record_key
from orchestrator.limits import MAX_ITEM_BYTES
from orchestrator.tenants import written

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

INDEX = "open-jobs"
"""Index of the table of records: its keys are `openJob` and `checkAt`, and it has `job` and `data` with them."""

FIRST_CHECK = timedelta(minutes=5)
"""How long after its start a job is asked after for the first time."""

_OPEN = "open"
_PAGE = 100
# DynamoDB answers the first where a table lacks an index; emulations, the second.
_NO_INDEX = ("ValidationException", "ResourceNotFoundException")
# Room for the other attributes of the record: its key, times and the outcome, which repeats the job's name.
_OTHER_BYTES = 8 * 1024
_LONGEST_PAUSE = timedelta(hours=1)


def now() -> datetime:
    """Give the time.

    Returns:
        Now, in UTC.
    """
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenJob:
    """A job to ask after.

    Attributes:
        key: Key of its record.
        job: The job; its `id` is empty where its start ended in doubt.
    """

    key: str
    job: StartedJob

    @property
    def age(self) -> timedelta:
        """How long ago the job was asked for."""
        return now() - self.job.since


class OpenJobs(Protocol):
    """Where the jobs are kept that were started and have not been reported."""

    def off(self) -> str | None:
        """Say why jobs cannot be followed.

        Returns:
            The reason, or `None` where they can.
        """
        ...

    def note(self, job: StartedJob) -> Mapping[str, Any]:
        """Make what the record of a start is to hold from before the job is started.

        Args:
            job: The job.

        Returns:
            Attributes of the record.

        Raises:
            InvalidEvent: They are too large for a record.
        """
        ...

    def due(self) -> Iterator[Sequence[OpenJob]]:
        """Give the jobs that are to be asked after, those that have waited longest first.

        Yields:
            At most a hundred at a time.

        Raises:
            ConfigurationError: They cannot be read.
            Unavailable: They cannot be read just now.
        """
        ...

    def postpone(self, job: OpenJob) -> None:
        """Ask after a job again later: the longer it runs already, the later.

        Args:
            job: The job.
        """
        ...

    def remember(self, job: OpenJob, run: str) -> None:
        """Keep the build system's name for a run whose start had ended in doubt.

        Args:
            job: The job.
            run: The run's id.
        """
        ...

    def close(self, run_id: str) -> str | None:
        """Note that a job has been reported; one that is not kept is none to close.

        Args:
            run_id: The job's run id.

        Returns:
            Why nothing was noted; `None` where it was.
        """
        ...


class NoOpenJobs:
    """Keeps nothing: what a function without `IDEMPOTENCY_TABLE` has."""

    _WHY = "IDEMPOTENCY_TABLE is not set, so nobody keeps which jobs were started"

    def off(self) -> str | None:
        """Say that there is no table; see `OpenJobs.off`."""
        return self._WHY

    def note(self, job: StartedJob) -> Mapping[str, Any]:
        """Note nothing; see `OpenJobs.note`."""
        return {}

    def due(self) -> Iterator[Sequence[OpenJob]]:
        """Give none; see `OpenJobs.due`."""
        return iter(())

    def postpone(self, job: OpenJob) -> None:
        """Do nothing; see `OpenJobs.postpone`."""

    def remember(self, job: OpenJob, run: str) -> None:
        """Do nothing; see `OpenJobs.remember`."""

    def close(self, run_id: str) -> str | None:
        """Note nothing and say why; see `OpenJobs.close`."""
        return self._WHY


class DynamoDBOpenJobs:
    """Keeps them in the table of the records of what was done, at no request of its own while jobs are started."""

    def __init__(self, table: str, client: "Callable[[], DynamoDBClient]") -> None:
        """Keep what is needed for the first request; nothing is sent yet.

        Args:
            table: The table's name; its key is `id`, and it has the index `open-jobs`.
            client: Gives the DynamoDB client.
        """
        self._table = table
        self._client = client
        self._off: str | None = None

    def off(self) -> str | None:
        """Say that the table has no index, once that is known; see `OpenJobs.off`."""
        return self._off

    def note(self, job: StartedJob) -> Mapping[str, Any]:
        """Make the attributes that the index reads; see `OpenJobs.note`."""
        kept = {name: value for name, value in asdict(job).items() if name != "id"}
        note = {"openJob": _OPEN, "checkAt": written(now() + FIRST_CHECK), "job": {**kept, "since": written(job.since)}}
        size = aws.item_bytes(aws.to_item(note))
        if size > MAX_ITEM_BYTES - _OTHER_BYTES:
            raise InvalidEvent(
                f"job {shown(job.name)} cannot be followed: the names in its record (of job, event and tenant) have "
                f"{size:,} bytes, and a DynamoDB item has at most {MAX_ITEM_BYTES:,}; correct the event"
            )
        return note

    def due(self) -> Iterator[Sequence[OpenJob]]:
        """Query the index, a page at a time; see `OpenJobs.due`."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": INDEX,
            "KeyConditionExpression": "openJob = :open AND checkAt <= :now",
            "ExpressionAttributeValues": {":open": {"S": _OPEN}, ":now": {"S": written(now())}},
            "Limit": _PAGE,
        }
        while True:
            with aws.errors(f"open jobs could not be read from table {self._table}"):
                try:
                    answer = self._client().query(**request)
                except ClientError as error:
                    if error.response.get("Error", {}).get("Code") not in _NO_INDEX:
                        raise
                    self._off = (
                        f"table {self._table} has no index {INDEX} (keys openJob and checkAt, with job and data)"
                    )
                    return
            self._off = None
            yield list(filter(None, map(self._open_job, map(aws.from_item, answer["Items"]))))
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def postpone(self, job: OpenJob) -> None:
        """Move the time of the next check; see `OpenJobs.postpone`."""
        pause = min(max(FIRST_CHECK, job.age / 4), _LONGEST_PAUSE)
        self._update(job.key, "SET checkAt = :next", {":next": {"S": written(now() + pause)}})

    def remember(self, job: OpenJob, run: str) -> None:
        """Put the run's id beside the rest; see `OpenJobs.remember`."""
        self._update(job.key, "SET job.id = :id", {":id": {"S": run}})

    def close(self, run_id: str) -> str | None:
        """Take the job out of the index; see `OpenJobs.close`."""
        self._update(record_key(run_id), "REMOVE openJob, checkAt", {})
        return None

    def _update(self, key: str, expression: str, values: Mapping[str, Any]) -> None:
        request: dict[str, Any] = {
            "TableName": self._table,
            "Key": {"id": {"S": key}},
            "UpdateExpression": expression,
            "ConditionExpression": "attribute_exists(openJob)",
        }
        if values:
            request["ExpressionAttributeValues"] = values
        with aws.errors(f"an open job could not be changed in table {self._table}"):
            try:
                self._client().update_item(**request)
            except ClientError as error:
                if not aws.is_condition_failure(error):
                    raise

    def _open_job(self, item: Mapping[str, Any]) -> OpenJob | None:
        try:
            # The record's answer is there once the job was started without a doubt.
            outcome = json.loads(item.get("data") or "{}")
            kept = {"id": "", **item["job"]}
            fields = {field.name: kept[field.name] for field in dataclasses.fields(StartedJob)}
            since = datetime.fromisoformat(fields["since"])
            return OpenJob(
                key=item["id"],
                job=StartedJob(**{**fields, "since": since, "id": outcome.get("id") or fields["id"]}),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # Out of the way, or a hundred of them would keep all others from being seen.
            later = {":next": {"S": written(now() + _LONGEST_PAUSE)}}
            self._update(item["id"], "SET checkAt = :next", later)
            telemetry.logger.error(
                f"open job {item['id']} in table {self._table} cannot be read ({type(error).__name__}): another "
                "version of this package wrote it; deploy that one again, or remove its attribute openJob"
            )
            return None
