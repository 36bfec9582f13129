"""Build systems: what starts jobs, looked up by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from orchestrator.errors import Unavailable
from orchestrator.event import Start


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job to start, ready for any build system.

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
    """A job's run that a build system has taken.

    Attributes:
        id: The build system's name for it: a CodeBuild build's id, the number of a Jenkins queue item.
        link: Where a person can look at it; `None` where there is no such page.
        build_number: The build's number where the build system counts builds apart from `id`, and where it
            is known already.
        build_link: Where a person can look at that build.
        already_started: Whether the run was there before, so that nothing new was started.
    """

    id: str
    link: str | None = None
    build_number: int | None = None
    build_link: str | None = None
    already_started: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedJob:
    """A job that was started, to be asked after.

    Attributes:
        builder: Name of its build system.
        name: The job's name there.
        run_id: Identity of the run.
        id: The build system's name for the run, as in `Run`.
        since: When it was asked for; no run of this job is older.
        event_id: Id of the event that it was started for.
        event_type: That event's type.
        tenant_id: The tenant that it is for; may be empty.
        start: The event with which began what it is a part of: that event itself, or the one that this followed from.
        reports: Whether its end is the end of what the event asked for, as in `StartJob`.
    """

    builder: str
    name: str
    run_id: str
    id: str
    since: datetime
    event_id: str
    event_type: str
    tenant_id: str
    start: Start
    reports: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a run ended.

    Attributes:
        succeeded: Whether it did what it was started for.
        reason: What became of it, in words that may be logged, as in `CodeBuild build a:b ended FAILED`.
        variables: The run's own variables, those that it exports on top; they may hold secrets.
        is_gone: Whether the build system does not know the run any more, so that nobody can tell how it ended; it
            is not reported before a day has passed, in which a person can.
    """

    succeeded: bool
    reason: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_gone: bool = False


class Untraceable(Unavailable):
    """The build system does not keep a job's run ids, so that nobody can tell whether a run was started."""


class Builder(Protocol):
    """A build system.

    It may have an attribute `covers` (a `timedelta`): how long after an event's time `start` recognises a
    repeat by itself. Later than that, `find` is asked first. Without it that is half a minute, which is before
    Lambda's first retry. It may also have a method `check(name)`, which raises `JobRejected` for what can be
    no job's name: it is asked before anything is done. And it may have a method `results(jobs)`, which takes
    `StartedJob`s of one name and returns a `Result` by run id for those that have ended: jobs of a build system
    without it cannot be followed (see `orchestrator.endings.sweep`).
    """

    def start(self, job: Job) -> Run:
        """Start a job, once per run id.

        Args:
            job: What to start.

        Returns:
            The run that was started, or the one that was there already.

        Raises:
            JobRejected: The build system refused the job, or does not know it.
            ConfigurationError: The function may not use the build system, or does not know how to reach it.
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
            ConfigurationError: The function may not use the build system, or does not know how to reach it.
            Unavailable: The build system could not be reached, or is too busy.
        """
        ...
