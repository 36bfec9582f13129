"""What consumers decide on, as plain records that do nothing themselves, and what came of performing it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias, TypedDict

from orchestrator.errors import OrchestratorError
from orchestrator.job import Ending


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
        follow: Whether the run is followed, and its ending published as `<event type>_SUCCESS` or `…_FAILURE`; `False`
            for a job that merely runs beside another.
    """

    name: str
    builder: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    trusted_variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tenant_id: str | None = None
    follow: bool = True


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


Action: TypeAlias = StartJob | SaveTenant | UpdateTenant | PublishEvent | SendCallback
Decision: TypeAlias = Action | Iterable[Action] | None
"""What a consumer returns: one action, several that are performed in order, or nothing."""


def begins(action: object) -> bool:
    """Say whether something begins for a tenant with an action, as with its provisioning."""
    return isinstance(action, SaveTenant) or (isinstance(action, UpdateTenant) and action.starts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishEnding:
    """Publish how a run ended, if the build system confirms that it has. For the built-in consumers alone.

    Ignored unless the ledger knows the run, with the same builder, job and tenant.

    Attributes:
        run_id: The run id.
        builder: Name of the builder.
        name: The job's name there.
        build: The build system's name for the run.
        tenant_id: The tenant that it is for, if any.
        ending: The ending as its sender knows it; taken where the build system has forgotten the run.
    """

    run_id: str
    builder: str
    name: str
    build: str
    tenant_id: str | None = None
    ending: Ending | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRuns:
    """Publish the endings of all followed runs that have ended. For the built-in consumers alone."""


Following: TypeAlias = PublishEnding | SweepRuns
"""What the built-in consumers of state changes and schedules return."""


class OutcomeStatus(StrEnum):
    """What came of an action; `ALREADY_…` where an earlier delivery of the event had performed it."""

    STARTED = "started"
    SAVED = "saved"
    UPDATED = "updated"
    PUBLISHED = "published"
    SENT = "sent"
    REFUSED = "refused"
    """The control plane did not accept the callback, and need not."""
    SWEPT = "swept"
    SKIPPED = "skipped"
    """Nothing was done; the actions after it are performed."""
    SUPERSEDED = "superseded"
    """Nothing was done, and the actions after it are not performed either."""
    IGNORED = "ignored"
    """Nothing was done: the event is about a run that is not this function's."""
    ALREADY_STARTED = "already started"
    ALREADY_UPDATED = "already updated"
    ALREADY_PUBLISHED = "already published"
    ALREADY_SENT = "already sent"
    ALREADY_REFUSED = "already refused"


class Outcome(TypedDict, total=False):
    """What came of performing an action: an entry of the handler's JSON answer.

    Attributes:
        action: Name of the action's class, for example `StartJob`.
        status: What happened.
        builder: Builder of a job.
        name: The job's name, the tenant's id of a record, the published event's type, or a callback's host (the
            tenant's id where it was not sent).
        id: The build system's name for the run, or the published event's id.
        link: Page of the run.
        buildNumber: Number of a Jenkins build, where it is known already.
        buildLink: Page of that build.
        checked: How many runs a sweep checked.
        published: How many of their endings it published.
        reason: Why an action was skipped, superseded or ignored, or counts as sent already; of a published failure, its
            text.
        error: Name of a published failure's error.
        answer: What a callback keeps of its answer, by name. It may be personal: it is stored with the action's
            record, and is in no log and no answer of the handler.
    """

    action: str
    status: OutcomeStatus
    builder: str
    name: str
    id: str
    link: str
    buildNumber: int
    buildLink: str
    checked: int
    published: int
    reason: str
    error: str
    answer: Mapping[str, str | int]


def repeated(outcome: Outcome) -> Outcome:
    """Mark an outcome as an earlier delivery's, with a status such as `already started`."""
    status = outcome["status"]
    return outcome if status.startswith("already ") else {**outcome, "status": OutcomeStatus(f"already {status}")}
