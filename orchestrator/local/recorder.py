"""Records published events and the variables of requested jobs, because the emulated AWS does not keep all of them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore import handlers

from orchestrator.local.jenkins import JenkinsServer
from orchestrator.run import RUN_ID_VARIABLE

_START = "before-parameter-build.codebuild.StartBuild"
_EXECUTE = "before-parameter-build.sfn.StartExecution"
_PUBLISH = "before-parameter-build.events.PutEvents"


@dataclass(frozen=True, slots=True)
class Recording:
    """The jobs that the function asked build systems to start, and the events that it published.

    Attributes:
        variables: The variables of each job, by name. The keys of the outer dictionary are the run ids.
        published: The entry of every published event, as it was given to PutEvents.
    """

    variables: dict[str, Mapping[str, str]] = field(default_factory=dict)
    published: list[Mapping[str, Any]] = field(default_factory=list)

    def clear(self) -> None:
        """Remove all jobs and events, so that the next invocation starts with none."""
        self.variables.clear()
        self.published.clear()


@contextmanager
def recorded() -> Iterator[Recording]:
    """Within the `with` block, record the requests to start CodeBuild and Step Functions jobs and to publish events.

    Only requests of AWS clients whose session was created within the block are recorded.
    """
    recording = Recording()

    def start(params: dict[str, Any], **_: Any) -> None:
        sent = {variable["name"]: variable["value"] for variable in params.get("environmentVariablesOverride", ())}
        recording.variables[params.get("idempotencyToken", "")] = sent

    def execute(params: dict[str, Any], **_: Any) -> None:
        sent = json.loads(params.get("input", "{}"))
        if isinstance(sent, dict):  # a builder of a user's own may send something else
            recording.variables[params.get("name", "")] = sent

    def publish(params: dict[str, Any], **_: Any) -> None:
        recording.published.extend(params["Entries"])

    # The SDK has no public hook for clients that a user's handler creates later, so botocore's own list is extended.
    entries = [(_START, start), (_EXECUTE, execute), (_PUBLISH, publish)]
    handlers.BUILTIN_HANDLERS.extend(entries)
    try:
        yield recording
    finally:
        for entry in entries:
            handlers.BUILTIN_HANDLERS.remove(entry)


def jenkins_variables(server: JenkinsServer) -> dict[str, Mapping[str, str]]:
    """Return the variables of every build that the emulated Jenkins was asked to start, by run id.

    The result includes variables that Jenkins drops because the job does not declare them as parameters.
    """
    forms = [dict(request.form) for request in server.requests if request.method == "POST"]
    return {form[RUN_ID_VARIABLE]: form for form in forms if RUN_ID_VARIABLE in form}
