"""Publishes how jobs ended, as `…_SUCCESS` or `…_FAILURE`, each end once whoever tells of it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.actions import PublishEvent, ReportJob
from orchestrator.blame import blamed
from orchestrator.builders import Job, Result, Run, StartedJob
from orchestrator.builders.known import KnownBuilders
from orchestrator.bus import EventBus
from orchestrator.errors import ConfigurationError, JobRejected, OrchestratorError, Unavailable, shown
from orchestrator.idempotency import Once
from orchestrator.open_jobs import OpenJobs
from orchestrator.outcome import Outcome
from orchestrator.run import EVENT_ID_VARIABLE, EVENT_TYPE_VARIABLE, RUN_ID_VARIABLE, TENANT_ID_VARIABLE, report_id

# What the reference's build jobs send has the source `saas.tenant.provisioning.codebuild`.
_SOURCE = "saas.tenant.provisioning."


class Reporter:
    """Asks build systems how jobs ended, and publishes that."""

    def __init__(self, builders: KnownBuilders, bus: EventBus, once: Once, open_jobs: OpenJobs) -> None:
        self._builders = builders
        self._bus = bus
        self._once = once
        self._open_jobs = open_jobs

    def report(self, action: ReportJob) -> Outcome:
        """Ask how a job ended, and publish that.

        Args:
            action: The job.

        Returns:
            The outcome of the publishing.

        Raises:
            Unavailable: The build system could not be asked, or says that the job is still running.
            ConfigurationError: The build system is not known, or does not tell how jobs end.
        """
        job = action.job
        result = self.results(job.builder, [job]).get(job.run_id)
        if result is not None and result.is_gone and action.result is not None:
            result = action.result
        if result is None:
            raise Unavailable(
                f"the end of job {shown(job.name)} was not published: it has none yet, says its build system; it will "
                "be retried",
                ambiguous=False,
            )
        return self.publish(job, result)

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

    def publish(self, job: StartedJob, result: Result) -> Outcome:
        """Publish how a job ended, unless that has been done, and close it.

        Args:
            job: The job.
            result: How it ended.

        Returns:
            The outcome of the publishing.

        Raises:
            Unavailable: The bus did not take the event, or another delivery is at it.
            ConfigurationError: The bus is set up wrongly.
        """
        action = outcome_event(job, result)
        identity = report_id(action.type, job.run_id)
        publish = self._bus.prepare(action, identity)
        outcome = self._once.perform(identity, f"event {shown(action.type)} was not published", publish)
        self._open_jobs.close(job.run_id)
        return outcome


def outcome_event(job: StartedJob, result: Result) -> PublishEvent:
    """Make the event that tells how a job ended, as the job itself would send it.

    Args:
        job: The job.
        result: How it ended.

    Returns:
        An event whose detail holds the job's variables, and `reason` where it failed.
    """
    detail: dict[str, Any] = {
        **result.variables,
        RUN_ID_VARIABLE: job.run_id,
        EVENT_ID_VARIABLE: job.event_id,
        EVENT_TYPE_VARIABLE: job.event_type,
        TENANT_ID_VARIABLE: job.tenant_id,
    }
    if job.tenant_id and not detail.get("tenant"):
        detail["tenant"] = json.dumps({"id": job.tenant_id})  # a Jenkins job keeps only what it declares
    if not result.succeeded:
        detail["reason"] = result.reason
    kind = f"{job.event_type}_{'SUCCESS' if result.succeeded else 'FAILURE'}"
    return PublishEvent(type=kind, detail=detail, source=_SOURCE + job.builder.replace("_", "").lower())
