"""Sees to it that the end of every job becomes known."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.actions import CloseJob, ReportJob, SweepJobs
from orchestrator.builders import Result, StartedJob
from orchestrator.builders.codebuild import IN_PROGRESS, SUCCEEDED, build_variables, ended, own_variables
from orchestrator.context import Context
from orchestrator.event import Event, EventType
from orchestrator.registry import Registry
from orchestrator.run import (
    EVENT_ID_VARIABLE,
    EVENT_TYPE_VARIABLE,
    OUTCOME_SUFFIXES,
    REPORTS_VARIABLE,
    RUN_ID_VARIABLE,
    TENANT_ID_VARIABLE,
    reported_run,
)

STATE_CHANGE = "CodeBuild Build State Change"
SCHEDULED = "Scheduled Event"

_SCHEDULERS = ("aws.scheduler", "aws.events")

_ENDS = "…_SUCCESS or …_FAILURE of any job"

registry = Registry()


def is_scheduled(event: Event) -> bool:
    """Say whether a schedule of EventBridge sent the event, and nobody else."""
    return event.source in _SCHEDULERS


def is_of_a_job(event: Event) -> bool:
    """Say whether the event names the job of whose end it tells, and tells what that job was started for."""
    started_for = event.detail.get(EVENT_TYPE_VARIABLE)
    return reported_run(event) is not None and event.type in [f"{started_for}{suffix}" for suffix in OUTCOME_SUFFIXES]


class _Environment(BaseModel, defer_build=True):
    variables: list[dict[str, Any]] = Field(default=[], alias="environment-variables")


class _Information(BaseModel, defer_build=True):
    environment: _Environment = Field(default_factory=_Environment)


class BuildStateChange(BaseModel):
    """The detail of a CodeBuild state change, as far as it is needed."""

    model_config = ConfigDict(hide_input_in_errors=True, defer_build=True)

    status: str = Field(alias="build-status")
    project: str = Field(alias="project-name")
    arn: str = Field(alias="build-id")
    information: _Information = Field(default_factory=_Information, alias="additional-information", repr=False)

    @property
    def build_id(self) -> str:
        """The build's id: the part of its ARN after `build/`."""
        return self.arn.rpartition("build/")[2]


@registry.consumer(STATE_CHANGE, leads_to=[_ENDS])
def report_build(event: Event[BuildStateChange], context: Context) -> ReportJob | None:
    """Have the end of a build published that this function started; other people's builds are none of its.

    Args:
        event: A state change of any build of the account.
        context: Gives the setting `PUBLISH_BUILD_OUTCOMES`.

    Returns:
        The build to report, or nothing: it is still running, is somebody else's, merely runs beside another, or
        builds publish for themselves.
    """
    build = event.detail
    if not context.settings.publish_build_outcomes or build.status == IN_PROGRESS:
        return None
    variables = build_variables(build.information.environment.variables)
    if not _is_ours(variables):
        return None
    succeeded = build.status == SUCCEEDED
    return ReportJob(
        job=StartedJob(
            builder="CODE_BUILD",
            name=build.project,
            run_id=variables[RUN_ID_VARIABLE],
            id=build.build_id,
            since=event.time,
            event_id=variables.get(EVENT_ID_VARIABLE, ""),
            event_type=variables[EVENT_TYPE_VARIABLE],
            tenant_id=variables.get(TENANT_ID_VARIABLE, ""),
        ),
        result=Result(
            succeeded=succeeded,
            reason=ended(build.build_id, build.status),
            variables={**variables, **own_variables(build.build_id, succeeded=succeeded)},
        ),
    )


@registry.consumer(SCHEDULED, when=is_scheduled, leads_to=[_ENDS])
def sweep_open_jobs(event: Event) -> SweepJobs:
    """Have those jobs reported of whose end nobody told.

    Args:
        event: What a schedule of EventBridge sends.

    Returns:
        The sweep.
    """
    return SweepJobs()


@registry.consumer(
    EventType.TENANT_PROVISIONING_SUCCESS,
    EventType.TENANT_PROVISIONING_FAILURE,
    EventType.TENANT_DEPLOYMENT_SUCCESS,
    EventType.TENANT_DEPLOYMENT_FAILURE,
    EventType.TENANT_DEPROVISIONING_SUCCESS,
    EventType.TENANT_DEPROVISIONING_FAILURE,
    when=is_of_a_job,
)
def close_job(event: Event) -> CloseJob:
    """Note that the end of a job is known, so that the sweep need not ask.

    Args:
        event: A report, whoever sent it.

    Returns:
        The job to close.
    """
    return CloseJob(run_id=reported_run(event) or "")


def _is_ours(variables: Mapping[str, str]) -> bool:
    return (
        bool(variables.get(RUN_ID_VARIABLE))
        and bool(variables.get(EVENT_TYPE_VARIABLE))
        and variables.get(REPORTS_VARIABLE) != "false"
    )
