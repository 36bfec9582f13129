"""How runs ended: which reports of that are believed, and the event that tells it, once for each run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from orchestrator import telemetry
from orchestrator.action import Outcome, PublishEvent, ReportJob
from orchestrator.builders.known import KnownBuilders
from orchestrator.details import find_tenant_id
from orchestrator.errors import (
    ConfigurationError,
    InvalidEvent,
    JobRejected,
    OrchestratorError,
    Unavailable,
    blamed,
    shown,
)
from orchestrator.event import Event, EventType
from orchestrator.job import Job, Result, Run, StartedJob
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.record import Record
from orchestrator.performers.publish_event import EventBus
from orchestrator.run import (
    EVENT_ID_VARIABLE,
    EVENT_TYPE_VARIABLE,
    FAILURE_SUFFIX,
    REFERENCE_SOURCES,
    RUN_ID_VARIABLE,
    SUCCESS_SUFFIX,
    TENANT_ID_VARIABLE,
    ending_id,
    named_run,
    published_mark,
    reported_run,
)

_HAS_FAILED = "that run has failed, by a report before this one"


class NotOurs(Exception):
    """An event tells of a run that is none of this function's, or tells something else of it than is known."""


class Endings:
    """Knows how runs ended: from their events, and by asking the build systems."""

    def __init__(self, builders: KnownBuilders, bus: EventBus, ledger: Ledger, *, require_run_id: bool = False) -> None:
        self._builders = builders
        self._bus = bus
        self._ledger = ledger
        self._require_run_id = require_run_id
        self._has_told = False

    @property
    def cannot_know(self) -> str | None:
        """Why it is not known which runs are this function's; `None` where it is."""
        if self._ledger.memory is None:
            return "IDEMPOTENCY_TABLE is not set, so nobody keeps which jobs were started"
        return None

    def admit(self, event: Event[Mapping[str, Any]]) -> Event[Mapping[str, Any]]:
        """Believe an event that tells how a run ended, or follows from that, and note the end; any other passes.

        The run is asked after until `finish`: what the event tells may still be refused by its consumers.

        Args:
            event: Any event.

        Returns:
            The event. Of a run that is known it has the start, and the record's own run id, event, type and tenant.

        Raises:
            NotOurs: The ledger knows no such run, or knows something else of it.
            InvalidEvent: The event names no run, and `REQUIRE_RUN_ID` is set.
            Unavailable: The ledger cannot be asked.
        """
        is_follow_up = event.type == EventType.TENANT_DEPLOYMENT
        if not is_follow_up and not event.type.endswith((SUCCESS_SUFFIX, FAILURE_SUFFIX)):
            return event
        run_id = named_run(event)
        if run_id is None:
            self._check_sender(event)
            return event
        record = self._ledger.read(run_id)
        if record is None and self.cannot_know:
            return event
        if is_follow_up:
            return replace(event, start=_succeeded(record, event).start)
        has_failed = event.type.endswith(FAILURE_SUFFIX) or event.detail.get("CODEBUILD_BUILD_SUCCEEDING") == "0"
        job = _checked(record, event)
        if record is not None and record.ending == "FAILURE" and not has_failed:
            raise NotOurs(_HAS_FAILED)
        self._close(job, succeeded=not has_failed, unfollow=False)
        return replace(event, detail={**event.detail, **_own_variables(job, event.detail)}, start=job.start)

    def finish(self, event: Event[Mapping[str, Any]]) -> None:
        """Ask no more after a run of whose end an event tells that every consumer is through with."""
        run_id = reported_run(event)
        if run_id is not None and event.start is not None:
            self._ledger.unfollow(run_id)

    def _check_sender(self, event: Event[Mapping[str, Any]]) -> None:
        """Refuse a report that names no run, unless this function sent it of a job that it could not start."""
        if not self._require_run_id:
            return
        mark = published_mark(event.source, event.resources)
        sent = None if mark is None else self._ledger.read(mark.rpartition(":")[2])
        if sent is None:
            raise InvalidEvent(
                f"{shown(event.type)} event {shown(event.id)}: detail.{RUN_ID_VARIABLE} is missing, and REQUIRE_RUN_ID "
                "is set; have the job send its variable, or unset REQUIRE_RUN_ID"
            )

    def report(self, action: ReportJob, at: datetime) -> Outcome:
        """Ask how a job ended of which somebody says that it did, and publish that.

        Args:
            action: What is said.
            at: When.

        Returns:
            The outcome of the publishing; `ignored` where the ledger knows no such run.

        Raises:
            Unavailable: The build system could not be asked, or says that the job is still running.
            ConfigurationError: The build system is not known, or does not tell how jobs end.
        """
        cannot_know = self.cannot_know
        if cannot_know:
            if not self._has_told:
                self._has_told = True
                telemetry.logger.warning(f"state changes of builds are ignored: {cannot_know}")
            return Outcome(action="ReportJob", status="skipped", name=action.name, reason=cannot_know)
        record = self._ledger.read(action.run_id)
        if record is None or not _is_told_of(record, action):
            reason = f"the ledger has no run {shown(action.run_id)} of that build, job and tenant"
            return Outcome(action="ReportJob", status="ignored", name=action.name, reason=reason)
        job = replace(record.started_job, id=action.build)
        result = self.results(job.builder, [job]).get(job.run_id)
        if result is not None and result.is_gone and action.result is not None:
            result = action.result
        if result is None:
            raise Unavailable(
                f"the end of job {shown(job.name)} was not published: it has none yet, says its build system; it will "
                "be retried",
                ambiguous=False,
            )
        if record.ending == "FAILURE" and result.succeeded:
            return Outcome(action="ReportJob", status="ignored", name=action.name, reason=_HAS_FAILED)
        return self.publish(job, result, at)

    def find(self, job: StartedJob) -> Run | None:
        """Ask a build system for a run whose start ended in doubt.

        Args:
            job: The job.

        Returns:
            The run; `None` where it was certainly never started.

        Raises:
            OrchestratorError: It cannot be asked, or cannot tell.
        """
        builder = self._builders.get(job.builder, job.name)
        try:
            run = builder.find(Job(name=job.name, run_id=job.run_id, since=job.since, variables={}))
        except JobRejected:
            return None  # of a job that is not there no run can be
        except OrchestratorError:
            raise
        except Exception as error:
            raise blamed(f"builder {shown(job.builder)}", type(builder).__module__, error) from error
        return run if isinstance(run, Run) else None

    def results(self, builder_name: str, jobs: Sequence[StartedJob]) -> Mapping[str, Result]:
        """Ask a build system how jobs of one name ended.

        Args:
            builder_name: The build system.
            jobs: The jobs.

        Returns:
            How those ended that have, by run id.

        Raises:
            OrchestratorError: It cannot be asked.
        """
        builder = self._builders.get(builder_name, jobs[0].name)
        ask = getattr(builder, "results", None)
        if ask is None:
            raise ConfigurationError(
                f"builder {shown(builder_name)} does not tell how its jobs end; give it a method results"
            )
        wanted = {job.run_id for job in jobs}
        try:
            answer = dict(ask(jobs))
        except OrchestratorError:
            raise
        except Exception as error:
            raise blamed(f"builder {shown(builder_name)}", type(builder).__module__, error) from error
        return {name: result for name, result in answer.items() if name in wanted and isinstance(result, Result)}

    def publish(self, job: StartedJob, result: Result, at: datetime) -> Outcome:
        """Publish how a job ended, unless that has been done, and close it.

        Args:
            job: The job.
            result: How it ended.
            at: When that became known.

        Returns:
            The outcome of the publishing.

        Raises:
            Unavailable: The bus did not take the event, or another delivery is at it.
            ConfigurationError: The bus is set up wrongly.
        """
        action = _event(job, result)
        identity = ending_id(job.run_id)
        publish = self._bus.prepare(action, identity, job.start, at)
        outcome = self._ledger.perform(identity, f"event {shown(action.type)} was not published", publish)
        self._close(job, succeeded=result.succeeded)
        return outcome

    def _close(self, job: StartedJob, *, succeeded: bool, unfollow: bool = True) -> None:
        known = self._ledger.close(job.run_id, "SUCCESS" if succeeded else "FAILURE", unfollow=unfollow)
        if known == "SUCCESS" and not succeeded:
            telemetry.logger.error(f"run {job.run_id} of job {shown(job.name)} failed after it had told of a success")


def _checked(record: Record | None, event: Event[Mapping[str, Any]]) -> StartedJob:
    """Give the job of which an event tells, if the event knows nothing else of it than the record."""
    if record is None or record.job is None:
        raise NotOurs("the ledger knows no such run")
    job, detail = record.started_job, event.detail
    if not job.reports:
        raise NotOurs(f"job {shown(job.name)} merely runs beside another, and its end is none")
    if event.type not in (job.event_type + SUCCESS_SUFFIX, job.event_type + FAILURE_SUFFIX):
        raise NotOurs(f"that run was started for {shown(job.event_type)}")
    if find_tenant_id(detail) not in (None, job.tenant_id):
        raise NotOurs("that run is another tenant's")
    build, project = detail.get("CODEBUILD_BUILD_ID"), _last_part(job.name)
    if build is not None and job.builder == "CODE_BUILD":
        if build != job.id if job.id else not str(build).startswith(f"{project}:"):
            raise NotOurs(f"that run is another build of CodeBuild project {shown(project)}, or of another one")
    elif build is not None and job.builder == "JENKINS":
        raise NotOurs(f"that run is one of Jenkins job {shown(job.name)}")
    if job.builder == "JENKINS" and detail.get("JOB_NAME") not in (None, job.name):
        raise NotOurs(f"that run is one of Jenkins job {shown(job.name)}")
    return job


def _succeeded(record: Record | None, event: Event[Mapping[str, Any]]) -> StartedJob:
    """Give the job whose success led to an event."""
    if record is None or record.job is None:
        raise NotOurs("the ledger knows no such run")
    if find_tenant_id(event.detail) != record.job.tenant_id:
        raise NotOurs("that run is another tenant's")
    if record.ending != "SUCCESS":
        raise NotOurs("that run has not succeeded")
    return record.job


def _is_told_of(record: Record, action: ReportJob) -> bool:
    if record.job is None:
        return False
    job = record.started_job
    return (
        job.reports
        and job.id in ("", action.build)
        and (job.builder, _last_part(job.name), job.tenant_id)
        == (action.builder, _last_part(action.name), action.tenant_id)
    )


def _last_part(name: str) -> str:
    return name.rpartition(":project/")[2]


def _own_variables(job: StartedJob, detail: Mapping[str, Any]) -> dict[str, Any]:
    own = {
        RUN_ID_VARIABLE: job.run_id,
        EVENT_ID_VARIABLE: job.event_id,
        EVENT_TYPE_VARIABLE: job.event_type,
        TENANT_ID_VARIABLE: job.tenant_id,
    }
    if job.tenant_id and not detail.get("tenant"):
        own["tenant"] = json.dumps({"id": job.tenant_id})  # a Jenkins job keeps only what it declares
    return own


def _event(job: StartedJob, result: Result) -> PublishEvent:
    """Make the event that tells how a job ended, as the job itself would send it: with its variables."""
    detail: dict[str, Any] = {**result.variables, **_own_variables(job, result.variables)}
    if not result.succeeded:
        detail["reason"] = result.reason
    suffix = SUCCESS_SUFFIX if result.succeeded else FAILURE_SUFFIX
    source = REFERENCE_SOURCES + job.builder.replace("_", "").lower()
    return PublishEvent(type=job.event_type + suffix, detail=detail, source=source)
