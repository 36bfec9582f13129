"""Starts AWS CodeBuild builds (CONTRACT section 4)."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from botocore.exceptions import ClientError

from orchestrator import aws
from orchestrator.builders import Job, Run
from orchestrator.errors import JobRejected, Unavailable, shown
from orchestrator.run import RUN_ID_VARIABLE

if TYPE_CHECKING:
    from types_boto3_codebuild import CodeBuildClient

# https://docs.aws.amazon.com/codebuild/latest/APIReference/API_CreateProject.html (name), or a project's ARN.
_PROJECT = re.compile(r"(arn:[a-z-]+:codebuild:[a-z0-9-]+:\d{12}:project/)?[A-Za-z0-9][A-Za-z0-9_-]{1,149}")
_CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}
# CodeBuild's clock may be behind the event's.
_CLOCK_TOLERANCE = timedelta(minutes=5)


class CodeBuild:
    """CodeBuild as a build system: a job is a project, a run is a build."""

    # A token holds for five minutes from the first request on, which is no earlier than the event's time.
    covers = timedelta(minutes=4)

    def __init__(self, client: "Callable[[], CodeBuildClient]") -> None:
        self._client = client

    def check(self, name: str) -> None:
        """Refuse what can be no project's name; see `Builder`."""
        if not _PROJECT.fullmatch(name):
            raise JobRejected(
                f"{shown(name)} is no name for a CodeBuild project (letters, digits, - and _, 2 to 150 of them); "
                "correct the tier's jobName, or what else names it"
            )

    def start(self, job: Job) -> Run:
        """Start a build with the run id as its idempotency token; see `Builder.start`."""
        self.check(job.name)
        variables = [{"name": name, "value": value, "type": "PLAINTEXT"} for name, value in job.variables.items()]
        what = f"CodeBuild project {shown(job.name)} was not started"
        with aws.errors(what, rejected=JobRejected):
            try:
                build = self._client().start_build(
                    projectName=job.name,
                    environmentVariablesOverride=variables,  # type: ignore[arg-type]  # "PLAINTEXT" is inferred as str
                    idempotencyToken=job.run_id,
                )["build"]
            except ClientError as error:
                # The token is known with other parameters: the tier's details have changed since the first try.
                found = self._searched(job) if _code(error) == "InvalidInputException" else None
                if found is not None:
                    return found
                _raise_known(error, what)
                raise
        return Run(id=build["id"], link=console_link(build["arn"]))

    def find(self, job: Job) -> Run | None:
        """Search the project's builds, newest first, for the run id; see `Builder.find`."""
        self.check(job.name)
        what = f"builds of CodeBuild project {shown(job.name)} could not be searched for run {job.run_id}"
        with aws.errors(what, rejected=JobRejected):
            try:
                return self._searched(job)
            except ClientError as error:
                _raise_known(error, what)
                raise

    def _searched(self, job: Job) -> Run | None:
        client = self._client()
        # A page of ids is what one BatchGetBuilds takes: 100 (API reference, BatchGetBuilds).
        for page in client.get_paginator("list_builds_for_project").paginate(projectName=job.name):
            ids = page.get("ids", [])
            builds = client.batch_get_builds(ids=ids)["builds"] if ids else []
            for build in builds:
                if _run_id(build) == job.run_id:
                    return Run(id=build["id"], link=console_link(build["arn"]), already_started=True)
            if any(build["startTime"] < job.since - _CLOCK_TOLERANCE for build in builds):
                break
        return None


def _raise_known(error: ClientError, what: str) -> None:
    match _code(error):
        case "ResourceNotFoundException":
            raise JobRejected(
                f"{what}: there is no such project; create it, or correct its name (jobName) or CODE_BUILD_REGION"
            ) from None
        case "AccountLimitExceededException":
            # A try before this one may have been answered, and the answer lost.
            tried_before = error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
            raise Unavailable(
                f"{what}: CodeBuild's queue is full; it will be retried", ambiguous=tried_before
            ) from None


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code"))


def _run_id(build: Mapping[str, Any]) -> str | None:
    for variable in build.get("environment", {}).get("environmentVariables", ()):
        if variable["name"] == RUN_ID_VARIABLE:
            return str(variable["value"])
    return None


def console_link(arn: str) -> str | None:
    """Make the link to a build in the AWS console.

    Args:
        arn: The build's ARN.

    Returns:
        The link, or `None` where the ARN is of a partition whose console's address is not known.
    """
    _, partition, _, region, account, resource = arn.split(":", 5)
    host = _CONSOLES.get(partition)
    if host is None:
        return None
    build = resource.removeprefix("build/")
    project = build.partition(":")[0]
    return (
        f"https://{region}.{host}/codesuite/codebuild/{account}/projects/{project}"
        f"/build/{quote(build, safe='')}/?region={region}"
    )
