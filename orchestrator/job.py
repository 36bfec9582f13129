"""Jobs, runs and endings, and the interface of builders."""

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
        run_id: The id of the run to start, which is the same on every redelivery of the event.
        since: The event's time. No run with this run id can have started earlier.
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
        id: The run's id in the build system: a CodeBuild build's id, or the number of a Jenkins queue item.
        link: Web page of the run.
        build_number: The build's number, if it differs from `id` and is known already.
        build_link: Web page of that build.
        already_started: Whether an earlier request started the run, so that this request started nothing.
    """

    id: str | None = None
    link: str | None = None
    build_number: int | None = None
    build_link: str | None = None
    already_started: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedJob:
    """A job as the ledger stores it, so that its run can be followed until the run ends.

    Attributes:
        builder: The builder's name.
        name: The job's name in the build system.
        run_id: The id of the run.
        id: The run's id in the build system, as in `Run`; `None` until the ledger has the outcome of the start.
        since: When the job was requested. No run with this run id can have started earlier.
        event_id: Id of the event that the job was started for.
        event_type: Type of that event.
        tenant_id: The tenant that the job is for, if any.
        start: The event that began the operation that the job is part of, such as the tenant's provisioning.
        follow: Whether to publish how the run ends, as in `StartJob`.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended.

    Attributes:
        succeeded: Whether the run succeeded.
        reason: How the run ended, safe to log, for example `CodeBuild build a:b ended FAILED`.
        variables: The run's variables. If the run exports a variable, its exported value is used. Values may be secret
            and are not in `repr`.
        is_gone: Whether the build system has deleted the run, so that this ending is a guess. The sweep publishes a
            guess only once the run is a day old, because an event may still bring the real ending.
    """

    succeeded: bool
    reason: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_gone: bool = False


class Untraceable(Unavailable):
    """The build system does not store the run ids of this job, so a search cannot show whether a run was started."""


class Builder(Protocol):
    """Starts jobs in one build system.

    A builder may also implement `RecognisesRepeats`, `ChecksNames` and `KnowsEndings`.
    """

    def start(self, job: Job) -> Run:
        """Start a job once per run id, and return the new run, or the one that an earlier call started.

        Raises:
            JobRejected: The build system refused the job, or has no such job.
            ConfigurationError: The function may not use the build system, or its settings are wrong.
            Unavailable: The build system could not be reached, or is too busy.
        """
        ...

    def find(self, job: Job) -> Run | None:
        """Search for an earlier run with the job's run id; ignore runs that started before `job.since`.

        Raises:
            Untraceable: The search cannot find such a run even if there is one.
            JobRejected: The build system has no such job.
            ConfigurationError: The function may not use the build system, or its settings are wrong.
            Unavailable: The build system could not be reached, or is too busy.
        """
        ...


class RecognisesRepeats(Protocol):
    """A builder whose build system recognizes a repeated `start`.

    Attributes:
        covers: For how long, counted from `Job.since`, the build system recognizes a repeated `start`. Without
            `IDEMPOTENCY_TABLE`, `find` is called before a `start` that comes later than that. For a builder without
            this attribute, the limit is 30 seconds, because Lambda waits longer than that before its first retry.
    """

    covers: timedelta


class ChecksNames(Protocol):
    """A builder that can check a job's name before any action is performed."""

    def check(self, name: str) -> None:
        """Check a job's name.

        Raises:
            JobRejected: The name is malformed.
        """
        ...


class KnowsEndings(Protocol):
    """A builder whose runs can be followed."""

    def endings(self, jobs: Sequence[StartedJob]) -> Mapping[str, Ending]:
        """Look up how runs ended.

        Args:
            jobs: Jobs with the same name.

        Returns:
            The endings by run id, without runs that are still running.
        """
        ...
