"""Build systems: what starts jobs, looked up by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job to start, ready for any build system.

    Attributes:
        name: The job's name in its build system.
        run_id: Identity of this run: the same on every redelivery of the event (DESIGN, promise 1).
        variables: The job's variables as text, `ORCHESTRATOR_RUN_ID` among them; they may hold secrets.
    """

    name: str
    run_id: str
    variables: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A job's run that a build system has taken.

    Attributes:
        id: The build system's name for it.
        link: Where a person can look at it; `None` where there is no such page.
    """

    id: str
    link: str | None = None


class Builder(Protocol):
    """A build system."""

    def start(self, job: Job) -> Run:
        """Start a job, once per run id.

        Args:
            job: What to start.

        Returns:
            The run that was started.

        Raises:
            JobRejected: The build system refused the job, or does not know it.
            ConfigurationError: The function may not use the build system, or does not know how to reach it.
            Unavailable: The build system could not be reached, or is too busy.
        """
        ...
