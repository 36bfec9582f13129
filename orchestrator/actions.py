"""What a consumer can decide on: plain records that say what should happen, and do nothing themselves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from orchestrator.builders import Result, StartedJob


@dataclass(frozen=True, slots=True, kw_only=True)
class StartJob:
    """Start one job of a build system.

    Attributes:
        name: The job: a CodeBuild project's name or ARN, a Jenkins job's full name, as in `tenants/scale-down`.
        builder: Name of the build system, for example `CODE_BUILD`; `None` takes `DEFAULT_BUILDER`.
        variables: The job's variables, as an event gave them: names that reach into the build are refused
            (`orchestrator.refused_names`). They may hold secrets and are left out of `repr`.
        trusted_variables: Variables from a source that may set any name, such as the tier details;
            `variables` go on top.
        tenant_id: The tenant that the job is for; `None` takes it from the event's detail where that has one.
        reports: Whether the end of the job is the end of what the event asked for, and so is published as
            `<event type>_SUCCESS` or `…_FAILURE`. Say `False` for a job that merely runs beside another.
    """

    name: str
    builder: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    trusted_variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tenant_id: str | None = None
    reports: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveTenant:
    """Store the tenant's record, in place of the one that is there, unless a later event has written that.

    Attributes:
        tenant_id: The record's key.
        record: Its other attributes. They may hold secrets and are left out of `repr`.
    """

    tenant_id: str
    record: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateTenant:
    """Change some attributes of the tenant's record, unless a later event has written it.

    Attributes:
        tenant_id: The record's key.
        changes: The new values; `None` removes an attribute. They may hold secrets and are left out of `repr`.
        create: Whether a record is made where there is none; else such a tenant is an `InvalidEvent`.
    """

    tenant_id: str
    changes: Mapping[str, Any] = field(repr=False)
    create: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishEvent:
    """Publish an event on the function's bus (`EVENT_BUS_NAME`).

    Attributes:
        type: The event's type: EventBridge's `detail-type`.
        detail: Its detail. It may hold secrets and is left out of `repr`.
        source: Who says so.
    """

    type: str
    detail: Mapping[str, Any] = field(repr=False)
    source: str = "orchestrator"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCallback:
    """Send a signed callback to the control plane.

    Attributes:
        url: Where to; its host must be among `CALLBACK_ALLOWED_HOSTS` or `allowed_hosts`, or that of `CALLBACK_URL`.
            Its path may be secret, so it is left out of `repr`.
        body: The JSON body. It may hold secrets and is left out of `repr`.
        secret: Signs the callback.
        context: Goes into the signature of a tenant-status webhook; a service callback has none.
        allowed_hosts: Hosts that it may go to besides those of `CALLBACK_ALLOWED_HOSTS`: such as a tier names, and
            never one that an event does.
        may_be_settled: Whether the tenant need not be in provisioning, so that the 401 with which the control
            plane answers then is no failure.
        tenant_id: The tenant in whose record such an answer is noted; `None` notes it nowhere.
    """

    url: str = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    secret: str = field(repr=False)
    context: str | None = field(default=None, repr=False)
    allowed_hosts: Sequence[str] = ()
    may_be_settled: bool = False
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportJob:
    """Ask a build system how a job ended, and publish that.

    Attributes:
        job: The job.
        result: How it ended as far as is known; taken where the build system does not know it any more.
    """

    job: StartedJob
    result: Result | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepJobs:
    """Report every job that was started a while ago, has ended since, and was not reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseJob:
    """Note that a job was reported: the sweep need not ask after it.

    Attributes:
        run_id: The job's run id.
    """

    run_id: str


Action: TypeAlias = (
    StartJob | SaveTenant | UpdateTenant | PublishEvent | SendCallback | ReportJob | SweepJobs | CloseJob
)
Decision: TypeAlias = Action | Iterable[Action] | None
"""What a consumer returns: one action, several that are performed in order, or nothing."""
