"""Keeps what was sent to start jobs, because an emulation may forget a build's variables (CONTRACT section 4)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore import handlers

from orchestrator.local.jenkins import JenkinsServer
from orchestrator.run import RUN_ID_VARIABLE

_EVENT = "before-parameter-build.codebuild.StartBuild"


@contextmanager
def recorded_variables() -> Iterator[dict[str, Mapping[str, str]]]:
    """Record the variables of every CodeBuild build that is asked for in the body.

    Yields:
        Variables by run id, growing while the body runs. Clients that were made before see no recording.
    """
    variables: dict[str, Mapping[str, str]] = {}

    def record(params: dict[str, Any], **_: Any) -> None:
        sent = {variable["name"]: variable["value"] for variable in params.get("environmentVariablesOverride", ())}
        variables[params.get("idempotencyToken", "")] = sent

    # The SDK offers no public hook for clients that somebody else's handler is going to make.
    entry = (_EVENT, record)
    handlers.BUILTIN_HANDLERS.append(entry)
    try:
        yield variables
    finally:
        handlers.BUILTIN_HANDLERS.remove(entry)


def jenkins_variables(server: JenkinsServer) -> dict[str, Mapping[str, str]]:
    """Read the variables of every build that an embedded Jenkins was asked for.

    Args:
        server: The server.

    Returns:
        Variables by run id, whether the job declares them or not.
    """
    forms = [dict(request.form) for request in server.requests if request.method == "POST"]
    return {form[RUN_ID_VARIABLE]: form for form in forms if RUN_ID_VARIABLE in form}
