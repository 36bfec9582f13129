"""Defines `EndingEvent`: the type, source and detail of the event that reports how a consumer's job ended."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.details import unwrapped
from orchestrator.errors import ConfigurationError, OrchestratorError, shown, wrapped
from orchestrator.job import DeclaredEnding, StartedJob
from orchestrator.run import FAILURE_SUFFIX, OWN_SOURCE, REFERENCE_SOURCES, SUCCESS_SUFFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a job ended. The function in `EndingEvent.detail` builds an event's detail from this object.

    Attributes:
        succeeded: Whether the job's run succeeded. False if the job could not be started.
        event_type: Type of the event that the job was for.
        tenant_id: The tenant that the job was for, if any.
        reason: How the run ended, or why the job could not be started, in a sentence that is safe to log.
        variables: The variables that the run was started with, and those that it exported. If the build system has
            deleted the run, variables may be missing. If the job could not be started, the only variables are `tenant`,
            `secret`, `context`, `tier` and `API_ENDPOINT`, as far as known. Values may be secret and are not in `repr`.
        kept: The members that `EndingEvent.keeps` names, with their values in the detail of the event that the job was
            for.
    """

    succeeded: bool
    event_type: str
    tenant_id: str | None = None
    reason: str = ""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    kept: Mapping[str, str] = field(default_factory=dict, repr=False)


def all_variables(ended: Ended) -> Mapping[str, Any]:
    """Return all variables of the run. This function is the default of `EndingEvent.detail`."""
    return ended.variables


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingEvent:
    """The event that reports how a consumer's job ended, as the consumer's argument `ending=` declares it.

    The event is published when the job's run has ended (see `StartJob.follow`), or when it is certain that the job will
    not be started. In some cases, no event is published although the job will not be started: see `Turn._failed` in
    `orchestrator.dispatch.turn`.

    This package adds members to the event's detail:

    - the `ORCHESTRATOR_…` variables, by which the function finds the run if the function receives the event. If the
      job could not be started, there is no `ORCHESTRATOR_RUN_ID`.
    - `tenant` with the tenant's id, if the detail has no `tenant`
    - `reason`, after a failure
    - `error`, the error's class name, if the job could not be started

    Attributes:
        success: The event's type if the run succeeded. `None` stands for the type of the consumer's event, with the
            suffix `_SUCCESS`.
        failure: The event's type if the run failed, or if the job could not be started. `None` stands for the type of
            the consumer's event, with the suffix `_FAILURE`.
        source: The event's source. `None` stands for `saas.tenant.provisioning.` and the builder's name in lower case,
            without `_`. If the job could not be started, `None` stands for `orchestrator`.
        detail: A function that builds the event's detail, a JSON object. By default, the detail contains the run's
            variables.
        keeps: Names of members of the detail of the consumer's event. The function `detail` finds their values in
            `Ended.kept`. The ledger stores the values with the job, unencrypted. Members that are not texts are left
            out.
    """

    success: str | None = None
    failure: str | None = None
    source: str | None = None
    detail: Callable[[Ended], Mapping[str, Any]] = all_variables
    keeps: Sequence[str] = ()

    def types(self, event_type: str) -> tuple[str, str]:
        """Return the event's type after a success, and its type after a failure.

        Args:
            event_type: The type of the consumer's event.
        """
        return self.success or event_type + SUCCESS_SUFFIX, self.failure or event_type + FAILURE_SUFFIX

    def type_of(self, ended: Ended) -> str:
        """Return the event's type, which depends on whether the job succeeded."""
        success, failure = self.types(ended.event_type)
        return success if ended.succeeded else failure

    def source_of(self, builder: str | None) -> str:
        """Return the event's source.

        Args:
            builder: Name of the builder that started the job; `None` if the job could not be started.
        """
        if self.source is not None:
            return self.source
        return OWN_SOURCE if builder is None else REFERENCE_SOURCES + builder.replace("_", "").lower()

    def detail_of(self, ended: Ended, who: str) -> dict[str, Any]:
        """Build the event's detail.

        Args:
            ended: How the job ended.
            who: The job or consumer, as error messages name it.

        Raises:
            OrchestratorError: The function `detail` raised an exception, or did not return a mapping.
        """
        try:
            return dict(self.detail(ended))
        except OrchestratorError:
            raise
        except Exception as error:
            raise wrapped(f"ending= of {who}", getattr(self.detail, "__module__", ""), error) from error

    def kept(self, detail: Mapping[str, Any]) -> dict[str, str]:
        """Return the members of a detail that `keeps` names and whose values are texts.

        Args:
            detail: The detail of the consumer's event. If it is wrapped as `{type, data}`, the members of `data` are
                included.
        """
        members = {**unwrapped(detail), **detail}
        return {name: members[name] for name in self.keeps if isinstance(members.get(name), str)}

    def declared(self, consumer: str, detail: Mapping[str, Any]) -> DeclaredEnding | None:
        """Build the `DeclaredEnding` that the ledger stores with a job; `None` if this object equals `DEFAULT`.

        Args:
            consumer: The name of the consumer that starts the job.
            detail: The detail of the consumer's event.
        """
        return None if self == DEFAULT else DeclaredEnding(consumer=consumer, kept=self.kept(detail))


DEFAULT = EndingEvent()
"""The default: the event of the reference service, https://github.com/sourcefuse/arc-saas-sandbox.

For TENANT_PROVISIONING, its type is TENANT_PROVISIONING_SUCCESS or TENANT_PROVISIONING_FAILURE. If a consumer declares
no event, this event reports the endings of the consumer's jobs.
"""


class Declarations(Protocol):
    """Finds the `EndingEvent` objects that consumers declare. A `Registry` implements this."""

    def ending_of(self, consumer: str) -> EndingEvent | None:
        """Return the `EndingEvent` that a consumer declares; `None` if it declares none, or is not registered."""
        ...

    def endings_of_type(self, event_type: str) -> Sequence[EndingEvent]:
        """Return each declared `EndingEvent` whose `success` or `failure` is this event type.

        An `EndingEvent` that has this type only by default, because its `success` or `failure` is `None`, is not
        returned.
        """
        ...


def declaration_of(job: StartedJob, declarations: Declarations) -> EndingEvent:
    """Return the `EndingEvent` that a job's consumer declares.

    If the consumer declared none, or the default, when it started the job, the default is returned.

    Raises:
        ConfigurationError: The consumer declared an `EndingEvent` when it started the job, but no longer does.
    """
    if job.declared is None:
        return DEFAULT
    ending = declarations.ending_of(job.declared.consumer)
    if ending is None:
        raise ConfigurationError(
            f"the ending of job {shown(job.name)} cannot be reported: consumer {shown(job.declared.consumer)}, which "
            "started it, declares no ending= any more; register that consumer again until its jobs have ended"
        )
    return ending


def reports_ending(event_type: str, declarations: Declarations) -> bool:
    """Whether events of a type report endings.

    This is true if the type ends in `_SUCCESS` or `_FAILURE`, or is the `success` or `failure` of a consumer's
    `EndingEvent`.
    """
    return event_type.endswith((SUCCESS_SUFFIX, FAILURE_SUFFIX)) or bool(declarations.endings_of_type(event_type))
