"""Starts AWS CodeBuild builds (CONTRACT section 4)."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from botocore.exceptions import ClientError

from orchestrator import aws
from orchestrator.builders import Job, Run
from orchestrator.errors import JobRejected, Unavailable, shown

if TYPE_CHECKING:
    from types_boto3_codebuild import CodeBuildClient

# https://docs.aws.amazon.com/codebuild/latest/APIReference/API_CreateProject.html (name), or a project's ARN.
_PROJECT = re.compile(r"(arn:[a-z-]+:codebuild:[a-z0-9-]+:\d{12}:project/)?[A-Za-z0-9][A-Za-z0-9_-]{1,149}")
_CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


class CodeBuild:
    """CodeBuild as a build system: a job is a project, a run is a build."""

    def __init__(self, client: "Callable[[], CodeBuildClient]") -> None:
        self._client = client

    def start(self, job: Job) -> Run:
        """Start a build with the run id as its idempotency token; see `Builder.start`."""
        if not _PROJECT.fullmatch(job.name):
            raise JobRejected(
                f"{shown(job.name)} is no name for a CodeBuild project (letters, digits, - and _, 2 to 150 of them); "
                "correct the tier's jobName"
            )
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
                self._raise_known(error, what)
                raise
        return Run(id=build["id"], link=console_link(build["arn"]))

    def _raise_known(self, error: ClientError, what: str) -> None:
        match error.response.get("Error", {}).get("Code"):
            case "ResourceNotFoundException":
                raise JobRejected(
                    f"{what}: there is no such project; create it, or correct the tier's jobName or CODE_BUILD_REGION"
                ) from None
            case "AccountLimitExceededException":
                raise Unavailable(f"{what}: CodeBuild's queue is full; it will be retried") from None


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
