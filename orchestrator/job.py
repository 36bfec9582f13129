"""Defines jobs, runs and endings, and the interface that a builder implements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from orchestrator.errors import Unavailable
from orchestrator.event import Start


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job for a builder to start.

    Attributes:
        name: The job's name in the build system.
        run_id: The id of the run to start. If the event is delivered again, the id is the same, so that a run that is
            already started can be found.
        since: The time of the event that the job is for; the current time if the event's time is in the future. No run
            with this run id can have started earlier.
        variables: The job's variables, including `ORCHESTRATOR_RUN_ID`. Values may be secret and are not in `repr`.
    """

    name: str
    run_id: str
    since: datetime
    variables: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a job that the build system has accepted.

    Attributes:
        id: The run's id in the build system: the id of a CodeBuild build, the ARN of a Step Functions execution, or the
            number of a Jenkins queue item. (A Jenkins build gets its own number only later.) `id` is `None` if the
            build system did not return an id.
        link: Address of a web page about the run.
        build_number: Number of the run's build, if this number differs from `id`, as it does in Jenkins. It is `None`
            as long as the number is unknown.
        build_link: Address of the build's web page.
        already_started: Whether an earlier request started the run, so that this request started nothing.
    """

    id: str | None = None
    link: str | None = None
    build_number: int | None = None
    build_link: str | None = None
    already_started: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A limit on how many runs go on at the same time.

    Attributes:
        name: The slot's name. Runs with a slot of the same name are counted together.
        size: How many of these runs may go on at the same time.
    """

    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredEnding:
    """The data that the ledger stores with a job whose consumer declares an `EndingEvent` other than the default.

    Attributes:
        consumer: The consumer's name.
        kept: The values that the `EndingEvent` needs from the detail of the consumer's event, by name (see
            `EndingEvent.keeps`).
    """

    consumer: str
    kept: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedJob:
    """A job as the ledger stores it, so that the job's run can be checked until it ends.

    Attributes:
        builder: The builder's name.
        name: The job's name in the build system.
        run_id: The run's id in the ledger, as in `Job`.
        id: The run's id in the build system, as in `Run`. It is `None` as long as the ledger does not know it.
        since: See `Job.since`.
        event_id: Id of the event that the job was started for.
        event_type: Type of the event that the job was started for.
        tenant_id: The tenant that the job is for, if any.
        start: The event that began the job's operation (see `Start`).
        follow: Whether to publish how the run ends, as in `StartJob`.
        slot: The limit on concurrent runs that the run counts towards, if any.
        declared: How to build the event about the run's ending. `None` if the event has the default form.
    """

    builder: str
    name: str
    run_id: str
    id: str | None = None
    since: datetime
    event_id: str
    event_type: str
    tenant_id: str | None = None
    start: Start
    follow: bool = True
    slot: Slot | None = None
    declared: DeclaredEnding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended.

    Attributes:
        succeeded: Whether the run succeeded.
        reason: How the run ended, in a sentence that is safe to log, such as `CodeBuild build a:b ended FAILED`.
        variables: The variables that the run was started with, those that it exported, and some that the build system
            set itself. If the run exported a variable that it was started with, the exported value is used. Values may
            be secret and are not in `repr`.
        is_gone: Whether the ending is only a guess, because the build system no longer has the run. The scheduled sweep
            waits until the run is a day old before it publishes a guess, because an event may report the real ending.
    """

    succeeded: bool
    reason: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_gone: bool = False


class Untraceable(Unavailable):
    """A search cannot show whether a run was started, for example because the build system does not store run ids."""


class Builder(Protocol):
    """Starts jobs in one build system.

    A builder may also implement `RecognisesRepeats`, `ChecksNames` and `KnowsEndings`.
    """

    def start(self, job: Job) -> Run:
        """Start a job.

        If the build system can recognize a repeated request, a second call with the same run id starts nothing.

        Returns:
            The new run. If this call was a repeat that started nothing, the run that the first call started.

        Raises:
            JobRejected: The build system refused to start the job, or has no such job.
            ConfigurationError: The function has no permission to use the build system, or its settings are wrong.
            Unavailable: The build system could not be reached, or is too busy.
        """
        ...

    def find(self, job: Job) -> Run | None:
        """Search for the run that an earlier call of `start` created for the job's run id.

        Runs that started before `job.since` cannot have that run id, so they need not be searched.

        Returns:
            The run; `None` if there is no such run.

        Raises:
            Untraceable: No run was found, but there may be one, for example because the build system stores no run ids
                for this job.
            JobRejected: The build system has no such job.
            ConfigurationError: The function has no permission to use the build system, or its settings are wrong.
            Unavailable: The build system could not be reached, or is too busy.
        """
        ...


class RecognisesRepeats(Protocol):
    """A builder whose build system itself recognizes a repeated `start`, for a limited time.

    Attributes:
        covers: How long after `Job.since` the build system recognizes a repeated `start`. If `IDEMPOTENCY_TABLE` is not
            set, and an event is older than `covers`, `find` is called before `start`. For a builder without `covers`,
            the limit is 30 seconds: an event that is younger cannot be a retry, because Lambda waits a minute before
            its first retry.
    """

    covers: timedelta


class ChecksNames(Protocol):
    """A builder that can check a job's name before any of a consumer's actions is performed."""

    def check(self, name: str) -> None:
        """Check a job's name.

        Raises:
            JobRejected: The name is malformed.
        """
        ...


class KnowsEndings(Protocol):
    """A builder that can look up how runs ended, so that an event can be published about each ending."""

    def endings(self, jobs: Sequence[StartedJob]) -> Mapping[str, Ending]:
        """Look up how runs ended.

        Args:
            jobs: Started jobs that all have the same name.

        Returns:
            The endings by run id. A run that has not ended is not in the mapping. If the build system has deleted a
            run, its ending may be a guess (see `Ending.is_gone`).

        Raises:
            JobRejected: The build system has no such job any more. The sweep then treats all these runs as deleted.
            ConfigurationError: The function has no permission to use the build system, or its settings are wrong.
            Unavailable: The build system could not be reached, or is too busy.
        """
        ...
