"""Actions that consumers return, and the outcomes of performing them."""

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
        trusted_variables: Variables from a trusted source, such as the tier details. They may have any well-formed
            name. If `variables` has the same name, its value is used.
        tenant_id: The tenant that the job is for; `None` uses the tenant in the event's detail, if any.
        follow: Whether to follow the run and publish its ending as `<event type>_SUCCESS` or `…_FAILURE`. If one event
            starts two jobs, set it to `False` for the second one, so that only the first one's ending is published.
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
        tenant_id: The tenant's id, which is the tenant record's key.
        record: The tenant record's other attributes. Values may be secret and are not in `repr`.
    """

    tenant_id: str
    record: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateTenant:
    """Change attributes of the tenant record, unless a later event has changed it.

    If a later event has begun an operation for the tenant, the remaining actions are not performed either, provided
    that this action has `starts` or a `status`, or that its event has a `start`.

    Attributes:
        tenant_id: The tenant's id, which is the tenant record's key.
        changes: The new values; `None` removes an attribute. Values may be secret and are not in `repr`.
        create: Whether to create the tenant record if it is missing; otherwise, `UnknownTenant` is raised.
        starts: Whether this action begins an operation for the tenant, as `SaveTenant` does.
        status: The status that `changes` sets, if any. Setting a status is safe to repeat, so the ledger has no record
            of this action.
        ahead: If the tenant has one of these statuses, nothing is changed, but the remaining actions are performed.
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
        source: The event's source. A retry may publish the event a second time. This package recognizes the second one
            as a repeat only if the source is `orchestrator` or begins with `saas.tenant.provisioning.`.
        failure: The failure that the event is about, if any. The action's record in the ledger stores it.
        once_per: A subject, such as a run, for which the event is published only once; see `SendCallback`.
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
        url: The address. Its host must be in `CALLBACK_ALLOWED_HOSTS` or `allowed_hosts`, or be the host of
            `CALLBACK_URL`. The address may contain a secret and is not in `repr`.
        body: The JSON body. It may be secret and is not in `repr`.
        secret: The key with which the callback is signed.
        context: The tenant's context, which is signed together with the body of a status webhook. Other callbacks have
            none.
        allowed_hosts: Other hosts that are allowed, such as those that a tier names. Never put a host from an event
            here.
        may_be_settled: Whether the answer 401 has the outcome `REFUSED` and is no failure. The control plane also
            answers 401 for a tenant that is not being provisioned.
        tenant_id: The tenant whose tenant record stores why the callback was not sent or was refused; `None` stores
            nothing.
        missing: Why the callback cannot be sent, such as `no secret`. If this is set, the callback is not sent.
        once_per: A subject, such as a run, for which the callback is sent only once, even if several events or
            consumers return it. `None` sends it once per event, consumer and position among the consumer's actions.
        keeps: Names of members of the JSON answer that later callbacks need (see `FromAnswer`). The action's record in
            the ledger stores their values unencrypted. If a member is missing, or if the answer is 401, the callback
            fails.
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
            callbacks keep it, the last one's value is used.
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
    """Publish how a run ended, if the build system confirms it. Only the built-in consumers return this action.

    The action is ignored unless the ledger has a followed run with the same builder, job, build and tenant.

    Attributes:
        run_id: The run's id in the ledger, from the job's variable `ORCHESTRATOR_RUN_ID`.
        builder: The builder's name.
        name: The job's name in the build system.
        build: The run's id in the build system.
        tenant_id: The tenant that the job is for, if any.
        ending: The ending that the event contains. It is published if the build system has deleted the run.
    """

    run_id: str
    builder: str
    name: str
    build: str
    tenant_id: str | None = None
    ending: Ending | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRuns:
    """Publish the endings of all followed runs that have ended. Only the built-in consumers return this action."""


Following: TypeAlias = PublishEnding | SweepRuns
"""Actions that only the built-in consumers of build state changes and schedules return."""


class OutcomeStatus(StrEnum):
    """The result of an action; `ALREADY_…` means that an earlier delivery of the event performed it."""

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
    """Nothing was done, because the ledger has no such run, or its record of the run contradicts the event."""
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
        name: The job's name, the id of the tenant record's tenant, the published event's type, or the callback's host.
            If a callback was not sent because something is `missing`, the tenant's id.
        id: The run's id in the build system, or the published event's id.
        link: Web page of the run.
        buildNumber: Number of a Jenkins build, if it is known already.
        buildLink: Web page of that build.
        checked: Number of runs that a sweep checked.
        published: Number of endings that a sweep published.
        reason: Why an action was skipped, superseded, ignored or refused; or the text of a published failure.
        error: Class name of a published failure.
        answer: The members that a callback keeps, by name. They may be personal data, so only the action's record in
            the ledger contains them. They are neither logged nor returned by the handler.
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
    """Return an outcome of an earlier delivery with a status that says so, such as `already started`."""
    status = outcome["status"]
    return outcome if status.startswith("already ") else {**outcome, "status": OutcomeStatus(f"already {status}")}
