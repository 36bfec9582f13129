"""Publishes how runs ended.

The consumers here handle events of CodeBuild about builds, events of Step Functions about executions, and the events of
a schedule.
"""

from typing import Annotated, NotRequired, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from orchestrator.action import PublishEnding, SweepRuns
from orchestrator.builders.codebuild import IN_PROGRESS, SUCCEEDED, build_variables, ended, own_variables
from orchestrator.consumer import Context
from orchestrator.event import Event
from orchestrator.job import Ending
from orchestrator.registry import Registry
from orchestrator.run import RUN_ID_VARIABLE, TENANT_ID_VARIABLE

STATE_CHANGE = "CodeBuild Build State Change"
STATUS_CHANGE = "Step Functions Execution Status Change"
SCHEDULED = "Scheduled Event"

_SCHEDULERS = ("aws.scheduler", "aws.events")

ENDINGS = "…_SUCCESS or …_FAILURE of any job"
"""In `leads_to`, this text stands for the types of all events about endings."""

registry = Registry()


def is_scheduled(event: Event) -> bool:
    """Whether an EventBridge schedule sent the event.

    The event's source proves who sent it, because only AWS can publish events whose source begins with `aws.`.
    """
    return event.source in _SCHEDULERS


def is_of_codebuild(event: Event) -> bool:
    """Whether CodeBuild sent the event.

    The event's source proves who sent it, because only AWS can publish events whose source begins with `aws.`.
    """
    return event.source == "aws.codebuild"


def is_of_step_functions(event: Event) -> bool:
    """Whether Step Functions sent the event.

    The event's source proves who sent it, because only AWS can publish events whose source begins with `aws.`.
    """
    return event.source == "aws.states"


# AWS' own names and ARNs are shorter. They are in the log.
_Name: TypeAlias = Annotated[str, Field(max_length=1024)]


class _Variable(TypedDict):
    name: str
    value: NotRequired[str]
    type: NotRequired[str]


class _Environment(BaseModel, defer_build=True):
    variables: list[_Variable] = Field(default=[], alias="environment-variables")


class _Information(BaseModel, defer_build=True):
    environment: _Environment = Field(default_factory=_Environment)


class BuildStateChange(BaseModel):
    """The fields that this package uses in the detail of an event `CodeBuild Build State Change`.

    https://docs.aws.amazon.com/codebuild/latest/userguide/sample-build-notifications.html
    """

    model_config = ConfigDict(hide_input_in_errors=True, defer_build=True)

    status: _Name = Field(alias="build-status")
    project: _Name = Field(alias="project-name")
    arn: _Name = Field(alias="build-id")
    information: _Information = Field(default_factory=_Information, alias="additional-information", repr=False)

    @property
    def build_id(self) -> str:
        """The build's id: the part of its ARN after `build/`."""
        return self.arn.rpartition("build/")[2]


@registry.consumer(STATE_CHANGE, when=is_of_codebuild, leads_to=[ENDINGS])
def publish_build_ending(event: Event[BuildStateChange], context: Context) -> PublishEnding | None:
    """Publish how a build ended.

    Returns:
        The action that publishes the ending. `None` in these cases:

        - The build is still running.
        - The build has no run id, because the Lambda function did not start it.
        - The setting `PUBLISH_BUILD_ENDINGS` is false. It says that builds publish their endings themselves.
    """
    build = event.detail
    if not context.settings.publish_build_endings or build.status == IN_PROGRESS:
        return None
    variables = build_variables(build.information.environment.variables)
    if not variables.get(RUN_ID_VARIABLE):
        return None
    succeeded = build.status == SUCCEEDED
    return PublishEnding(
        run_id=variables[RUN_ID_VARIABLE],
        builder="CODE_BUILD",
        name=build.project,
        build=build.build_id,
        tenant_id=variables.get(TENANT_ID_VARIABLE) or None,
        ending=Ending(
            succeeded=succeeded,
            reason=ended(build.build_id, build.status),
            variables={**variables, **own_variables(build.build_id, succeeded=succeeded)},
        ),
    )


class ExecutionStatusChange(BaseModel):
    """The fields that this package uses in the detail of an event `Step Functions Execution Status Change`.

    https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html

    Attributes:
        sent: The execution's input; `None` if it is too large for the event.
        output: The execution's output; `None` if it has none, or if it is too large for the event.
    """

    model_config = ConfigDict(hide_input_in_errors=True, defer_build=True)

    arn: _Name = Field(alias="executionArn", pattern="^arn:[^:]+:states:[^:]+:")
    machine: _Name = Field(alias="stateMachineArn")
    name: _Name
    status: _Name
    sent: str | None = Field(default=None, alias="input", repr=False)
    output: str | None = Field(default=None, repr=False)
    error: str | None = None


@registry.consumer(STATUS_CHANGE, when=is_of_step_functions, leads_to=[ENDINGS])
def publish_execution_ending(event: Event[ExecutionStatusChange], context: Context) -> PublishEnding | None:
    """Publish how an execution ended.

    Returns:
        The action that publishes the ending. `None` in these cases:

        - The execution is still running.
        - The Lambda function did not start the execution: the execution's name is not the run id in its input.
        - The event lacks the execution's input, because the input is too large. A scheduled sweep will publish the
          ending.
        - The setting `PUBLISH_BUILD_ENDINGS` is false. It says that executions publish their endings themselves.
    """
    if not context.settings.publish_build_endings:
        return None
    from orchestrator.builders.step_functions import ending_of, variables_in  # needed only if Step Functions is used

    execution = event.detail
    ending = ending_of(execution.arn, execution.status, execution.sent, execution.output, execution.error)
    sent = variables_in(execution.sent)
    if ending is None or sent.get(RUN_ID_VARIABLE) != execution.name:
        return None
    return PublishEnding(
        run_id=execution.name,
        builder="STEP_FUNCTIONS",
        name=execution.machine,
        build=execution.arn,
        tenant_id=sent.get(TENANT_ID_VARIABLE) or None,
        ending=ending,
    )


@registry.consumer(SCHEDULED, when=is_scheduled, leads_to=[ENDINGS])
def sweep_runs(event: Event) -> SweepRuns:
    """Check whether started runs have ended, and publish the endings that no event has reported.

    Also make SQS deliver waiting events whose jobs may be started by now.
    """
    return SweepRuns()
