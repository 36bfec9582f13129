"""Performs `StartJob`: finds the build system, puts the variables together, starts the job."""

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from orchestrator.actions import StartJob
from orchestrator.blame import blamed
from orchestrator.builders import Builder, Job, Run, Untraceable
from orchestrator.details import find_tenant_id
from orchestrator.errors import ConfigurationError, ConsumerFailed, JobRejected, OrchestratorError, Unavailable, shown
from orchestrator.outcome import Outcome
from orchestrator.run import RUN_ID_VARIABLE, Origin
from orchestrator.variables import job_variables

# Lambda tries a failed asynchronous invocation again after about a minute (Lambda developer guide).
_BEFORE_FIRST_RETRY = timedelta(seconds=30)


class Jobs:
    """Starts jobs on the build systems that it knows by name."""

    def __init__(
        self,
        factories: Mapping[str, Callable[[], Builder]],
        default_builder: str,
        memory: timedelta | None = None,
    ) -> None:
        """Keep what makes the build systems; each is made when the first job asks for it.

        Args:
            factories: What makes each build system, by its name.
            default_builder: Name of the one that starts the jobs that name none.
            memory: How long records tell what has been started; `None` where none are kept.
        """
        self._memory = memory
        self._factories = factories
        self._default_builder = default_builder
        self._builders: dict[str, Builder] = {}
        self._lock = threading.Lock()

    def prepare(self, action: StartJob, origin: Origin) -> Callable[[bool], Outcome]:
        """Check an action before anything is done.

        Args:
            action: The job to start.
            origin: Where the action comes from.

        Returns:
            What starts the job; it is told whether an earlier attempt is known of whose end is not.

        Raises:
            ConfigurationError: The build system is not known, or a trusted variable is malformed.
            InvalidEvent: A variable's name or value is refused.
        """
        builder_name = action.builder or self._default_builder
        builder = self._builder(builder_name, action)
        check = getattr(builder, "check", None)
        if check is not None:
            check(action.name)
        tenant_id = action.tenant_id or find_tenant_id(origin.event.detail) or ""
        own = {
            RUN_ID_VARIABLE: origin.run_id,
            "ORCHESTRATOR_EVENT_ID": origin.event.id,
            "ORCHESTRATOR_EVENT_TYPE": origin.event.type,
            "ORCHESTRATOR_TENANT_ID": tenant_id,
        }
        variables = job_variables(action.trusted_variables, action.variables, own)
        job = Job(name=action.name, run_id=origin.run_id, since=origin.time, variables=variables)
        return partial(self._start, builder_name, builder, job)

    def _start(self, builder_name: str, builder: Builder, job: Job, is_repeat: bool) -> Outcome:
        run = self._earlier_run(builder_name, builder, job, is_repeat=is_repeat)
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

    def _earlier_run(self, builder_name: str, builder: Builder, job: Job, *, is_repeat: bool) -> Run | None:
        """Look for the run before it is started, where an earlier delivery may have done so.

        A timely first delivery asks nothing: within the time that the records cover, or without any the build
        system itself, a repeat is recognised without looking.
        """
        own: timedelta = getattr(builder, "covers", _BEFORE_FIRST_RETRY)
        covered = own if self._memory is None else self._memory
        is_late = datetime.now(UTC) - job.since > covered
        if not is_repeat and not is_late:
            return None
        try:
            return self._asked(builder_name, builder, builder.find, job)
        except JobRejected:
            return None  # of a job that is not there no run can be; starting it says what is wrong
        except Untraceable:
            if is_repeat:
                raise
            return None  # nothing says that there was an earlier attempt
        except ConfigurationError as error:
            # Somebody may have started it: that is no reason to call the tenant's provisioning failed.
            raise Unavailable(str(error)) from None

    def _builder(self, name: str, action: StartJob) -> Builder:
        with self._lock:
            builder = self._builders.get(name)
            if builder is None:
                factory = self._factories.get(name)
                if factory is None:
                    known = ", ".join(self._factories)
                    raise ConfigurationError(
                        f"builder {shown(name)} of job {shown(action.name)} is not known (known: {known}); correct "
                        "builderConfig.type, the tier's builder or DEFAULT_BUILDER, or register the builder"
                    )
                builder = self._builders[name] = factory()
            return builder


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
