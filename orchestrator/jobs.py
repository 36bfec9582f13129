"""Performs `StartJob`: finds the build system, puts the variables together, starts the job."""

from collections.abc import Callable, Mapping

from orchestrator.actions import StartJob
from orchestrator.builders import Builder, Job
from orchestrator.details import find_tenant_id
from orchestrator.errors import ConfigurationError, shown
from orchestrator.outcome import Outcome
from orchestrator.run import Origin
from orchestrator.variables import job_variables


class Jobs:
    """Starts jobs on the build systems that it knows by name."""

    def __init__(self, builders: Mapping[str, Builder], default_builder: str) -> None:
        self._builders = builders
        self._default_builder = default_builder

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
        builder = self._builders.get(builder_name)
        if builder is None:
            known = ", ".join(self._builders)
            raise ConfigurationError(
                f"builder {shown(builder_name)} of job {shown(action.name)} is not known (known: {known}); correct "
                "builderConfig.type or DEFAULT_BUILDER, or register the builder"
            )
        tenant_id = action.tenant_id or find_tenant_id(origin.event.detail) or ""
        own = {
            "ORCHESTRATOR_RUN_ID": origin.run_id,
            "ORCHESTRATOR_EVENT_ID": origin.event.id,
            "ORCHESTRATOR_EVENT_TYPE": origin.event.type,
            "ORCHESTRATOR_TENANT_ID": tenant_id,
        }
        variables = job_variables(action.trusted_variables, action.variables, own)
        job = Job(name=action.name, run_id=origin.run_id, variables=variables)

        def start() -> Outcome:
            run = builder.start(job)
            outcome = Outcome(action="StartJob", status="started", builder=builder_name, name=job.name, id=run.id)
            if run.link is not None:
                outcome["link"] = run.link
            return outcome

        return start
