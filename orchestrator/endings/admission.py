"""Which events about the ending of a run are believed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.details import find_tenant_id
from orchestrator.endings.publisher import HAS_FAILED, close_run, ending_variables, project_name
from orchestrator.errors import InvalidEvent, shown
from orchestrator.event import Event, EventType
from orchestrator.job import StartedJob
from orchestrator.ledger.ledger import Records
from orchestrator.ledger.record import EndingStatus, Record
from orchestrator.run import (
    FAILURE_SUFFIX,
    RUN_ID_VARIABLE,
    SUCCESS_SUFFIX,
    ending_run,
    named_run,
    published_mark,
)


class UnknownRun(Exception):
    """An event is about a run that is not this function's, or contradicts what the ledger knows of it."""


class Admission:
    """Admits events about the ending of a run, and those that follow from one, by the ledger's record of the run."""

    def __init__(self, records: Records, *, require_run_id: bool = False) -> None:
        self._records = records
        self._require_run_id = require_run_id

    def admit(self, event: Event[Mapping[str, Any]]) -> Event[Mapping[str, Any]]:
        """Believe an event or refuse it, and store the ending that it brings; events about other things pass.

        The run is followed until `finish`: the event's consumers may still fail.

        Args:
            event: Any event.

        Returns:
            The event. Of a run that is known it has the start, and the record's own run id, event, type and tenant.

        Raises:
            UnknownRun: The ledger knows no such run, or contradicts the event.
            InvalidEvent: The event names no run, and `REQUIRE_RUN_ID` is set.
            Unavailable: The ledger cannot be read.
        """
        is_follow_up = event.type == EventType.TENANT_DEPLOYMENT
        if not is_follow_up and not event.type.endswith((SUCCESS_SUFFIX, FAILURE_SUFFIX)):
            return event
        run_id = named_run(event)
        if run_id is None:
            self._check_sender(event)
            return event
        record = self._records.read(run_id)
        if record is None and self._records.memory is None:
            return event
        if is_follow_up:
            return replace(event, start=_succeeded(record, event).start)
        has_failed = event.type.endswith(FAILURE_SUFFIX) or event.detail.get("CODEBUILD_BUILD_SUCCEEDING") == "0"
        job = _checked(record, event)
        if record is not None and record.ending is EndingStatus.FAILURE and not has_failed:
            raise UnknownRun(HAS_FAILED)
        close_run(self._records, job, succeeded=not has_failed, unfollow=False)
        return replace(event, detail={**event.detail, **ending_variables(job, event.detail)}, start=job.start)

    def finish(self, event: Event[Mapping[str, Any]]) -> None:
        """Stop following a run when every consumer has handled the event about its ending."""
        run_id = ending_run(event)
        if run_id is not None and event.start is not None:
            self._records.unfollow(run_id)

    def _check_sender(self, event: Event[Mapping[str, Any]]) -> None:
        """Refuse an event that names no run, unless this function published it of a job that it could not start."""
        if not self._require_run_id:
            return
        mark = published_mark(event.source, event.resources)
        sent = None if mark is None else self._records.read(mark.rpartition(":")[2])
        if sent is None:
            raise InvalidEvent(
                f"{shown(event.type)} event {shown(event.id)}: detail.{RUN_ID_VARIABLE} is missing, and REQUIRE_RUN_ID "
                "is set; have the job send its variable, or unset REQUIRE_RUN_ID"
            )


def _checked(record: Record | None, event: Event[Mapping[str, Any]]) -> StartedJob:
    """Give the job whose run an event is about, if nothing in the event contradicts the record."""
    if record is None or record.job is None:
        raise UnknownRun("the ledger knows no such run")
    job, detail = record.started_job, event.detail
    if not job.follow:
        raise UnknownRun(f"job {shown(job.name)} merely runs beside another, and its end is none")
    if event.type not in (job.event_type + SUCCESS_SUFFIX, job.event_type + FAILURE_SUFFIX):
        raise UnknownRun(f"that run was started for {shown(job.event_type)}")
    if find_tenant_id(detail) not in (None, job.tenant_id):
        raise UnknownRun("that run is another tenant's")
    build, project = detail.get("CODEBUILD_BUILD_ID"), project_name(job.name)
    if build is not None and job.builder == "CODE_BUILD":
        if build != job.id if job.id is not None else not str(build).startswith(f"{project}:"):
            raise UnknownRun(f"that run is another build of CodeBuild project {shown(project)}, or of another one")
    elif build is not None and job.builder == "JENKINS":
        raise UnknownRun(f"that run is one of Jenkins job {shown(job.name)}")
    if job.builder == "JENKINS" and detail.get("JOB_NAME") not in (None, job.name):
        raise UnknownRun(f"that run is one of Jenkins job {shown(job.name)}")
    return job


def _succeeded(record: Record | None, event: Event[Mapping[str, Any]]) -> StartedJob:
    """Give the job whose success led to an event."""
    if record is None or record.job is None:
        raise UnknownRun("the ledger knows no such run")
    if record.job.tenant_id is None or find_tenant_id(event.detail) != record.job.tenant_id:
        raise UnknownRun("that run is another tenant's")
    if record.ending is not EndingStatus.SUCCESS:
        raise UnknownRun("that run has not succeeded")
    return record.job
