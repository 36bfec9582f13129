"""Publishes one event for each run that has ended."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from orchestrator import telemetry
from orchestrator.action import Outcome, OutcomeStatus, PublishEnding, PublishEvent
from orchestrator.builders.systems import BuildSystems
from orchestrator.ending_event import Declarations, Ended, EndingEvent, declaration_of
from orchestrator.errors import Unavailable, shown
from orchestrator.job import Ending, StartedJob
from orchestrator.ledger.ledger import Claim, Ledger, Prepared, Records
from orchestrator.ledger.record import EndingStatus, Record
from orchestrator.performers.publish_event import EventBus
from orchestrator.run import (
    EVENT_ID_VARIABLE,
    EVENT_TYPE_VARIABLE,
    RUN_ID_VARIABLE,
    TENANT_ID_VARIABLE,
    Origin,
    ending_id,
)

HAS_FAILED = "an earlier event said that this run failed"
_HAS_SUCCEEDED = "an earlier event said that this run succeeded"

NO_RECORDS = "IDEMPOTENCY_TABLE is not set, so there is no list of the jobs that were started"
"""The text, in logs and outcomes, that says why no run is followed if `IDEMPOTENCY_TABLE` is not set."""


class EndingPublisher:
    """Performs `PublishEnding`: publishes an event about a run's ending.

    The event has the form that the `EndingEvent` of the consumer that started the job declares.
    """

    def __init__(
        self, systems: BuildSystems, bus: EventBus, ledger: Ledger, records: Records, declarations: Declarations
    ) -> None:
        self._systems = systems
        self._bus = bus
        self._ledger = ledger
        self._records = records
        self._declarations = declarations
        self._has_warned = False

    def prepare(self, action: PublishEnding, origin: Origin) -> Prepared:
        """Prepare the action; see `Performer.prepare`.

        The action is checked only when it is performed, because the checks read the ledger and the build system.
        """
        return Prepared(perform=partial(self._perform, action, origin))

    def _perform(self, action: PublishEnding, origin: Origin, claim: Claim) -> Outcome:
        """Look up in the build system how the action's run ended, and publish the ending.

        If the build system has deleted the run, and the action contains an ending, the action's ending is published.

        Nothing is published if `IDEMPOTENCY_TABLE` is not set, or if no record of the ledger matches the action. The
        outcome then contains the reason.

        Raises:
            Unavailable: The build system could not be reached, or the run has not ended yet.
            ConfigurationError: The builder is unknown, or has no method `endings`.
            OrchestratorError: The builder's `endings` raised this error, or `publish` did.
        """
        if self._records.memory is None:
            if not self._has_warned:
                self._has_warned = True
                telemetry.logger.warning(f"state changes of builds are ignored: {NO_RECORDS}")
            return _nothing(action, OutcomeStatus.SKIPPED, NO_RECORDS)
        record = self._records.read(action.run_id)
        if record is None or not _is_about(action, record):
            reason = f"the ledger has no run {shown(action.run_id)} with that build, job and tenant"
            return _nothing(action, OutcomeStatus.IGNORED, reason)
        job = replace(record.started_job, id=action.build)
        ending = self._systems.get(job.builder, job.name).endings([job]).get(job.run_id)
        if ending is not None and ending.is_gone and action.ending is not None:
            ending = action.ending
        if ending is None:
            raise Unavailable(
                f"the ending of job {shown(job.name)} was not published: the run has not ended in its "
                "build system; a retry may succeed",
                ambiguous=False,
            )
        return self.publish(record, ending, origin.time)

    def publish(self, record: Record, ending: Ending, time: datetime) -> Outcome:
        """Publish how a run ended, unless an event about that ending has been published or handled already.

        An ending that an earlier event has reported (`Record.ending`) replaces `ending` in two cases:

        - The earlier event has reported a failure.
        - The build system has deleted the run, so that `ending` is only a guess (`Ending.is_gone`).

        If the run itself has sent an event about the same ending, and that event has been handled, nothing is
        published, and the run is no longer checked. Otherwise, the run is checked until the published event has been
        handled (see `Admission.finish`).

        Args:
            record: The run's record.
            ending: How the run ended, according to the build system.
            time: When the ending became known. The published event gets this time.

        Returns:
            The outcome of publishing the event. Its status is `published` or `already published`.

        Raises:
            Unavailable: The bus did not accept the event, or another delivery is publishing it.
            InvalidEvent: The event is too large, or EventBridge refused it.
            ConfigurationError: The bus does not exist, the function may not publish to it, or the consumer declared an
                ending event when it started the job, but declares none now.
            OrchestratorError: The consumer's function `EndingEvent.detail` failed.
        """
        job, reported = record.started_job, record.ending
        if reported is EndingStatus.FAILURE:
            ending = replace(ending, succeeded=False, reason=HAS_FAILED)
        elif reported is EndingStatus.SUCCESS and ending.is_gone:
            ending = replace(ending, succeeded=True, reason=_HAS_SUCCEEDED)
        declared, ended = declaration_of(job, self._declarations), _ended(job, ending)
        if record.handled is _status(ending.succeeded):
            self._records.unfollow(job.run_id)
            return Outcome(action="PublishEvent", status=OutcomeStatus.ALREADY_PUBLISHED, name=declared.type_of(ended))
        prepared = self._bus.prepare_as(_event(job, declared, ended), ending_id(job.run_id), start=job.start, time=time)
        outcome = self._ledger.perform(prepared)
        close_run(self._records, job, succeeded=ending.succeeded)
        return outcome


def close_run(records: Records, job: StartedJob, *, succeeded: bool) -> None:
    """Store how a run ended. If a failure replaces a stored success, log an error.

    A success never replaces a stored failure.

    Args:
        records: The ledger's records.
        job: The job whose run ended.
        succeeded: Whether the run succeeded.
    """
    before = records.close(job.run_id, _status(succeeded))
    if before is EndingStatus.SUCCESS and not succeeded:
        telemetry.logger.error(f"run {job.run_id} of job {shown(job.name)} failed after it had published a success")


def ending_variables(job: StartedJob, detail: Mapping[str, Any]) -> dict[str, Any]:
    """Build the variables that every event about a run's ending must have in its detail.

    Args:
        job: The job whose run ended.
        detail: The event's detail. It is not changed; the caller adds the variables.

    Returns:
        The `ORCHESTRATOR_…` variables. If the job is for a tenant, and `detail` has no `tenant`, there is also a
        variable `tenant`: a JSON object with the tenant's id.
    """
    own = {
        RUN_ID_VARIABLE: job.run_id,
        EVENT_ID_VARIABLE: job.event_id,
        EVENT_TYPE_VARIABLE: job.event_type,
        TENANT_ID_VARIABLE: job.tenant_id or "",
    }
    if job.tenant_id and not detail.get("tenant"):
        # The run may lack the variable `tenant`: Jenkins drops variables that the job does not declare as parameters.
        own["tenant"] = json.dumps({"id": job.tenant_id})
    return own


def bare_name(name: str) -> str:
    """Return a job's name as AWS writes it in the events about the job's runs.

    This is the name of a CodeBuild project instead of its ARN, or the ARN of a state machine without version or alias.
    Any other name is returned unchanged.
    """
    if ":stateMachine:" in name:
        return ":".join(name.split(":")[:7])
    return name.rpartition(":project/")[2]


def _status(succeeded: bool) -> EndingStatus:
    return EndingStatus.SUCCESS if succeeded else EndingStatus.FAILURE


def _is_about(action: PublishEnding, record: Record) -> bool:
    if record.job is None:
        return False
    job = record.started_job
    return (
        job.follow
        and job.id in (None, action.build)
        and (job.builder, bare_name(job.name), job.tenant_id)
        == (action.builder, bare_name(action.name), action.tenant_id)
    )


def _nothing(action: PublishEnding, status: OutcomeStatus, reason: str) -> Outcome:
    return Outcome(action="PublishEnding", status=status, name=action.name, reason=reason)


def _ended(job: StartedJob, ending: Ending) -> Ended:
    return Ended(
        succeeded=ending.succeeded,
        event_type=job.event_type,
        tenant_id=job.tenant_id,
        reason=ending.reason,
        variables=ending.variables,
        kept={} if job.declared is None else job.declared.kept,
    )


def _event(job: StartedJob, declared: EndingEvent, ended: Ended) -> PublishEvent:
    """Build the event about a run's ending.

    By default, the detail contains the run's variables, as in an event that the job itself sends. After a failure, the
    detail always contains a `reason`.
    """
    detail = declared.detail_of(ended, f"job {shown(job.name)}")
    detail |= ending_variables(job, detail)
    if not ended.succeeded:
        detail["reason"] = ended.reason
    return PublishEvent(type=declared.type_of(ended), detail=detail, source=declared.source_of(job.builder))
