"""Actions, which consumers return, and outcomes, the results of performing them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias, TypedDict, TypeGuard

from orchestrator.errors import OrchestratorError
from orchestrator.job import Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class StartJob:
    """Start one job of a build system.

    Attributes:
        name: A CodeBuild project's name or ARN, or a Jenkins job's full name such as `tenants/scale-down`.
        builder: Name of the build system, for example `CODE_BUILD`; `None` uses `DEFAULT_BUILDER`.
        variables: Variables that come from an event. Names that could change how the build runs are refused
            (`orchestrator.builders.refused_names`). Values may be secret and are not in `repr`.
        trusted_variables: Variables from a trusted source, such as the tier details, which may have any name;
            `variables` overrides them.
        tenant_id: The tenant that the job is for; `None` uses the tenant in the event's detail, if any.
        follow: Whether to follow the run and publish its ending as `<event type>_SUCCESS` or `…_FAILURE`. Set it to
            `False` for a second job of the same event, whose ending must not count as the event's.
    """

    name: str
    builder: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    trusted_variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tenant_id: str | None = None
    follow: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveTenant:
    """Begin an operation for the tenant, such as its provisioning, and replace the tenant record.

    If a later event has begun an operation for the tenant, nothing is stored and the remaining actions are not
    performed. If an earlier delivery of this event stored the record, nothing is stored, but the remaining actions are
    performed.

    Attributes:
        tenant_id: The record's key.
        record: The record's other attributes. Values may be secret and are not in `repr`.
    """

    tenant_id: str
    record: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateTenant:
    """Change attributes of the tenant record, unless a later event has written it.

    If a later event has begun an operation for the tenant, and this event is about a run's ending or follows from one,
    the remaining actions are not performed either.

    Attributes:
        tenant_id: The record's key.
        changes: The new values; `None` removes an attribute. Values may be secret and are not in `repr`.
        create: Whether to create a missing record; if false, a missing record raises `UnknownTenant`.
        starts: Whether this event begins an operation for the tenant, as with `SaveTenant`.
        status: The new status, if the status changes; such a change is safe to repeat.
        ahead: If the tenant has one of these statuses, nothing is changed.
        final: If the tenant has one of these statuses, nothing is changed and the remaining actions are not performed.
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
        detail: The event's detail. It may be secret and is not in `repr`.
        source: The event's source. If an event has to be published twice, its consumers recognize the second one only
            if the source is `orchestrator` or begins with `saas.tenant.provisioning.`.
        failure: The failure that the event is about; stored in the action's record.
        once_per: The subject for which the event is published once; see `SendCallback`.
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
        url: The address. Its host must be in `CALLBACK_ALLOWED_HOSTS` or `allowed_hosts`, or be that of `CALLBACK_URL`.
            Its path may be secret and is not in `repr`.
        body: The JSON body. It may be secret and is not in `repr`.
        secret: The key of the signature.
        context: The tenant's context, which is part of a status webhook's signature; service callbacks have none.
        allowed_hosts: Other hosts that are allowed, such as those that a tier names. Never put a host from an event
            here.
        may_be_settled: Whether a 401 is accepted. The control plane answers 401 for a tenant that is not being
            provisioned.
        tenant_id: The tenant whose record stores why the callback was not sent or not accepted; `None` stores nothing.
        missing: Why the callback cannot be sent, such as `no secret`; it is not sent then.
        once_per: The subject for which the callback is sent once, such as a run, whatever events and consumers return
            it. `None` sends it once per event, consumer and position.
        keeps: Members of the JSON answer that later callbacks need (`FromAnswer`). The action's record stores them
            unencrypted. If one is missing, or the answer is 401, the callback fails.
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
    """A placeholder in a callback's body for a member of the answer to an earlier callback of the same consumer.

    Attributes:
        member: The member's name, which the `keeps` of the earlier `SendCallback` must contain. If several earlier
            callbacks keep it, the last one is used.
    """

    member: str


Action: TypeAlias = StartJob | SaveTenant | UpdateTenant | PublishEvent | SendCallback
Decision: TypeAlias = Action | Iterable[Action] | None
"""What a consumer returns: one action, several that are performed in order, or `None`."""


def begins(action: object) -> TypeGuard[SaveTenant | UpdateTenant]:
    """Whether an action begins an operation for a tenant, such as its provisioning."""
    return isinstance(action, SaveTenant) or (isinstance(action, UpdateTenant) and action.starts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishEnding:
    """Publish how a run ended, if the build system confirms it. Only for the built-in consumers.

    It is ignored unless the ledger has the run, with the same builder, job and tenant.

    Attributes:
        run_id: The run id.
        builder: The builder's name.
        name: The job's name in the build system.
        build: The run's id in the build system.
        tenant_id: The tenant that the job is for, if any.
        ending: The ending that the event brings; used if the build system has deleted the run.
    """

    run_id: str
    builder: str
    name: str
    build: str
    tenant_id: str | None = None
    ending: Ending | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRuns:
    """Publish the endings of all followed runs that have ended. Only for the built-in consumers."""


Following: TypeAlias = PublishEnding | SweepRuns
"""Actions of the built-in consumers of state changes and schedules."""


class OutcomeStatus(StrEnum):
    """The result of an action; `ALREADY_…` if an earlier delivery of the event performed it."""

    STARTED = "started"
    SAVED = "saved"
    UPDATED = "updated"
    PUBLISHED = "published"
    SENT = "sent"
    REFUSED = "refused"
    """The control plane answered 401 to a callback with `may_be_settled`."""
    SWEPT = "swept"
    SKIPPED = "skipped"
    """Nothing was done; the remaining actions are performed."""
    SUPERSEDED = "superseded"
    """Nothing was done, and the remaining actions are not performed either."""
    IGNORED = "ignored"
    """Nothing was done: the ledger has no such run, or contradicts the event."""
    ALREADY_STARTED = "already started"
    ALREADY_UPDATED = "already updated"
    ALREADY_PUBLISHED = "already published"
    ALREADY_SENT = "already sent"
    ALREADY_REFUSED = "already refused"


class Outcome(TypedDict, total=False):
    """The result of performing an action; the handler returns it as JSON.

    Attributes:
        action: Name of the action's class, for example `StartJob`.
        status: The result.
        builder: The job's builder.
        name: The job's name, the record's tenant id, the published event's type, or the callback's host (the tenant's
            id if it was not sent).
        id: The run's id in the build system, or the published event's id.
        link: Web page of the run.
        buildNumber: Number of a Jenkins build, if it is known already.
        buildLink: Web page of that build.
        checked: Number of runs that a sweep checked.
        published: Number of endings that a sweep published.
        reason: Why an action was skipped, superseded, ignored or refused; or the text of a published failure.
        error: Class name of a published failure.
        answer: The members that a callback keeps, by name. They may be personal data, so they are only in the action's
            record, and neither logged nor returned by the handler.
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
    """Change an outcome's status to that of an earlier delivery, such as `already started`."""
    status = outcome["status"]
    return outcome if status.startswith("already ") else {**outcome, "status": OutcomeStatus(f"already {status}")}
