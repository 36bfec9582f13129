"""Records published events and the variables of requested builds, because the emulated AWS keeps neither."""

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
    """The builds and events that one local invocation requested.

    Attributes:
        variables: The variables of every requested build, by run id.
        published: The type and the detail of every published event.
    """

    variables: dict[str, Mapping[str, str]] = field(default_factory=dict)
    published: list[tuple[str, str]] = field(default_factory=list)

    def clear(self) -> None:
        """Remove every entry."""
        self.variables.clear()
        self.published.clear()


@contextmanager
def recorded() -> Iterator[Recording]:
    """Record the requests of every SDK client that is created within the `with` block."""
    recording = Recording()

    def start(params: dict[str, Any], **_: Any) -> None:
        sent = {variable["name"]: variable["value"] for variable in params.get("environmentVariablesOverride", ())}
        recording.variables[params.get("idempotencyToken", "")] = sent

    def publish(params: dict[str, Any], **_: Any) -> None:
        recording.published.extend((entry["DetailType"], entry["Detail"]) for entry in params["Entries"])

    # The SDK has no public hook for clients that a user's handler creates later, so botocore's own list is extended.
    entries = [(_START, start), (_PUBLISH, publish)]
    handlers.BUILTIN_HANDLERS.extend(entries)
    try:
        yield recording
    finally:
        for entry in entries:
            handlers.BUILTIN_HANDLERS.remove(entry)


def jenkins_variables(server: JenkinsServer) -> dict[str, Mapping[str, str]]:
    """Return the variables of every build that was requested from a Jenkins, by run id.

    They include variables that the job does not declare as parameters.
    """
    forms = [dict(request.form) for request in server.requests if request.method == "POST"]
    return {form[RUN_ID_VARIABLE]: form for form in forms if RUN_ID_VARIABLE in form}
