"""Provides the emulated services, queues and clock with which `orchestrator invoke --follow` handles events."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from orchestrator.aws import items
from orchestrator.aws.clients import Clients
from orchestrator.ledger.record import OPEN, OPEN_JOB, OPEN_JOBS
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.environment import Surroundings, with_build_systems
from orchestrator.local.http_server import Request
from orchestrator.local.movable_clock import MovableClock, movable
from orchestrator.local.recorder import Recording, recorded
from orchestrator.local.step_functions import StepFunctionsServer
from orchestrator.local.waiting_queue import EmulatedQueue, without_delays
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


class World:
    """The emulated services, queues and clock.

    Attributes:
        region: The function's region.
        jenkins: The emulated Jenkins.
        codebuild: The emulated CodeBuild.
        step_functions: The emulated Step Functions.
        waiting_queue: The queue in which events wait until their jobs can be started.
        failure_queue: The queue of messages that could not be handled.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        codebuild: CodeBuildServer,
        step_functions: StepFunctionsServer,
        recording: Recording,
        clock: MovableClock,
    ) -> None:
        """Store the arguments, and read the settings from the environment variables that the emulation has set."""
        settings, clients = Settings.from_environment(), Clients()
        sqs = clients.get("sqs", settings.aws_region)
        self.region = sqs.meta.region_name
        self.jenkins = surroundings.jenkins
        self.codebuild = codebuild
        self.step_functions = step_functions
        self.waiting_queue = EmulatedQueue(settings.waiting_queue_url or "", sqs)
        self.failure_queue = EmulatedQueue(settings.failure_queue_url or "", sqs)
        self._control_plane = surroundings.control_plane
        self._recording = recording
        self._clock = clock
        self._settings = settings
        self._dynamodb: DynamoDBClient = clients.get("dynamodb", settings.dynamo_db_region or settings.aws_region)

    def jobs(self) -> set[str]:
        """Return the names of the jobs on all build systems."""
        return self.codebuild.projects | self.jenkins.jobs.keys() | self.step_functions.machines.keys()

    def advance(self, time: timedelta) -> None:
        """Move the clocks of the function and of the build systems forward."""
        self._clock.advance(time)
        self.codebuild.advance(time.total_seconds())
        self.step_functions.advance(time.total_seconds())
        self.jenkins.advance(time.total_seconds())

    def time_until_check(self) -> timedelta | None:
        """Return the time until the next check of an unfinished run is due.

        The time is zero if the check is overdue. It is `None` if there is no unfinished run to check.
        """
        answer = self._dynamodb.query(
            TableName=self._settings.idempotency_table or "",
            IndexName=OPEN_JOBS,
            KeyConditionExpression=f"{OPEN_JOB} = :open",
            ExpressionAttributeValues={":open": {"S": OPEN}},
            Limit=1,  # the index is sorted by the time of the next check
        )
        due = [datetime.fromisoformat(item["checkAt"]["S"]) for item in answer["Items"]]
        return max(timedelta(), due[0] - self._clock.now()) if due else None

    def tenant_record(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Read a tenant's record. Return `None` if there is none."""
        table = self._settings.data_store_table or ""
        item = self._dynamodb.get_item(TableName=table, Key={"tenantId": {"S": tenant_id}}).get("Item")
        return None if item is None else items.from_item(item)

    def take_published(self) -> Sequence[Mapping[str, Any]]:
        """Return the entries of the PutEvents requests that were sent since the last call of this method."""
        published = list(self._recording.published)
        self._recording.clear()
        return published

    def take_callbacks(self) -> Sequence[tuple[Request, bool]]:
        """Return the callbacks that were received since the last call of this method.

        Returns:
            A pair for each callback: the request, and whether the control plane accepted it.
        """
        requests, accepted = list(self._control_plane.requests), list(self._control_plane.accepted)
        self._control_plane.requests.clear()
        self._control_plane.accepted.clear()
        callbacks = []
        for request in requests:
            is_accepted = bool(accepted) and accepted[0] == json.loads(request.body)
            if is_accepted:
                accepted.pop(0)
            callbacks.append((request, is_accepted))
        return callbacks


@contextmanager
def emulated(jobs: Sequence[str] = ()) -> Iterator[World]:
    """Emulate the services, queues and clock for the duration of the `with` block.

    Args:
        jobs: Names of jobs to create besides those of the sample tiers; see `environment.embedded`.

    Raises:
        ConfigurationError: moto is not installed, or a setting in the environment is invalid.
    """
    # The hooks of the first two are only in clients that are created later.
    with recorded() as recording, without_delays(), movable() as clock, with_build_systems(jobs) as emulation:
        yield World(*emulation, recording, clock)
