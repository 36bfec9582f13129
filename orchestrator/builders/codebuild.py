"""Starts AWS CodeBuild builds, and looks up how they ended.

The section "Facts about CodeBuild" in orchestrator/builders/README.md lists what this module relies on.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from botocore.exceptions import ClientError

from orchestrator.aws.console import console
from orchestrator.aws.errors import aws_errors, code_of, raise_in_doubt
from orchestrator.errors import JobRejected, Unavailable, WaitReason, shown
from orchestrator.job import Ending, Job, Run, StartedJob
from orchestrator.run import RUN_ID_VARIABLE

if TYPE_CHECKING:
    from types_boto3_codebuild import CodeBuildClient

# A project's name (https://docs.aws.amazon.com/codebuild/latest/APIReference/API_CreateProject.html) or its ARN.
_PROJECT = re.compile(r"(arn:[a-z-]+:codebuild:[a-z0-9-]+:\d{12}:project/)?[A-Za-z0-9][A-Za-z0-9_-]{1,149}")
IN_PROGRESS = "IN_PROGRESS"
SUCCEEDED = "SUCCEEDED"
_FAILED = ("FAILED", "FAULT", "TIMED_OUT", "CLIENT_ERROR", "STOPPED")
# The most ids of one request: https://docs.aws.amazon.com/codebuild/latest/APIReference/API_BatchGetBuilds.html
_PAGE = 100
# The clock of the event's sender may be ahead of CodeBuild's, so a build may seem to be older than its event.
_CLOCK_TOLERANCE = timedelta(minutes=5)


class CodeBuild:
    """Implements `Builder` for CodeBuild. A job is a CodeBuild project, and a run is one of the project's builds."""

    # An idempotency token is valid for five minutes after the first request; one minute is left as a margin.
    covers = timedelta(minutes=4)

    def __init__(self, client: "Callable[[], CodeBuildClient]") -> None:
        self._client = client

    def check(self, name: str) -> None:
        """Raise `JobRejected` if a project's name is malformed; see `ChecksNames.check`."""
        if not _PROJECT.fullmatch(name):
            raise JobRejected(
                f"{shown(name)} is not a CodeBuild project name (2 to 150 letters, digits, - and _); correct it in the "
                "tier's item (jobName) or in the consumer"
            )

    def start(self, job: Job) -> Run:
        """Start a build; see `Builder.start`.

        The run id is the request's idempotency token. CodeBuild therefore starts no second build if the request is
        repeated within five minutes. If the job's variables have changed since the first request, CodeBuild refuses the
        repeated request. This method then searches for the build that the first request started, and returns it.
        """
        self.check(job.name)
        variables = [{"name": name, "value": value, "type": "PLAINTEXT"} for name, value in job.variables.items()]
        failure = f"CodeBuild project {shown(job.name)} was not started"
        with aws_errors(failure, rejected=JobRejected):
            try:
                build = self._client().start_build(
                    projectName=job.name,
                    environmentVariablesOverride=variables,  # type: ignore[arg-type]  # "PLAINTEXT" is inferred as str
                    idempotencyToken=job.run_id,
                )["build"]
            except ClientError as error:
                # CodeBuild also refuses a token that it got before with other parameters. An earlier try sent other
                # variables if the tier has changed since.
                found = self._searched(job) if code_of(error) == "InvalidInputException" else None
                if found is not None:
                    return found
                raise_in_doubt(error, failure)
                _raise_known(error, failure)
                if code_of(error) == "InvalidInputException":
                    size = sum(len(text.encode()) for variable in job.variables.items() for text in variable)
                    raise JobRejected(
                        f"{failure}: AWS answered InvalidInputException to StartBuild; correct the project or its "
                        f"variables ({len(variables)} of them, {size:,} bytes)"
                    ) from None
                raise
        return Run(id=build["id"], link=console_link(build["arn"]))

    def find(self, job: Job) -> Run | None:
        """Search the project's builds, newest first, for the job's run id; see `Builder.find`.

        Each build that this class has started has the run id in its variable `ORCHESTRATOR_RUN_ID`.
        """
        self.check(job.name)
        failure = f"builds of CodeBuild project {shown(job.name)} could not be searched for run {job.run_id}"
        with aws_errors(failure, rejected=JobRejected):
            try:
                return self._searched(job)
            except ClientError as error:
                _raise_known(error, failure)
                raise

    def endings(self, jobs: Sequence[StartedJob]) -> dict[str, Ending]:
        """Look up how builds of one project ended; see `KnowsEndings.endings`.

        A job whose `id` is `None` gets no ending, because CodeBuild looks builds up only by their ids. A build that no
        longer exists gets a failure with `Ending.is_gone`.
        """
        by_build = {job.id: job.run_id for job in jobs if job.id is not None}
        endings: dict[str, Ending] = {}
        for ids in _batched(list(by_build)):
            with aws_errors(f"builds of CodeBuild project {shown(jobs[0].name)} could not be looked up"):
                builds = {build["id"]: build for build in self._client().batch_get_builds(ids=ids)["builds"]}
            for build_id in ids:
                ending = _ending(build_id, builds.get(build_id))
                if ending is not None:
                    endings[by_build[build_id]] = ending
        return endings

    def _searched(self, job: Job) -> Run | None:
        client = self._client()
        # A page has at most 100 ids, as many as one BatchGetBuilds request accepts.
        for page in client.get_paginator("list_builds_for_project").paginate(projectName=job.name):
            ids = page.get("ids", [])
            builds = client.batch_get_builds(ids=ids)["builds"] if ids else []
            for build in builds:
                if _run_id(build) == job.run_id:
                    return Run(id=build["id"], link=console_link(build["arn"]), already_started=True)
            if any(build["startTime"] < job.since - _CLOCK_TOLERANCE for build in builds):
                break
        return None


def _raise_known(error: ClientError, failure: str) -> None:
    match code_of(error):
        case "ResourceNotFoundException":
            raise JobRejected(
                f"{failure}: the project does not exist; create it, or correct its name (jobName) or CODE_BUILD_REGION"
            ) from None
        case "AccountLimitExceededException":
            raise Unavailable(
                f"{failure}: CodeBuild's queue is full; a retry may succeed",
                ambiguous=False,
                waits_for=WaitReason.BUILD_QUEUE_FULL,
            ) from None


def build_variables(variables: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the names and values of a build's plain-text variables.

    Variables from Parameter Store or Secrets Manager are left out, because CodeBuild shows only a reference to their
    value.

    Args:
        variables: The build's `environmentVariables`, in the form in which CodeBuild returns them.
    """
    return {
        variable["name"]: variable["value"]
        for variable in variables
        if variable.get("type", "PLAINTEXT") == "PLAINTEXT" and "value" in variable
    }


def own_variables(build_id: str, *, succeeded: bool) -> dict[str, str]:
    """Return the variables `CODEBUILD_BUILD_ID` and `CODEBUILD_BUILD_SUCCEEDING`, as CodeBuild sets them in a build.

    Args:
        build_id: The build's id.
        succeeded: Whether the build succeeded.
    """
    return {"CODEBUILD_BUILD_ID": build_id, "CODEBUILD_BUILD_SUCCEEDING": "1" if succeeded else "0"}


def ended(build_id: str, status: str, phase: str | None = None) -> str:
    """Describe how a build ended, as in `CodeBuild build shop:8f1c ended TIMED_OUT in phase BUILD`.

    Args:
        build_id: The build's id: the project's name and a unique text, separated by a colon.
        status: The status that CodeBuild gives, such as `TIMED_OUT`.
        phase: The phase that failed, if CodeBuild names one.
    """
    return f"CodeBuild build {build_id} ended {status}" + (f" in phase {phase}" if phase else "")


def _batched(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE))


def _ending(build_id: str, build: Mapping[str, Any] | None) -> Ending | None:
    if build is None:
        return Ending(succeeded=False, reason=f"CodeBuild build {build_id} no longer exists", is_gone=True)
    status = build["buildStatus"]
    if status == IN_PROGRESS:
        return None
    succeeded = status == SUCCEEDED
    failed = [phase["phaseType"] for phase in build.get("phases", ()) if phase.get("phaseStatus") in _FAILED]
    exported = build.get("exportedEnvironmentVariables", ())
    return Ending(
        succeeded=succeeded,
        reason=ended(build_id, status, failed[-1] if failed else None),
        variables={
            **build_variables(build.get("environment", {}).get("environmentVariables", ())),
            **{variable["name"]: variable["value"] for variable in exported},
            **own_variables(build_id, succeeded=succeeded),
        },
    )


def _run_id(build: Mapping[str, Any]) -> str | None:
    for variable in build.get("environment", {}).get("environmentVariables", ()):
        if variable["name"] == RUN_ID_VARIABLE:
            return str(variable["value"])
    return None


def console_link(arn: str) -> str | None:
    """Return the link to a build's page in the AWS console; `None` if the console's host is not known.

    Args:
        arn: The build's ARN.
    """
    address = console(arn)
    if address is None:
        return None
    _, _, _, region, account, resource = arn.split(":", 5)
    build = resource.removeprefix("build/")
    project = build.partition(":")[0]
    return f"{address}/codesuite/codebuild/{account}/projects/{project}/build/{quote(build, safe='')}/?region={region}"
