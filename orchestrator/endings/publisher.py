"""Publishes how runs ended, once for each run."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from orchestrator import telemetry
from orchestrator.action import Outcome, OutcomeStatus, PublishEnding, PublishEvent
from orchestrator.builders.systems import BuildSystems
from orchestrator.errors import Unavailable, shown
from orchestrator.job import Ending, StartedJob
from orchestrator.ledger.ledger import Claim, Ledger, Prepared, Records
from orchestrator.ledger.record import EndingStatus, Record
from orchestrator.performers.publish_event import EventBus
from orchestrator.run import (
    EVENT_ID_VARIABLE,
    EVENT_TYPE_VARIABLE,
    FAILURE_SUFFIX,
    REFERENCE_SOURCES,
    RUN_ID_VARIABLE,
    SUCCESS_SUFFIX,
    TENANT_ID_VARIABLE,
    Origin,
    ending_id,
)

HAS_FAILED = "that run has failed, by an event before this one"

NO_RECORDS = "IDEMPOTENCY_TABLE is not set, so it is not known which jobs were started"
"""Why nothing is followed where each environment remembers only its own actions."""


class EndingPublisher:
    """Publishes endings; performs `PublishEnding`."""

    def __init__(self, systems: BuildSystems, bus: EventBus, ledger: Ledger, records: Records) -> None:
        self._systems = systems
        self._bus = bus
        self._ledger = ledger
        self._records = records
        self._has_warned = False

    def prepare(self, action: PublishEnding, origin: Origin) -> Prepared:
        """Prepare the publishing; see `Performer`."""
        return Prepared(perform=partial(self._perform, action, origin))

    def _perform(self, action: PublishEnding, origin: Origin, claim: Claim) -> Outcome:
        """Publish an ending, if the build system confirms it.

        Raises:
            Unavailable: The build system could not be reached, or the run has not ended yet.
            ConfigurationError: The builder is not known, or does not know how its runs end.
        """
        if self._records.memory is None:
            if not self._has_warned:
                self._has_warned = True
                telemetry.logger.warning(f"state changes of builds are ignored: {NO_RECORDS}")
            return _nothing(action, OutcomeStatus.SKIPPED, NO_RECORDS)
        record = self._records.read(action.run_id)
        if record is None or not _is_about(action, record):
            reason = f"the ledger has no run {shown(action.run_id)} of that build, job and tenant"
            return _nothing(action, OutcomeStatus.IGNORED, reason)
        job = replace(record.started_job, id=action.build)
        ending = self._systems.get(job.builder, job.name).endings([job]).get(job.run_id)
        if ending is not None and ending.is_gone and action.ending is not None:
            ending = action.ending
        if ending is None:
            raise Unavailable(
                f"the ending of job {shown(job.name)} was not published: its build system says that it is still "
                "running; it will be retried",
                ambiguous=False,
            )
        if record.ending is EndingStatus.FAILURE and ending.succeeded:
            return _nothing(action, OutcomeStatus.IGNORED, HAS_FAILED)
        return self.publish(job, ending, origin.time)

    def publish(self, job: StartedJob, ending: Ending, time: datetime) -> Outcome:
        """Publish how a run ended, unless that has been done, and stop following it.

        Args:
            job: The job.
            ending: How its run ended.
            time: When that became known.

        Returns:
            The outcome of the publishing.

        Raises:
            Unavailable: The bus did not take the event, or another delivery is publishing it.
            ConfigurationError: The bus is set up wrongly.
        """
        prepared = self._bus.prepare_as(_event(job, ending), ending_id(job.run_id), start=job.start, time=time)
        outcome = self._ledger.perform(prepared)
        close_run(self._records, job, succeeded=ending.succeeded)
        return outcome


def close_run(records: Records, job: StartedJob, *, succeeded: bool, unfollow: bool = True) -> None:
    """Store how a run ended, and log an error where that takes back a success.

    Args:
        records: The ledger's records.
        job: The job.
        succeeded: How its run ended.
        unfollow: Whether to stop following it.
    """
    status = EndingStatus.SUCCESS if succeeded else EndingStatus.FAILURE
    before = records.close(job.run_id, status, unfollow=unfollow)
    if before is EndingStatus.SUCCESS and not succeeded:
        telemetry.logger.error(f"run {job.run_id} of job {shown(job.name)} failed after it had published a success")


def ending_variables(job: StartedJob, detail: Mapping[str, Any]) -> dict[str, Any]:
    """Make what a detail about a job's run must hold, whoever sent it.

    Args:
        job: The job.
        detail: The detail, as far as it is known.

    Returns:
        The `ORCHESTRATOR_…` variables and, where the detail has no tenant, its id.
    """
    own = {
        RUN_ID_VARIABLE: job.run_id,
        EVENT_ID_VARIABLE: job.event_id,
        EVENT_TYPE_VARIABLE: job.event_type,
        TENANT_ID_VARIABLE: job.tenant_id or "",
    }
    if job.tenant_id and not detail.get("tenant"):
        own["tenant"] = json.dumps({"id": job.tenant_id})  # a Jenkins job keeps only what it declares
    return own


def project_name(name: str) -> str:
    """Give a CodeBuild project's name, of its name or its ARN."""
    return name.rpartition(":project/")[2]


def _is_about(action: PublishEnding, record: Record) -> bool:
    if record.job is None:
        return False
    job = record.started_job
    return (
        job.follow
        and job.id in (None, action.build)
        and (job.builder, project_name(job.name), job.tenant_id)
        == (action.builder, project_name(action.name), action.tenant_id)
    )


def _nothing(action: PublishEnding, status: OutcomeStatus, reason: str) -> Outcome:
    return Outcome(action="PublishEnding", status=status, name=action.name, reason=reason)


def _event(job: StartedJob, ending: Ending) -> PublishEvent:
    """Make the event about an ending, as the job itself would send it: with its variables."""
    detail: dict[str, Any] = {**ending.variables, **ending_variables(job, ending.variables)}
    if not ending.succeeded:
        detail["reason"] = ending.reason
    suffix = SUCCESS_SUFFIX if ending.succeeded else FAILURE_SUFFIX
    source = REFERENCE_SOURCES + job.builder.replace("_", "").lower()
    return PublishEvent(type=job.event_type + suffix, detail=detail, source=source)
