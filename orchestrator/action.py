"""What a consumer can decide on: plain records that say what should happen, and do nothing themselves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict

from orchestrator.errors import OrchestratorError
from orchestrator.job import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class StartJob:
    """Start one job of a build system.

    Attributes:
        name: The job: a CodeBuild project's name or ARN, a Jenkins job's full name, as in `tenants/scale-down`.
        builder: Name of the build system, for example `CODE_BUILD`; `None` takes `DEFAULT_BUILDER`.
        variables: The job's variables, as an event gave them: names that reach into the build are refused
            (`orchestrator.builders.refused_names`). They may hold secrets and are left out of `repr`.
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
    """Store the tenant's record, in place of the one that is there: something begins for the tenant with this event.

    Nothing is stored where a later event has begun something for the tenant; then the actions after this one are not
    performed either. Nor is it where this very event has done so before.

    Attributes:
        tenant_id: The record's key.
        record: Its other attributes. They may hold secrets and are left out of `repr`.
    """

    tenant_id: str
    record: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateTenant:
    """Change some attributes of the tenant's record, unless a later event has written it.

    Where the event tells how a run ended, or follows from one that does, and something later has begun for the tenant,
    the actions after this one are not performed either.

    Attributes:
        tenant_id: The record's key.
        changes: The new values; `None` removes an attribute. They may hold secrets and are left out of `repr`.
        create: Whether a record is made where there is none; else such a tenant is an `InvalidEvent`.
        starts: Whether something begins for the tenant with this event, as with `SaveTenant`.
        status: The status that the tenant reaches, if it does; such a change may be made again and again.
        ahead: Statuses of a tenant that has come further: nothing is changed.
        final: Statuses that it does not go on from: nothing is changed, and the actions after this one are not
            performed either.
    """

    tenant_id: str
    changes: Mapping[str, Any] = field(repr=False)
    create: bool = False
    starts: bool = False
    status: str | None = None
    ahead: Sequence[str] = ()
    final: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishEvent:
    """Publish an event on the function's bus (`EVENT_BUS_NAME`).

    Attributes:
        type: The event's type: EventBridge's `detail-type`.
        detail: Its detail. It may hold secrets and is left out of `repr`.
        source: Who says so. Of other sources than `orchestrator` (and the reference's, `saas.tenant.provisioning.…`)
            an event that had to be published twice counts twice.
        failure: The failure that it tells of, which is kept with its record.
        once_per: What it is about: for that it is published once; see `SendCallback`. However often it is published,
            its consumers see one event.
    """

    type: str
    detail: Mapping[str, Any] = field(repr=False)
    source: str = "orchestrator"
    failure: OrchestratorError | None = None
    once_per: str | None = None


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
        tenant_id: The tenant in whose record it is noted that it was not sent or not accepted; `None` notes it nowhere.
        missing: What it lacks to be sent, in words: it is not, and the tenant's record says so.
        once_per: What it is about, such as a run: for that it is sent once, whichever event and consumer it comes of.
            `None` is the event, the consumer, and its place in the decision.
        keeps: Members of the JSON answer that later callbacks of the same decision need, see `FromAnswer`. They are
            kept with the action's record, in the clear. An answer without one of them is an error, and so is a 401.
    """

    url: str = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    secret: str = field(repr=False)
    context: str | None = field(default=None, repr=False)
    allowed_hosts: Sequence[str] = ()
    may_be_settled: bool = False
    tenant_id: str | None = None
    missing: str | None = None
    once_per: str | None = None
    keeps: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FromAnswer:
    """Stands anywhere in a callback's body for what an earlier callback of the same decision was answered.

    Attributes:
        member: A member of that answer; it is among the `keeps` of the earlier `SendCallback`. Of several that keep
            it, the last one before counts.
    """

    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportJob:
    """Ask a build system how a job ended of which somebody says that it did, and publish that.

    Believed only where the ledger knows the run, with the same builder, job and tenant.

    Attributes:
        run_id: The run id.
        builder: Name of the build system.
        name: The job's name there.
        build: The build system's name for the run.
        tenant_id: The tenant that it is for; may be empty.
        result: How it ended as far as is known; taken where the build system does not know it any more.
    """

    run_id: str
    builder: str
    name: str
    build: str
    tenant_id: str = ""
    result: Result | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepJobs:
    """Report every job that was started a while ago, has ended since, and was not reported."""


Action: TypeAlias = StartJob | SaveTenant | UpdateTenant | PublishEvent | SendCallback | ReportJob | SweepJobs
Decision: TypeAlias = Action | Iterable[Action] | None
"""What a consumer returns: one action, several that are performed in order, or nothing."""


def begins(action: Action) -> bool:
    """Say whether something begins for a tenant with an action, as with its provisioning."""
    return isinstance(action, SaveTenant) or (isinstance(action, UpdateTenant) and action.starts)


class Outcome(TypedDict, total=False):
    """One performed action.

    Attributes:
        action: The action's kind, for example `StartJob`.
        status: What happened: `started`, `published`, `sent`, `updated`, each also with `already` before it,
            `saved`, `refused`, `swept`, `skipped` (nothing was done, and what follows goes on), `superseded` (nothing
            was done, nor is what follows), or `ignored`.
        builder: Build system of a job.
        name: The job's name, the tenant's id of a record, the published event's type, or a callback's host (the
            tenant's id where it was not sent).
        id: The build system's name for the run, or the published event's id.
        link: Where a person can look at the run.
        buildNumber: Number of a Jenkins build, where it is known already.
        buildLink: Where a person can look at that build.
        checked: How many open jobs a sweep asked after.
        reported: How many of them it reported.
        reason: Why an action was skipped, superseded or ignored, or counts as sent already; of a published failure, its
            text.
        error: Name of a published failure's error.
        answer: What a callback keeps of its answer, by name. It may be personal: it is stored with the action's
            record, and is in no log and no answer of the handler.
    """

    action: str
    status: str
    builder: str
    name: str
    id: str
    link: str
    buildNumber: int
    buildLink: str
    checked: int
    reported: int
    reason: str
    error: str
    answer: Mapping[str, str | int]


def repeated(outcome: Outcome) -> Outcome:
    """Say of an outcome that it is an earlier delivery's.

    Args:
        outcome: What came of the action then.

    Returns:
        The same with a status such as `already started`.
    """
    status = outcome["status"]
    return outcome if status.startswith("already ") else {**outcome, "status": f"already {status}"}
