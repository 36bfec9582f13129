"""Checks events about a run against the ledger's record of that run, before consumers get the events."""

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
    is_confirmed_ending,
    named_run,
    published_mark,
)


class UnknownRun(Exception):
    """Raised for an event about a run if this event must be ignored.

    There are three possible reasons: the ledger has no record of the run, the record contradicts the event, or the
    job was started with `follow=False`.
    """


class Admission:
    """Admits an event about a run only if the ledger's record of the run agrees with the event.

    Two kinds of events are about a run: events that report the run's ending, and the TENANT_DEPLOYMENT event that
    follows a successful run.
    """

    def __init__(self, records: Records, *, require_run_id: bool = False) -> None:
        self._records = records
        self._require_run_id = require_run_id

    def admit(self, event: Event[Mapping[str, Any]]) -> Event[Mapping[str, Any]]:
        """Check an event about a run, and store the run's ending if the event reports one.

        An event is returned unchanged in three cases:

        - The event is not about a run.
        - The event contains no run id. (If `REQUIRE_RUN_ID` is set, see `InvalidEvent` below.)
        - `IDEMPOTENCY_TABLE` is not set, and this Lambda environment has no record of the run. Each environment then
          keeps its own records in memory, so another environment may have the record.

        This method does not stop the sweep from checking the run, because the event's consumers may still fail. Call
        `finish` after the consumers have handled the event.

        Returns:
            The event. If the run has a record, the event's `start` (the event that began the operation) is taken from
            the record. If the event reports an ending, the `ORCHESTRATOR_…` variables in the detail are taken from the
            record, too: the run id, event id, event type and tenant id.

        Raises:
            UnknownRun: The record contradicts the event, or the run's job was started with `follow=False`, or the
                ledger has no record of the run although `IDEMPOTENCY_TABLE` is set.
            InvalidEvent: The event is about a run but contains no run id, `REQUIRE_RUN_ID` is set, and this Lambda
                function did not publish the event.
            Unavailable: The ledger cannot be read or written.
        """
        if not is_about_run(event):
            return event
        run_id = named_run(event)
        if run_id is None:
            self._check_sender(event)
            return event
        record = self._records.read(run_id)
        if record is None and self._records.memory is None:
            return event
        if event.type == EventType.TENANT_DEPLOYMENT:
            return replace(event, start=_succeeded(record, event).start)
        has_failed = _has_failed(event)
        job = _checked(record, event)
        if record is not None and record.ending is EndingStatus.FAILURE and not has_failed:
            raise UnknownRun(HAS_FAILED)
        close_run(self._records, job, succeeded=not has_failed)
        return replace(event, detail={**event.detail, **ending_variables(job, event.detail)}, start=job.start)

    def finish(self, event: Event[Mapping[str, Any]]) -> None:
        """Store that the event, which reports a run's ending, has been handled. An event of another kind is ignored.

        Call this method after all consumers have handled the event.

        If the Lambda function published the event, the build system has said that the run has ended, so the run is no
        longer followed. If the run itself sent the event, the run may still be going on, and may even fail. The run is
        then followed until the build system says that it has ended.

        Args:
            event: The event that `admit` returned.
        """
        run_id = ending_run(event)
        if run_id is None or event.start is None:
            return
        if is_confirmed_ending(event, run_id):
            self._records.unfollow(run_id)
        else:
            has_failed = _has_failed(event)
            self._records.mark_handled(run_id, EndingStatus.FAILURE if has_failed else EndingStatus.SUCCESS)

    def _check_sender(self, event: Event[Mapping[str, Any]]) -> None:
        """If `REQUIRE_RUN_ID` is set and an event has no run id, check that this Lambda function published the event.

        For example, if the Lambda function cannot start a job, there is no run. The Lambda function then publishes a
        failure event without a run id. The event's `resources` contain the id of the action that published the event.
        If the ledger has a record of that action, the Lambda function published the event.

        Raises:
            InvalidEvent: `REQUIRE_RUN_ID` is set, and the event names no action, or names one of which the ledger has
                no record.
        """
        if not self._require_run_id:
            return
        mark = published_mark(event.source, event.resources)
        sent = None if mark is None else self._records.read(mark.rpartition(":")[2])
        if sent is None:
            raise InvalidEvent(
                f"{shown(event.type)} event {shown(event.id)}: detail.{RUN_ID_VARIABLE} is missing, and REQUIRE_RUN_ID "
                "is set; have the job send that variable, or unset REQUIRE_RUN_ID"
            )


def is_about_run(event: Event[Any]) -> bool:
    """Whether an event reports a run's ending, or is the TENANT_DEPLOYMENT event that follows a run."""
    return event.type == EventType.TENANT_DEPLOYMENT or event.type.endswith((SUCCESS_SUFFIX, FAILURE_SUFFIX))


def _has_failed(event: Event[Mapping[str, Any]]) -> bool:
    return event.type.endswith(FAILURE_SUFFIX) or event.detail.get("CODEBUILD_BUILD_SUCCEEDING") == "0"


def _checked(record: Record | None, event: Event[Mapping[str, Any]]) -> StartedJob:
    """Check that a run's record agrees with an event about the run's ending, and return the run's job.

    Raises:
        UnknownRun: There is no record, the record contradicts the event, or the job was started with `follow=False`.
    """
    if record is None or record.job is None:
        raise UnknownRun("the ledger has no record of that run")
    job, detail = record.started_job, event.detail
    if not job.follow:
        raise UnknownRun(f"job {shown(job.name)} was started with follow=False, so events about its ending are ignored")
    if event.type not in (job.event_type + SUCCESS_SUFFIX, job.event_type + FAILURE_SUFFIX):
        raise UnknownRun(f"that run was started for {shown(job.event_type)}")
    if find_tenant_id(detail) not in (None, job.tenant_id):
        raise UnknownRun("that run belongs to another tenant")
    build, project = detail.get("CODEBUILD_BUILD_ID"), project_name(job.name)
    if build is not None and job.builder == "CODE_BUILD":
        if build != job.id if job.id is not None else not str(build).startswith(f"{project}:"):
            raise UnknownRun(f"that run of CodeBuild project {shown(project)} is another build than the event names")
    elif build is not None and job.builder == "JENKINS":
        raise UnknownRun(f"that run is one of Jenkins job {shown(job.name)}, and the event names a CodeBuild build")
    if job.builder == "JENKINS" and detail.get("JOB_NAME") not in (None, job.name):
        raise UnknownRun(f"that run is one of Jenkins job {shown(job.name)}, and the event names another job")
    return job


def _succeeded(record: Record | None, event: Event[Mapping[str, Any]]) -> StartedJob:
    """Check that a TENANT_DEPLOYMENT event follows a successful run, and return the run's job.

    Raises:
        UnknownRun: The run has no record, has not succeeded, or belongs to another tenant.
    """
    if record is None or record.job is None:
        raise UnknownRun("the ledger has no record of that run")
    if record.job.tenant_id is None or find_tenant_id(event.detail) != record.job.tenant_id:
        raise UnknownRun("that run belongs to another tenant")
    if record.ending is not EndingStatus.SUCCESS:
        raise UnknownRun("that run has not succeeded")
    return record.job
