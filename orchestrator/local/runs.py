"""Finds and ends the runs on the emulated build systems."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from orchestrator.builders import codebuild, step_functions
from orchestrator.local import messages
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.jenkins import Build, JenkinsServer
from orchestrator.local.step_functions import StepFunctionsServer
from orchestrator.run import RUN_ID_VARIABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedRun:
    """A run on an emulated build system.

    Attributes:
        builder: The build system: `CODE_BUILD`, `JENKINS` or `STEP_FUNCTIONS`.
        job: The name of the CodeBuild project or Jenkins job, or the ARN of the state machine.
        id: The id of the CodeBuild build, the ARN of the execution, or the number of the Jenkins queue item.
        run_id: The run id that this package gave the run. For an execution, it is the execution's name. `None` if this
            package did not start the build.
        link: Address of the run's web page; `None` if it is not known.
        build: The build or the execution, as the emulated server keeps it.
    """

    builder: str
    job: str
    id: str
    run_id: str | None
    link: str | None
    build: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedEnding:
    """The end of a run.

    Attributes:
        run: The run that ended.
        result: The result, as the build system calls it, such as `SUCCEEDED`.
        event: The event that reports the end; `None` for Jenkins, which sends no event.
    """

    run: EmulatedRun
    result: str
    event: dict[str, Any] | None


class EmulatedRuns:
    """Finds the runs that were started, and ends them one by one, in the order in which `started` returned them."""

    def __init__(
        self,
        codebuild: CodeBuildServer,
        jenkins: JenkinsServer,
        step_functions: StepFunctionsServer,
        failing: Collection[str],
    ) -> None:
        """Store the arguments.

        Args:
            codebuild: The emulated CodeBuild.
            jenkins: The emulated Jenkins.
            step_functions: The emulated Step Functions.
            failing: Names of the jobs whose runs fail. All other runs succeed.
        """
        self._codebuild = codebuild
        self._jenkins = jenkins
        self._step_functions = step_functions
        self._failing = failing
        self._seen_builds = 0
        self._seen_executions = 0
        self._running: deque[EmulatedRun] = deque()
        self._jobs: set[str] = set()

    def started(self) -> list[EmulatedRun]:
        """Start a build for each item in Jenkins' queue, and return all runs that were started since the last call."""
        builds = self._codebuild.builds[self._seen_builds :]
        self._seen_builds += len(builds)
        executions = self._step_functions.executions[self._seen_executions :]
        self._seen_executions += len(executions)
        started = [
            *map(self._codebuild_run, builds),
            *map(self._execution, executions),
            *map(self._jenkins_run, self._jenkins.run_queue()),
        ]
        self._running.extend(started)
        self._jobs.update(run.job for run in started)
        return started

    def never_started(self) -> list[str]:
        """Return the names of the jobs in `failing` that were never started."""
        return [job for job in dict.fromkeys(self._failing) if job not in self._jobs]

    def end_next(self) -> EmulatedEnding | None:
        """End the first unfinished run that `started` returned, and return its end; `None` if no run is left."""
        if not self._running:
            return None
        run = self._running.popleft()
        has_failed = run.job in self._failing
        if run.builder == "JENKINS":
            result = "FAILURE" if has_failed else "SUCCESS"
            self._jenkins.finish(run.job, run.build.number, result)
            return EmulatedEnding(run=run, result=result, event=None)
        result = "FAILED" if has_failed else "SUCCEEDED"
        if run.builder == "STEP_FUNCTIONS":
            self._step_functions.finish(run.build, result)
            return EmulatedEnding(run=run, result=result, event=messages.status_change(run.build))
        self._codebuild.finish(run.build, result)
        return EmulatedEnding(run=run, result=result, event=messages.state_change(run.build))

    def _jenkins_run(self, build: Build) -> EmulatedRun:
        link = f"{self._jenkins.url}/queue/item/{build.queue_id}/"
        return EmulatedRun(
            builder="JENKINS",
            job=build.job.path,
            id=str(build.queue_id),
            run_id=build.values.get(RUN_ID_VARIABLE),
            link=link,
            build=build,
        )

    def _codebuild_run(self, build: dict[str, Any]) -> EmulatedRun:
        return EmulatedRun(
            builder="CODE_BUILD",
            job=build["projectName"],
            id=build["id"],
            run_id=self._codebuild.variables(build).get(RUN_ID_VARIABLE),
            link=codebuild.console_link(build["arn"]),
            build=build,
        )

    def _execution(self, execution: dict[str, Any]) -> EmulatedRun:
        arn = execution["executionArn"]
        return EmulatedRun(
            builder="STEP_FUNCTIONS",
            job=execution["stateMachineArn"],
            id=arn,
            run_id=execution["name"],
            link=step_functions.console_link(arn),
            build=execution,
        )
