"""Performs `StartJob`: finds the build system, puts the variables together, starts the job."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from orchestrator.action import Outcome, StartJob
from orchestrator.builders.known import KnownBuilders
from orchestrator.builders.variables import job_variables
from orchestrator.details import find_tenant_id
from orchestrator.errors import (
    ConfigurationError,
    ConsumerFailed,
    JobRejected,
    OrchestratorError,
    Unavailable,
    blamed,
    shown,
)
from orchestrator.job import Builder, Job, Run, StartedJob, Untraceable
from orchestrator.ledger import record
from orchestrator.ledger.ledger import Claim, Performance
from orchestrator.run import (
    BEFORE_FIRST_RETRY,
    EVENT_ID_VARIABLE,
    EVENT_TYPE_VARIABLE,
    RUN_ID_VARIABLE,
    TENANT_ID_VARIABLE,
    Origin,
)
from orchestrator.stores.tiers import variables_of
from orchestrator.timing import clock


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedJob:
    """A job that can be started.

    Attributes:
        start: Starts it.
        job: What is to be kept of it.
        follow: Whether it is to be asked after until it has ended.
    """

    start: Performance
    job: StartedJob
    follow: bool


class Jobs:
    """Starts jobs on the build systems that it knows by name."""

    def __init__(self, builders: KnownBuilders, memory: timedelta | None = None) -> None:
        """Keep what is needed for the first job.

        Args:
            builders: The build systems.
            memory: How long records tell what has been started; `None` where none are kept.
        """
        self._builders = builders
        self._memory = memory

    def prepare(self, action: StartJob, origin: Origin) -> "PreparedJob":
        """Check an action before anything is done.

        Args:
            action: The job to start.
            origin: Where the action comes from.

        Returns:
            What starts the job.

        Raises:
            ConfigurationError: The build system is not known, or a trusted variable is malformed.
            InvalidEvent: A variable's name or value is refused.
        """
        builder_name = action.builder or self._builders.default
        builder = self._builders.get(builder_name, action.name)
        check = getattr(builder, "check", None)
        if check is not None:
            check(action.name)
        tenant_id = action.tenant_id or find_tenant_id(origin.event.detail) or ""
        own = {
            RUN_ID_VARIABLE: origin.run_id,
            EVENT_ID_VARIABLE: origin.event.id,
            EVENT_TYPE_VARIABLE: origin.event.type,
            TENANT_ID_VARIABLE: tenant_id,
        }
        variables = job_variables(variables_of(action.trusted_variables), action.variables, own)
        job = Job(name=action.name, run_id=origin.run_id, since=origin.time, variables=variables)
        kept = StartedJob(
            builder=builder_name,
            name=job.name,
            run_id=job.run_id,
            id="",  # is not known before it has been started
            since=job.since,
            event_id=origin.event.id,
            event_type=origin.event.type,
            tenant_id=tenant_id,
            start=origin.start,
            reports=action.reports,
        )
        record.check(kept)
        return PreparedJob(
            start=partial(self._start, builder_name, builder, job),
            job=kept,
            follow=action.reports and callable(getattr(builder, "results", None)),
        )

    def _start(self, builder_name: str, builder: Builder, job: Job, claim: Claim) -> Outcome:
        run = self._earlier_run(builder_name, builder, job, claim)
        if run is None:
            run = self._asked(builder_name, builder, builder.start, job)
        if run is None:
            # It may have started something, so this must not count as a failure that did nothing.
            raise ConsumerFailed(f"builder {shown(builder_name)} returned no Run from start; correct it there")
        return _outcome(builder_name, job, run)

    def _asked(self, builder_name: str, builder: Builder, ask: Callable[[Job], Run | None], job: Job) -> Run | None:
        try:
            answer = ask(job)
        except OrchestratorError:
            raise
        except Exception as error:
            raise blamed(f"builder {shown(builder_name)}", type(builder).__module__, error) from error
        return answer if isinstance(answer, Run) else None

    def _earlier_run(self, builder_name: str, builder: Builder, job: Job, claim: Claim) -> Run | None:
        """Look for the run before it is started, where an earlier delivery may have done so.

        A timely first delivery asks nothing: within the time that the records cover, or without any the build
        system itself, a repeat is recognised without looking.
        """
        own: timedelta = getattr(builder, "covers", BEFORE_FIRST_RETRY)
        covered = own if self._memory is None else self._memory
        is_late = clock.now() - job.since > covered
        if not claim.is_retry and not is_late:
            return None
        # The event's time cannot be before its first delivery where the sender's clock is ahead.
        sought = replace(job, since=min(job.since, claim.since or job.since))
        try:
            return self._asked(builder_name, builder, builder.find, sought)
        except JobRejected:
            return None  # of a job that is not there no run can be; starting it says what is wrong
        except Untraceable:
            if claim.is_retry:
                raise
            return None  # nothing says that there was an earlier attempt
        except ConfigurationError as error:
            # Somebody may have started it: that is no reason to call the tenant's provisioning failed.
            raise Unavailable(str(error)) from None


def _outcome(builder: str, job: Job, run: Run) -> Outcome:
    status = "already started" if run.already_started else "started"
    outcome = Outcome(action="StartJob", status=status, builder=builder, name=job.name, id=run.id)
    if run.link is not None:
        outcome["link"] = run.link
    if run.build_number is not None:
        outcome["buildNumber"] = run.build_number
    if run.build_link is not None:
        outcome["buildLink"] = run.build_link
    return outcome
