"""Performs `StartJob`: finds the build system, puts the variables together, starts the job."""

import threading
from collections.abc import Callable, Mapping

from orchestrator.actions import StartJob
from orchestrator.builders import RUN_ID_VARIABLE, Builder, Job, Run
from orchestrator.details import find_tenant_id
from orchestrator.errors import ConfigurationError, shown
from orchestrator.outcome import Outcome
from orchestrator.run import Origin
from orchestrator.variables import job_variables


class Jobs:
    """Starts jobs on the build systems that it knows by name."""

    def __init__(self, factories: Mapping[str, Callable[[], Builder]], default_builder: str) -> None:
        """Keep what makes the build systems; each is made when the first job asks for it.

        Args:
            factories: What makes each build system, by its name.
            default_builder: Name of the one that starts the jobs that name none.
        """
        self._factories = factories
        self._default_builder = default_builder
        self._builders: dict[str, Builder] = {}
        self._lock = threading.Lock()

    def prepare(self, action: StartJob, origin: Origin) -> Callable[[], Outcome]:
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
        builder_name = action.builder or self._default_builder
        builder = self._builder(builder_name, action)
        tenant_id = action.tenant_id or find_tenant_id(origin.event.detail) or ""
        own = {
            RUN_ID_VARIABLE: origin.run_id,
            "ORCHESTRATOR_EVENT_ID": origin.event.id,
            "ORCHESTRATOR_EVENT_TYPE": origin.event.type,
            "ORCHESTRATOR_TENANT_ID": tenant_id,
        }
        variables = job_variables(action.trusted_variables, action.variables, own)
        job = Job(name=action.name, run_id=origin.run_id, since=origin.event.time, variables=variables)
        return lambda: _outcome(builder_name, job, builder.start(job))

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
