"""Checks events about a run against the ledger's record of that run, before consumers get the events."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.details import find_tenant_id
from orchestrator.ending_event import Declarations, declaration_of, reports_ending
from orchestrator.endings.publisher import HAS_FAILED, bare_name, close_run, ending_variables
from orchestrator.errors import InvalidEvent, shown
from orchestrator.event import Event, EventType, RunEnding
from orchestrator.job import StartedJob
from orchestrator.ledger.ledger import Records
from orchestrator.ledger.record import EndingStatus, Record
from orchestrator.run import FAILURE_SUFFIX, RUN_ID_VARIABLE, ending_id, named_run, recognised


class UnknownRun(Exception):
    """An event about a run must be ignored.

    The ledger has no record of the run, the record contradicts the event, or the job was started with `follow=False`,
    which means that events about its ending are ignored.
    """


class Admission:
    """Checks events about runs against the ledger's records of these runs; `admit` lists the events it does not check.

    Two kinds of events are about a run: events that report the run's ending, and the TENANT_DEPLOYMENT event that
    follows a successful run.
    """

    def __init__(self, records: Records, declarations: Declarations, *, require_run_id: bool = False) -> None:
        self._records = records
        self._declarations = declarations
        self._require_run_id = require_run_id

    def admit(self, event: Event[Mapping[str, Any]]) -> Event[Mapping[str, Any]]:
        """Check an event about a run, and store the run's ending if the event reports one.

        If a consumer declares an `EndingEvent` with this event's type and source, this package may have published the
        event. Then `start`, `published_by` and `is_own_failure` of the returned event are read from `resources` (see
        `recognised`).

        The event is not checked in these cases:

        - The event is not about a run.
        - The event contains no run id. (If `REQUIRE_RUN_ID` is set, see `InvalidEvent` below.)
        - `IDEMPOTENCY_TABLE` is not set, and this Lambda environment has no record of the run. Another environment may
          have the record, because each environment then keeps its own records in memory.

        After this call, the scheduled sweep still checks the run, so that it can publish the ending if the event's
        consumers fail. Once the consumers have handled the event, call `finish`.

        Returns:
            The event. If it reports a run's ending and contains the run id, its `run_ending` is set. If the run has a
            record, these values are taken from the record:

            - the event's `start`, which is the event that began the operation
            - if the event reports an ending: the `ORCHESTRATOR_…` variables in the event's detail, and `tenant` if the
              detail lacks it

        Raises:
            UnknownRun: The record contradicts the event, or the run's job was started with `follow=False`, or the
                ledger has no record of the run although `IDEMPOTENCY_TABLE` is set.
            InvalidEvent: The event is about a run but contains no run id, `REQUIRE_RUN_ID` is set, and this Lambda
                function did not publish the event.
            ConfigurationError: The run's consumer declared an ending event when it started the job, but no longer does.
            Unavailable: The ledger cannot be read or written.
        """
        if any(ending.source == event.source for ending in self._declarations.endings_of_type(event.type)):
            event = recognised(event)
        if not is_about_run(event, self._declarations):
            return event
        run_id = named_run(event)
        if run_id is None:
            self._check_sender(event)
            return event
        record = self._records.read(run_id)
        is_follow_up = event.type == EventType.TENANT_DEPLOYMENT
        has_failed = self._has_failed(event)
        if not is_follow_up:
            event = replace(event, run_ending=RunEnding(run_id=run_id, succeeded=not has_failed))
        if record is None and self._records.memory is None:
            return event
        if is_follow_up:
            return replace(event, start=_succeeded(record, event).start)
        job = self._checked(record, event)
        if record is not None and record.ending is EndingStatus.FAILURE and not has_failed:
            raise UnknownRun(HAS_FAILED)
        close_run(self._records, job, succeeded=not has_failed)
        return replace(event, detail={**event.detail, **ending_variables(job, event.detail)}, start=job.start)

    def finish(self, event: Event[Mapping[str, Any]]) -> None:
        """Store that an event about a run's ending has been handled.

        Any other event is ignored. An event about a run that has no record is ignored, too.

        Call this method after all consumers have handled the event.

        If the Lambda function published the event, the build system has confirmed the ending, so the run need not be
        checked any more. If the run itself sent the event, the run may still be going on, and may even fail. The run is
        then checked until the build system confirms the ending.

        Args:
            event: The event that `admit` returned.
        """
        ending = event.run_ending
        if ending is None or event.start is None:
            return
        if event.published_by == ending_id(ending.run_id):
            self._records.unfollow(ending.run_id)
        else:
            reported = EndingStatus.SUCCESS if ending.succeeded else EndingStatus.FAILURE
            self._records.mark_handled(ending.run_id, reported)

    def _check_sender(self, event: Event[Mapping[str, Any]]) -> None:
        """Check that this Lambda function itself published an event without a run id, if `REQUIRE_RUN_ID` is set.

        For example, if a job cannot be started, there is no run, and the Lambda function publishes a failure event
        without a run id. The event's `resources` contain the id of the action that published the event. If the ledger
        has a record of that action, the Lambda function published the event.

        Raises:
            InvalidEvent: `REQUIRE_RUN_ID` is set, and the ledger has no record of an action that published the event.
        """
        if not self._require_run_id:
            return
        sent = None if event.published_by is None else self._records.read(event.published_by)
        if sent is None:
            raise InvalidEvent(
                f"{shown(event.type)} event {shown(event.id)}: detail.{RUN_ID_VARIABLE} is missing, and REQUIRE_RUN_ID "
                "is set; have the job send that variable, or unset REQUIRE_RUN_ID"
            )

    def _has_failed(self, event: Event[Mapping[str, Any]]) -> bool:
        """Return whether an event reports a failure, by its type or by `CODEBUILD_BUILD_SUCCEEDING` in its detail."""
        if event.detail.get("CODEBUILD_BUILD_SUCCEEDING") == "0":
            return True
        endings = self._declarations.endings_of_type(event.type)
        if endings:
            return any(ending.failure == event.type for ending in endings)
        return event.type.endswith(FAILURE_SUFFIX)

    def _checked(self, record: Record | None, event: Event[Mapping[str, Any]]) -> StartedJob:
        """Check that a run's record agrees with an event about the run's ending, and return the run's job.

        Raises:
            UnknownRun: There is no record, the record contradicts the event, or the job was started with
                `follow=False`.
            ConfigurationError: The run's consumer declared an ending event when it started the job, but no longer does.
        """
        if record is None or record.job is None:
            raise UnknownRun("the ledger has no record of that run")
        job, detail = record.started_job, event.detail
        if not job.follow:
            raise UnknownRun(
                f"job {shown(job.name)} was started with follow=False, so events about its ending are ignored"
            )
        if event.type not in declaration_of(job, self._declarations).types(job.event_type):
            raise UnknownRun(f"that run was started for {shown(job.event_type)}")
        if find_tenant_id(detail) not in (None, job.tenant_id):
            raise UnknownRun("that run belongs to another tenant")
        _check_build(job, detail)
        return job


def is_about_run(event: Event[Any], declarations: Declarations) -> bool:
    """Whether an event reports a run's ending, or is a TENANT_DEPLOYMENT event, which follows a successful run."""
    return event.type == EventType.TENANT_DEPLOYMENT or reports_ending(event.type, declarations)


def _check_build(job: StartedJob, detail: Mapping[str, Any]) -> None:
    """Check that a run belongs to the build or job that an event's detail names.

    For a run of CodeBuild, `CODEBUILD_BUILD_ID` must be the run's build; as long as the ledger does not know the build,
    only the project is compared. For a run of Jenkins, `JOB_NAME` must be the run's job, and there must be no
    `CODEBUILD_BUILD_ID`. A variable that the detail lacks is not checked, nor is a run of any other build system.

    Args:
        job: The run's job, as the ledger stores it.
        detail: The event's detail.

    Raises:
        UnknownRun: The detail names another build or job.
    """
    build, project = detail.get("CODEBUILD_BUILD_ID"), bare_name(job.name)
    if build is not None and job.builder == "CODE_BUILD":
        if build != job.id if job.id is not None else not str(build).startswith(f"{project}:"):
            raise UnknownRun(f"that run of CodeBuild project {shown(project)} is another build than the event names")
    elif build is not None and job.builder == "JENKINS":
        raise UnknownRun(f"that run is one of Jenkins job {shown(job.name)}, and the event names a CodeBuild build")
    if job.builder == "JENKINS" and detail.get("JOB_NAME") not in (None, job.name):
        raise UnknownRun(f"that run is one of Jenkins job {shown(job.name)}, and the event names another job")


def _succeeded(record: Record | None, event: Event[Mapping[str, Any]]) -> StartedJob:
    """Check that a TENANT_DEPLOYMENT event follows a successful run, and return the run's job.

    Raises:
        UnknownRun: The run has no record, has not succeeded, or does not belong to the event's tenant.
    """
    if record is None or record.job is None:
        raise UnknownRun("the ledger has no record of that run")
    if record.job.tenant_id is None or find_tenant_id(event.detail) != record.job.tenant_id:
        raise UnknownRun("that run belongs to another tenant")
    if record.ending is not EndingStatus.SUCCESS:
        raise UnknownRun("that run has not succeeded")
    return record.job
