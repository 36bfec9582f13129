"""Jobs as builders see them: what to start, what was started, and how that ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from orchestrator.errors import Unavailable
from orchestrator.event import Start


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job to start, ready for any builder.

    Attributes:
        name: The job's name in its build system.
        run_id: Identity of this run: the same on every redelivery of the event.
        since: The event's time; no run of this job is older.
        variables: The job's variables as text, `ORCHESTRATOR_RUN_ID` among them; they may hold secrets.
    """

    name: str
    run_id: str
    since: datetime
    variables: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a job, accepted by its build system.

    Attributes:
        id: The build system's name for it: a CodeBuild build's id, the number of a Jenkins queue item; `None` where it
            is not known.
        link: Page of the run; `None` where there is none.
        build_number: The build's number where the build system counts builds apart from `id`, and where it
            is known already.
        build_link: Page of that build.
        already_started: Whether the run was there before, so that nothing new was started.
    """

    id: str | None = None
    link: str | None = None
    build_number: int | None = None
    build_link: str | None = None
    already_started: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedJob:
    """A job whose run is followed until it has ended.

    Attributes:
        builder: Name of its builder.
        name: The job's name there.
        run_id: Identity of the run.
        id: The build system's name for the run, as in `Run`; `None` until the start has an outcome.
        since: When it was asked for; no run of this job is older.
        event_id: Id of the event that it was started for.
        event_type: That event's type.
        tenant_id: The tenant that it is for, if any.
        start: The first event of what the job is a part of, such as the tenant's provisioning.
        follow: Whether its ending is published, as in `StartJob`.
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
        succeeded: Whether it did what it was started for.
        reason: How it ended, in words that may be logged, as in `CodeBuild build a:b ended FAILED`.
        variables: The run's own variables, those that it exports on top; they may hold secrets.
        is_gone: Whether the build system has forgotten the run, so that the ending is a guess. It is published only
            when the run is a day old: until then somebody who knows better can publish it.
    """

    succeeded: bool
    reason: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_gone: bool = False


class Untraceable(Unavailable):
    """The build system does not keep a job's run ids, so whether a run was started cannot be found out."""


class Builder(Protocol):
    """Starts the jobs of one build system.

    It may also have what `RecognisesRepeats`, `ChecksNames` and `KnowsEndings` describe.
    """

    def start(self, job: Job) -> Run:
        """Start a job, once per run id.

        Args:
            job: What to start.

        Returns:
            The run that was started, or the one that was there already.

        Raises:
            JobRejected: The build system refused the job, or does not know it.
            ConfigurationError: The function may not use the build system, or its settings are wrong.
            Unavailable: The build system could not be reached, or is too busy.
        """
        ...

    def find(self, job: Job) -> Run | None:
        """Look for a run of the job's run id that was started earlier; nothing is started.

        Args:
            job: What to look for; runs that started before its `since` need not be looked at.

        Returns:
            The run, or `None` where there is none.

        Raises:
            Untraceable: A run that is there could not be seen.
            JobRejected: The build system does not know the job.
            ConfigurationError: The function may not use the build system, or its settings are wrong.
            Unavailable: The build system could not be reached, or is too busy.
        """
        ...


class RecognisesRepeats(Protocol):
    """A builder whose `start` recognises a repeated request by itself.

    Attributes:
        covers: For how long after the event's time. Later than that, `find` is called before `start`. For other
            builders that is half a minute, which is before Lambda's first retry.
    """

    covers: timedelta


class ChecksNames(Protocol):
    """A builder that knows which names its jobs can have."""

    def check(self, name: str) -> None:
        """Check a job's name, before anything is performed.

        Raises:
            JobRejected: No job can have that name.
        """
        ...


class KnowsEndings(Protocol):
    """A builder whose runs can be followed."""

    def endings(self, jobs: Sequence[StartedJob]) -> Mapping[str, Ending]:
        """Look up how runs ended.

        Args:
            jobs: The runs, all of one job name.

        Returns:
            The endings of those that have ended, by run id.
        """
        ...
