"""Defines the actions that consumers return, and the outcomes of performing them.

The ledger stores which jobs were started, which events were published and which callbacks were sent, so that an event
that is delivered again does not repeat these actions. It is the DynamoDB table that `IDEMPOTENCY_TABLE` names. Without
this setting, each Lambda environment keeps its own ledger in memory.
"""

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
        name: The job's name: a CodeBuild project's name or ARN, a Jenkins job's full name such as
            `tenants/scale-down`, or a state machine's ARN.
        builder: Name of the builder, which starts jobs in one build system, for example `CODE_BUILD`. If it is `None`,
            the setting `DEFAULT_BUILDER` names the builder.
        variables: The job's variables whose names or values come from an event. If a name could change how the build
            runs, as `PATH` could, the job is not started (see `orchestrator.builders.refused_names`). Values may be
            secret and are not in `repr`.
        trusted_variables: The job's variables from a trusted source, such as the tier details. They may have any
            well-formed name, but the settings of a tier are left out: `allowedVariables`, `maxConcurrent` and
            `maxConcurrentByType`. If a variable is in `variables`, too, the value in `variables` is used.
        tenant_id: The tenant that the job is for. If this is `None`, the job is for the tenant that the event's detail
            names, if any.
        follow: Whether this function checks the run until it ends, and then publishes an event about the ending. By
            default, the published event has the type of the consumer's event, with the suffix `_SUCCESS` or `_FAILURE`;
            a consumer may declare another type (see `EndingEvent`). Runs can be checked only if `IDEMPOTENCY_TABLE` is
            set and the builder has a method `endings`. If `follow` is `False`, the run is not checked, and an event
            in which the job itself reports its ending is ignored if the event contains the run's id. If one event
            starts two jobs, set `follow` to `False` for the second job, so that only the ending of the first job is
            published.
        slot: Name of a limit on concurrent runs; `None` for no limit. All runs with the same `slot` count towards the
            limit, whichever consumers start them. A slot requires `slots`, and a run that is checked (see `follow`).
        slots: How many runs with this `slot` may go on at the same time. While there are so many, no further job with
            this `slot` is started, and its event waits.
    """

    name: str
    builder: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    trusted_variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tenant_id: str | None = None
    follow: bool = True
    slot: str | None = None
    slots: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveTenant:
    """Begin an operation for the tenant, and create or replace the tenant record.

    An operation is an event and all that follows from it, such as a provisioning and the deployment after it.

    If a later event has begun an operation for the tenant, nothing is stored, and the consumer's remaining actions are
    not performed. If an earlier delivery of this event has stored the record, only the remaining actions are performed.

    Attributes:
        tenant_id: The tenant's id, which is the tenant record's key.
        record: The tenant record's attributes, without the key. Values may be secret and are not in `repr`.
    """

    tenant_id: str
    record: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateTenant:
    """Change attributes of the tenant record.

    If a later event has begun an operation for the tenant (see `SaveTenant`), nothing is changed, and the consumer's
    remaining actions are not performed. There is one exception, the second case below.

    A plain change is an `UpdateTenant` that neither begins an operation (`starts`) nor sets a status (`status`). In two
    cases, a plain change is skipped, but the consumer's remaining actions are performed:

    - A later event has made a plain change to the record. For this rule, a change of only the attribute `waitingFor` is
      not a plain change.
    - A later event has begun an operation for the tenant, and it is not known which operation the action's event
      belongs to (`Event.start` is `None`).

    Attributes:
        tenant_id: The tenant's id, which is the tenant record's key.
        changes: The new values by attribute; the value `None` removes the attribute. Values may be secret and are not
            in `repr`.
        create: Whether to create the tenant record if it is missing. If this is false, `UnknownTenant` is raised for a
            missing tenant record.
        starts: Whether this action begins an operation for the tenant, as `SaveTenant` does. If an earlier delivery of
            this event has begun the operation, only the consumer's remaining actions are performed.
        status: The status that `changes` sets; `None` if it sets none. If the event is delivered again, the status is
            set again, which does no harm.
        ahead: Statuses that normally follow `status`. If the tenant already has one of these statuses, nothing is
            changed, but the consumer's remaining actions are performed.
        final: Statuses that must not be replaced. If the tenant already has one of these statuses, nothing is changed,
            and the consumer's remaining actions are not performed.
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
        source: The event's source. A retry may publish the event twice, and this function may receive both copies. The
            function recognizes the second copy as a repeat only if the source is `orchestrator`, if it begins with
            `saas.tenant.provisioning.`, or if a consumer's `EndingEvent` declares this source and the event's type.
        failure: The error of a consumer, if the event reports that the consumer failed. The ledger stores the error, so
            that the consumer fails with the same error when its event is delivered again.
        once_per: A key that identifies the action, such as `deployment after run 1`. Per tenant, only one action with
            this key is performed, whichever events and consumers lead to it. With `None`, the action is performed once
            for the consumer's event, even if the event is delivered again.
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
        url: The address to send the callback to. Its host must be in `CALLBACK_ALLOWED_HOSTS` or in `allowed_hosts`, or
            be the host of `CALLBACK_URL`. The address may contain a secret and is not in `repr`.
        body: The JSON body. It may be secret and is not in `repr`.
        secret: The key with which the callback is signed.
        context: A text that the control plane sends with each tenant. The signature of a status webhook covers the body
            and this text. For a callback that is not a status webhook, this is `None`.
        allowed_hosts: Hosts to which this callback may go in addition to `CALLBACK_ALLOWED_HOSTS`, such as those that a
            tier names. Never put a host from an event here, because the event's sender could then choose any host.
        may_be_settled: Whether the answer 401 leads to the outcome `REFUSED` instead of a failure. Set this for a
            status webhook. The control plane answers 401 to a status webhook if the signature is wrong, but also if the
            tenant is no longer being provisioned. If an earlier attempt to send the callback may have been accepted,
            the answer 401 leads to the outcome `ALREADY_SENT`, whatever this attribute says. With `keeps`, however, the
            answer 401 is always a failure.
        tenant_id: The tenant that the callback is about. If the callback is refused, or is not sent because of
            `missing`, the reason is stored in this tenant's record; if there is no such record, the action fails. If
            this is `None`, the reason is not stored.
        missing: What the callback lacks: a text that follows "it has", such as `no secret`. If this is set, the
            callback is not sent.
        once_per: A key that identifies the callback, such as `status webhook of run 1`; see `PublishEvent.once_per`.
        keeps: Names of members of the answer's JSON object that later callbacks of the same consumer need (see
            `FromAnswer`). The ledger stores the values of these members in plain text. If the answer lacks one of these
            members, the callback fails, and a retry sends it again.
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
    """A placeholder in a callback's body for a value from the answer to an earlier callback of the same consumer.

    The placeholder is replaced when the callback is sent.

    Attributes:
        member: Name of a member of the answer's JSON object. The `keeps` of an earlier `SendCallback` must contain this
            name. If several earlier callbacks keep a member with this name, the last one's value is used.
    """

    member: str


Action: TypeAlias = StartJob | SaveTenant | UpdateTenant | PublishEvent | SendCallback
Decision: TypeAlias = Action | Iterable[Action] | None
"""What a consumer returns: one action, several actions, or `None`. Several actions are performed in order."""


def begins(action: object) -> TypeGuard[SaveTenant | UpdateTenant]:
    """Whether an action begins an operation for a tenant (see `SaveTenant`)."""
    return isinstance(action, SaveTenant) or (isinstance(action, UpdateTenant) and action.starts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishEnding:
    """Publish an event about how a run ended. Only built-in consumers return this action.

    Before anything is published, the build system is asked whether the run has ended. If the run has not ended, nothing
    is published, and the event is retried.

    The action is ignored if the ledger has no record of this run, or if the record names another builder, job, build or
    tenant. It is also ignored if the job was started with `follow=False`.

    Attributes:
        run_id: The run's id in the ledger, from the job's variable `ORCHESTRATOR_RUN_ID`.
        builder: The builder's name.
        name: The job's name in the build system.
        build: The run's id in the build system.
        tenant_id: The tenant that the job is for, if any.
        ending: How the run ended according to the build system's event. Used only if the build system has since deleted
            the run.
    """

    run_id: str
    builder: str
    name: str
    build: str
    tenant_id: str | None = None
    ending: Ending | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRuns:
    """Ask the build systems which started runs have ended, and publish the endings that no event has reported.

    Runs of jobs with `follow=False` are not checked. This action also makes SQS deliver waiting events whose jobs may
    be started by now. Only built-in consumers return this action.
    """


Following: TypeAlias = PublishEnding | SweepRuns
"""The actions that publish how runs ended. Only built-in consumers return them."""


class OutcomeStatus(StrEnum):
    """The result of an action.

    `ALREADY_…` means that the action was performed before, in most cases by an earlier delivery of the event. For an
    answer 401, however, `ALREADY_SENT` only means that this is possible (see `SendCallback.may_be_settled`).
    """

    STARTED = "started"
    SAVED = "saved"
    UPDATED = "updated"
    PUBLISHED = "published"
    SENT = "sent"
    REFUSED = "refused"
    """The control plane answered 401 to a callback with `may_be_settled`."""
    SWEPT = "swept"
    SKIPPED = "skipped"
    """The action did nothing. The consumer's remaining actions are performed."""
    SUPERSEDED = "superseded"
    """The action did nothing, because its event is outdated. The consumer's remaining actions are not performed."""
    WAITING = "waiting"
    """The job cannot be started yet. The event waits in a queue, and is delivered again."""
    IGNORED = "ignored"
    """No ending was published: the ledger has no record of the run, or its record of the run contradicts the event."""
    ALREADY_STARTED = "already started"
    ALREADY_UPDATED = "already updated"
    ALREADY_PUBLISHED = "already published"
    ALREADY_SENT = "already sent"
    ALREADY_REFUSED = "already refused"


class Outcome(TypedDict, total=False):
    """The result of performing an action. The handler returns it as JSON, without `answer`.

    Attributes:
        action: Name of the action's class, for example `StartJob`.
        status: What happened.
        builder: The name of the job's builder.
        name: Depending on the action, the job's name, the tenant's id, the event's type, or the host that the callback
            was sent to. For a callback with `SendCallback.missing`, it is the tenant's id.
        id: The run's id in the build system, or the published event's id.
        runId: The run's id in the ledger, and the value of the job's variable `ORCHESTRATOR_RUN_ID`.
        link: Address of a web page about the run.
        buildNumber: Number of the Jenkins build. It is missing if the run is still waiting in Jenkins' queue, or if its
            build was not looked up (see `Settings.jenkins_build_lookup`).
        buildLink: Address of the Jenkins build's web page.
        checked: Number of runs that a sweep checked.
        published: Number of endings that a sweep published.
        reason: Explains the status, for example why an action was skipped, or what the event waits for. For a published
            event that reports a consumer's failure, the text of the consumer's error.
        error: Class name of the consumer's error, as `orchestrator.errors.stored_name` returns it, if the published
            event reports a consumer's failure.
        answer: The members of the callback's answer that `SendCallback.keeps` names, with their values. They may be
            personal data, so only the ledger stores them: they are neither logged nor returned by the handler.
    """

    action: str
    status: OutcomeStatus
    builder: str
    name: str
    id: str
    runId: str
    link: str
    buildNumber: int
    buildLink: str
    checked: int
    published: int
    reason: str
    error: str
    answer: Mapping[str, str | int]


def repeated(outcome: Outcome) -> Outcome:
    """Return the outcome for a repeat of the action: its status is, for example, `already started`, not `started`."""
    status = outcome["status"]
    return outcome if status.startswith("already ") else {**outcome, "status": OutcomeStatus(f"already {status}")}
