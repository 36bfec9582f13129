"""Finds a run on a Jenkins server by its run id, in the queue or among the builds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from orchestrator.builders.jenkins.connection import Connection
from orchestrator.errors import ConfigurationError
from orchestrator.job import Job, Run
from orchestrator.run import RUN_ID_VARIABLE

_PARAMETERS = "actions[parameters[name,value]]"
_DECLARED = "property[parameterDefinitions[name]]"
_PAGE = 100
_MAX_PAGES = 20
# The clock of the event's sender may be ahead of Jenkins', so a build may seem to be older than its event.
_CLOCK_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The result of a search.

    Attributes:
        run: `None` if no run was found.
        is_certain: Whether the search would have found any existing run. It would not if the job does not declare the
            run id as a parameter, or has had more builds since than the search reads.
    """

    run: Run | None
    is_certain: bool


class Search:
    """Reads the queue, the items and the builds of one Jenkins server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def look(self, path: str, job: Job, failure: str) -> Found:
        """Search for a run in the queue, and then among the job's builds.

        The queue comes first, so that an item that leaves it in between is found among the builds.

        Args:
            path: The job's path, from `job_path`.
            failure: The beginning of error messages; it says what did not happen.
        """
        try:
            return self._look(path, job, failure)
        except NOT_AS_JENKINS as error:
            raise unlike_jenkins(self._connection, failure, error) from None

    def _look(self, path: str, job: Job, failure: str) -> Found:
        for item in waiting(self._connection, failure):
            if run_id_of(item) == job.run_id:
                return Found(run=self.item(item["id"], already_started=True), is_certain=True)
        for page in pages(self._connection, path, "number,url", job.since, failure):
            for build in page.builds:
                if run_id_of(build) == job.run_id:
                    run = self.item(build["queueId"], already_started=True)
                    return Found(run=_built(run, build), is_certain=True)
            if page.is_last:
                return Found(run=None, is_certain=page.is_run_id_declared)
        return Found(run=None, is_certain=False)

    def item(self, number: int, *, already_started: bool) -> Run:
        """Return the run of a queue item, without the number and link of its build.

        The link to the item works until about five minutes after the build starts; then Jenkins removes the item.
        """
        link = f"{self._connection.url}/queue/item/{number}/"
        return Run(id=str(number), link=link, already_started=already_started)

    def with_build(self, run: Run) -> Run:
        """Add the build's number and link to a queue item's run; return the run unchanged if no build is known yet."""
        try:
            item = self._connection.get(f"/queue/item/{run.id}", "executable[number,url]", "")
            return _built(run, item.get("executable") or {})
        except Exception:  # the job is already started, so no later error may make this call fail
            return run

    def declares_run_id(self, path: str) -> bool:
        """Return whether a job declares the parameter `ORCHESTRATOR_RUN_ID`, by which a search finds its runs."""
        return RUN_ID_VARIABLE in _declared(self._connection.get(path, _DECLARED, ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of the list of a job's builds, newest first.

    Attributes:
        is_last: Whether there are no older builds, or only builds that started too early to matter.
        is_complete: Whether the list reaches back far enough: Jenkins has discarded no old build that could matter.
        is_run_id_declared: Whether the job declares the parameter `ORCHESTRATOR_RUN_ID`.
    """

    builds: Sequence[Mapping[str, Any]]
    is_last: bool
    is_complete: bool
    is_run_id_declared: bool


def waiting(connection: Connection, failure: str) -> Iterable[Mapping[str, Any]]:
    """Read the `id` and the parameters of every item in the queue."""
    items: Iterable[Mapping[str, Any]] = connection.get("/queue", f"items[id,{_PARAMETERS}]", failure).get("items", ())
    return items


def pages(connection: Connection, path: str, fields: str, since: datetime, failure: str) -> Iterator[Page]:
    """Read a job's builds, a page at a time, up to two thousand builds.

    Args:
        path: The job's path, from `job_path`.
        fields: Properties to read of each build, besides `queueId`, `timestamp` and the parameters.
        since: Builds that started before this time do not matter.
        failure: The beginning of error messages; it says what did not happen.

    Yields:
        The pages, the newest builds first. If the job has more than two thousand builds, none of the pages may have
        `is_last`.
    """
    earliest = (since - _CLOCK_TOLERANCE).timestamp() * 1000
    oldest: int | None = None
    for number in range(_MAX_PAGES):
        span = f"{{{number * _PAGE},{(number + 1) * _PAGE}}}"
        tree = f"allBuilds[{fields},queueId,timestamp,{_PARAMETERS}]{span},nextBuildNumber,{_DECLARED}"
        answer = connection.get(path, tree, failure)
        builds: Sequence[Mapping[str, Any]] = answer.get("allBuilds", ())
        reaches_back = bool(builds) and builds[-1]["timestamp"] < earliest
        is_last = len(builds) < _PAGE or reaches_back
        # Build numbers start at 1. If build 1 exists, or the next build is number 1, no older build was deleted.
        oldest = builds[-1]["number"] if builds else oldest or answer.get("nextBuildNumber")
        yield Page(
            builds=builds,
            is_last=is_last,
            is_complete=reaches_back or (is_last and oldest == 1),
            is_run_id_declared=RUN_ID_VARIABLE in _declared(answer),
        )
        if is_last:
            return


def parameters_of(holder: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a queue item or build by name; Jenkins does not show a password's value."""
    return {
        parameter["name"]: parameter.get("value")
        for action in holder.get("actions", ())
        for parameter in action.get("parameters", ())
        if "name" in parameter  # a plugin's parameter may be an empty object
    }


def run_id_of(holder: Mapping[str, Any]) -> str | None:
    """Return the run id of a queue item or build; `None` if the job does not declare that parameter."""
    value = parameters_of(holder).get(RUN_ID_VARIABLE)
    return value if isinstance(value, str) else None


NOT_AS_JENKINS = (AttributeError, KeyError, TypeError)
"""Exceptions that show that an answer is JSON, but not in the form that Jenkins sends."""


def unlike_jenkins(connection: Connection, failure: str, error: Exception) -> ConfigurationError:
    """Wrap one of `NOT_AS_JENKINS` in an error that names the server."""
    return ConfigurationError(
        f"{failure}: {connection.host} does not answer as Jenkins does ({type(error).__name__}); check JENKINS_URL"
    )


def _built(run: Run, build: Mapping[str, Any]) -> Run:
    return replace(run, build_number=build.get("number"), build_link=build.get("url"))


def _declared(job: Mapping[str, Any]) -> Iterator[str]:
    for entry in job.get("property", ()):
        for parameter in entry.get("parameterDefinitions", ()):
            yield parameter["name"]
