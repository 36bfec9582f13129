"""Performs `StartJob`: starts a job, unless an earlier delivery of the event has started it."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

from orchestrator.action import Outcome, OutcomeStatus, StartJob
from orchestrator.builders.systems import BuildSystem, BuildSystems
from orchestrator.builders.variables import job_variables
from orchestrator.details import find_tenant_id
from orchestrator.errors import ConfigurationError, Unavailable, shown
from orchestrator.job import Job, Run, Slot, StartedJob, Untraceable
from orchestrator.ledger import gate, record
from orchestrator.ledger.ledger import Claim, Prepared
from orchestrator.run import (
    EVENT_ID_VARIABLE,
    EVENT_TYPE_VARIABLE,
    RUN_ID_VARIABLE,
    TENANT_ID_VARIABLE,
    Origin,
)
from orchestrator.stores.tiers import variables_of
from orchestrator.timing import clock

# The item that names a slot's runs has at most 400 KB, and a name some 50 bytes.
_MOST_SLOTS = 5000


class JobStarter:
    """Performs `StartJob`."""

    def __init__(self, systems: BuildSystems, memory: timedelta | None) -> None:
        """Store the arguments.

        Args:
            systems: The build systems.
            memory: How long the ledger, which records performed actions, keeps a record. `None` means that the ledger
                has no table, so that each Lambda environment has only its own records.
        """
        self._systems = systems
        self._memory = memory

    def prepare(self, action: StartJob, origin: Origin) -> Prepared:
        """Check a job and its variables, and prepare its start.

        Raises:
            ConfigurationError: The builder is unknown, or a setting that the builder needs is missing. Or the name or
                value of a trusted variable is invalid. Or `action.slot` and `action.slots`, which limit concurrent
                runs, are malformed; or they are set, but the function will not check when the run ends (see
                `StartJob.follow`), or the ledger has no table.
            InvalidEvent: One of `action.variables` has a name or value that is not allowed, or the job is too large for
                a record in DynamoDB.
            JobRejected: The job's name is malformed.
        """
        system, job = self.job(action, origin)
        follow = action.follow and system.can_be_followed
        kept = StartedJob(
            builder=system.name,
            name=job.name,
            run_id=job.run_id,
            since=job.since,
            event_id=origin.event.id,
            event_type=origin.event.type,
            tenant_id=job.variables[TENANT_ID_VARIABLE] or None,
            start=origin.start,
            follow=action.follow,
            slot=self._slot(action, follow=follow),
            declared=origin.declared,
        )
        record.check(kept)
        gate.check(kept)
        return Prepared(
            perform=partial(self._start, system, job),
            action_id=job.run_id,
            failure=f"job {shown(action.name)} was not started",
            job=kept,
            follow=follow,
        )

    def job(self, action: StartJob, origin: Origin) -> tuple[BuildSystem, Job]:
        """Return the build system of an action's job, and the job; `prepare` lists the exceptions."""
        system = self._systems.get(action.builder, action.name)
        system.check(action.name)
        run_id = origin.run_id
        own = {
            RUN_ID_VARIABLE: run_id,
            EVENT_ID_VARIABLE: origin.event.id,
            EVENT_TYPE_VARIABLE: origin.event.type,
            TENANT_ID_VARIABLE: action.tenant_id or find_tenant_id(origin.event.detail) or "",
        }
        variables = job_variables(variables_of(action.trusted_variables), action.variables, own)
        return system, Job(name=action.name, run_id=run_id, since=origin.time, variables=variables)

    def _slot(self, action: StartJob, *, follow: bool) -> Slot | None:
        if action.slot is None and action.slots is None:
            return None
        if not action.slot or type(action.slots) is not int or not 0 < action.slots <= _MOST_SLOTS:
            raise ConfigurationError(
                f"job {shown(action.name)} has a malformed slot; give it a name in slot, and a whole number from 1 to "
                f"{_MOST_SLOTS:,} in slots"
            )
        if not follow:
            raise ConfigurationError(
                f"job {shown(action.name)} has slot {shown(action.slot)}, but its run is not followed, so nobody would "
                "know when it ends; set follow to True, and have its builder implement endings"
            )
        if self._memory is None:
            raise ConfigurationError(
                f"job {shown(action.name)} has slot {shown(action.slot)}, but IDEMPOTENCY_TABLE is not set, so its "
                "runs cannot be counted; set it to a DynamoDB table with the key id"
            )
        return Slot(name=action.slot, size=action.slots)

    def _start(self, system: BuildSystem, job: Job, claim: Claim) -> Outcome:
        run = self._earlier_run(system, job, claim) or system.start(job)
        return started(system.name, job.name, run)

    def _earlier_run(self, system: BuildSystem, job: Job, claim: Claim) -> Run | None:
        """Search for a run that an earlier delivery of the event may have started.

        If `claim.is_retry` is true, the build system is always searched. Otherwise, it is searched only if the event is
        so old that an earlier delivery may have left no trace:

        - If the ledger has a table, the event is older than the time for which the ledger keeps a record. The record of
          an earlier delivery may then have been deleted.
        - If the ledger has no table, the event is older than `system.covers`. The build system may then no longer
          recognize a repeated start.

        Returns:
            The run that was found; `None` if no run was found, or if there was no search. Also `None` if
            `claim.is_retry` is false, and the build system does not store run ids for this job.

        Raises:
            Untraceable: `claim.is_retry` is true, and the build system does not store run ids for this job.
            Unavailable: The build system could not be searched.
        """
        covered = system.covers if self._memory is None else self._memory
        is_late = clock.now() - job.since > covered
        if not claim.is_retry and not is_late:
            return None
        # If the sender's clock is ahead, the event's time is later than the earlier attempt.
        sought = replace(job, since=min(job.since, claim.since or job.since))
        try:
            return system.find(sought)
        except Untraceable:
            if claim.is_retry:
                raise
            return None  # there is no sign of an earlier attempt
        except ConfigurationError as error:
            # The job may be running, so this must not be a permanent error, which would publish a failed provisioning.
            raise Unavailable(str(error)) from None


def started(builder: str, job: str, run: Run) -> Outcome:
    """Build the outcome of starting a job.

    Args:
        builder: Name of the builder.
        job: Name of the job.
        run: The run that this delivery or an earlier delivery started.
    """
    status = OutcomeStatus.ALREADY_STARTED if run.already_started else OutcomeStatus.STARTED
    outcome = Outcome(action="StartJob", status=status, builder=builder, name=job)
    if run.id is not None:
        outcome["id"] = run.id
    if run.link is not None:
        outcome["link"] = run.link
    if run.build_number is not None:
        outcome["buildNumber"] = run.build_number
    if run.build_link is not None:
        outcome["buildLink"] = run.build_link
    return outcome
