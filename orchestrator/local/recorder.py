"""Keeps what was sent to start jobs, because an emulation may forget a build's variables."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore import handlers

from orchestrator.local.jenkins import JenkinsServer
from orchestrator.run import RUN_ID_VARIABLE

_START = "before-parameter-build.codebuild.StartBuild"
_PUBLISH = "before-parameter-build.events.PutEvents"


@dataclass(frozen=True, slots=True)
class Recording:
    """What was sent to AWS.

    Attributes:
        variables: The variables of every build that was asked for, by run id.
        published: The type and the detail of every event that was published.
    """

    variables: dict[str, Mapping[str, str]] = field(default_factory=dict)
    published: list[tuple[str, str]] = field(default_factory=list)

    def clear(self) -> None:
        """Forget it."""
        self.variables.clear()
        self.published.clear()


@contextmanager
def recorded() -> Iterator[Recording]:
    """Record the builds that are asked for, and the events that are published, in the body.

    Yields:
        The recording, growing while the body runs. Clients that were made before see none.
    """
    recording = Recording()

    def start(params: dict[str, Any], **_: Any) -> None:
        sent = {variable["name"]: variable["value"] for variable in params.get("environmentVariablesOverride", ())}
        recording.variables[params.get("idempotencyToken", "")] = sent

    def publish(params: dict[str, Any], **_: Any) -> None:
        recording.published.extend((entry["DetailType"], entry["Detail"]) for entry in params["Entries"])

    # The SDK offers no public hook for clients that somebody else's handler is going to make.
    entries = [(_START, start), (_PUBLISH, publish)]
    handlers.BUILTIN_HANDLERS.extend(entries)
    try:
        yield recording
    finally:
        for entry in entries:
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
