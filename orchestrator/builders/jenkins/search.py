"""Finds a run by its run id, in a Jenkins server's queue or among a job's builds."""

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
        run: The run; `None` if the search found none.
        is_certain: False if `run` is `None` although the run may exist. Either the job does not declare the parameter
            `ORCHESTRATOR_RUN_ID`, or it has had more builds since the event than the search reads.
    """

    run: Run | None
    is_certain: bool


class Search:
    """Searches the queue and the builds of one Jenkins server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def look(self, path: str, job: Job, failure: str) -> Found:
        """Search for a run in the queue, and after that among the job's builds.

        The builds are read last, because an item may leave the queue and become a build during the search.

        Args:
            path: The job's path, from `job_path`.
            job: The job. The search looks for its `run_id`.
            failure: The beginning of error messages, such as `Jenkins job 'x' could not be searched`.
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
        """Return a queue item as a `Run`, without the number and link of its build.

        The run's link leads to the queue item. Jenkins removes the item about five minutes after its build has started.

        Args:
            number: The item's number.
            already_started: Whether an earlier request put the item into the queue.
        """
        link = f"{self._connection.url}/queue/item/{number}/"
        return Run(id=str(number), link=link, already_started=already_started)

    def with_build(self, run: Run) -> Run:
        """Look up the build of a queue item, and add the build's number and link to the item's run.

        Return the run unchanged if there is no build yet, or if the lookup fails.
        """
        try:
            item = self._connection.get(f"/queue/item/{run.id}", "executable[number,url]", "")
            return _built(run, item.get("executable") or {})
        except Exception:  # the job is already started, so no later error may make this call fail
            return run

    def declares_run_id(self, path: str) -> bool:
        """Return whether a job declares the parameter `ORCHESTRATOR_RUN_ID`, which a search needs to find its runs.

        Args:
            path: The job's path, from `job_path`.
        """
        return RUN_ID_VARIABLE in _declared(self._connection.get(path, _DECLARED, ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the list of a job's builds; see `pages`.

    Attributes:
        builds: The page's builds, newest first, as Jenkins describes them.
        is_last: Whether this is the last page that is needed: there is no later page, or all builds on later pages
            started before `since` (see `pages`).
        is_complete: Whether this is the last page that is needed, and Jenkins seems to have discarded no build that
            started after `since`: the oldest build that was read started before `since` or has the number 1, or the job
            never had a build.
        is_run_id_declared: Whether the job declares the parameter `ORCHESTRATOR_RUN_ID`.
    """

    builds: Sequence[Mapping[str, Any]]
    is_last: bool
    is_complete: bool
    is_run_id_declared: bool


def waiting(connection: Connection, failure: str) -> Iterable[Mapping[str, Any]]:
    """Read the `id` and the parameters of every item in the queue.

    Args:
        connection: Sends the request to Jenkins.
        failure: The beginning of error messages, such as `Jenkins job 'x' could not be searched`.
    """
    items: Iterable[Mapping[str, Any]] = connection.get("/queue", f"items[id,{_PARAMETERS}]", failure).get("items", ())
    return items


def pages(connection: Connection, path: str, fields: str, since: datetime, failure: str) -> Iterator[Page]:
    """Read the newest builds of a job, at most two thousand, a page at a time.

    Args:
        connection: Sends the requests to Jenkins.
        path: The job's path, from `job_path`.
        fields: Properties of each build to read, such as `number,url`. `number` must be among them. The properties
            `queueId` and `timestamp` and the parameters are always read.
        since: Builds that started before this time are not needed. The first page with a build that started more than
            five minutes earlier is the last. The five minutes allow for a `since` from a clock that is ahead.
        failure: The beginning of error messages, such as `Jenkins job 'x' could not be searched`.

    Yields:
        The pages, from the newest builds to the oldest. If all of the two thousand builds started after `since`,
        `is_last` is False on every page.
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
    """Return the names and values of the parameters of a queue item or a build.

    The value of a password is `None`, because Jenkins does not show it.

    Args:
        holder: The queue item or the build, as Jenkins describes it.
    """
    return {
        parameter["name"]: parameter.get("value")
        for action in holder.get("actions", ())
        for parameter in action.get("parameters", ())
        if "name" in parameter  # a plugin's parameter may be an empty object
    }


def run_id_of(holder: Mapping[str, Any]) -> str | None:
    """Return the run id of a queue item or a build: the value of its parameter `ORCHESTRATOR_RUN_ID`.

    Return `None` if there is no such parameter. Jenkins drops parameters that the job does not declare.

    Args:
        holder: The queue item or the build, as Jenkins describes it.
    """
    value = parameters_of(holder).get(RUN_ID_VARIABLE)
    return value if isinstance(value, str) else None


NOT_AS_JENKINS = (AttributeError, KeyError, TypeError)
"""The exceptions that may be raised while reading JSON that does not have the form of Jenkins' answers."""


def unlike_jenkins(connection: Connection, failure: str, error: Exception) -> ConfigurationError:
    """Build the error for JSON that does not have the form of Jenkins' answers.

    Args:
        connection: The connection to the server that sent the answer.
        failure: The beginning of the error message, such as `Jenkins job 'x' could not be searched`.
        error: The exception that reading the answer raised, one of `NOT_AS_JENKINS`.
    """
    return ConfigurationError(
        f"{failure}: {connection.host} does not answer as Jenkins does ({type(error).__name__}); check JENKINS_URL"
    )


def _built(run: Run, build: Mapping[str, Any]) -> Run:
    return replace(run, build_number=build.get("number"), build_link=build.get("url"))


def _declared(job: Mapping[str, Any]) -> Iterator[str]:
    for entry in job.get("property", ()):
        for parameter in entry.get("parameterDefinitions", ()):
            yield parameter["name"]
