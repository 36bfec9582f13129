"""Finds a run on a Jenkins server by its run id: waiting in the queue, or among the builds."""

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
# Jenkins' clock may be behind the event's.
_CLOCK_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search came to.

    Attributes:
        run: The run; `None` where there is none to be seen.
        is_certain: Whether a run that is there would have been seen: the job keeps the run id.
    """

    run: Run | None
    is_certain: bool


class Search:
    """Reads the queue, the items and the builds of one Jenkins server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def look(self, path: str, job: Job, failure: str) -> Found:
        """Look for a run, first in the queue: what leaves it meanwhile is a build when those are read.

        Args:
            path: The job's path.
            job: Its run id, and the time from which on it can have been started.
            failure: What has not happened if this fails, as the message's beginning.

        Returns:
            The run, and whether its absence can be trusted.
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
        """Make the run of a queue item.

        Args:
            number: The item's number.
            already_started: Whether it was there before.

        Returns:
            The run, of which no build is known yet. Jenkins forgets the item, and its link, about five
            minutes after the build has started.
        """
        link = f"{self._connection.url}/queue/item/{number}/"
        return Run(id=str(number), link=link, already_started=already_started)

    def with_build(self, run: Run) -> Run:
        """Look, once, whether a queue item has become a build.

        Args:
            run: The item's run.

        Returns:
            The run with its build's number and link, or as it was: while the item waits, or where Jenkins
            does not say.
        """
        try:
            item = self._connection.get(f"/queue/item/{run.id}", "executable[number,url]", "")
            return _built(run, item.get("executable") or {})
        except Exception:  # the job is started: nothing that comes after may fail it, whatever it is
            return run

    def declares_run_id(self, path: str) -> bool:
        """Say whether a job keeps the run id.

        Args:
            path: The job's path.

        Returns:
            Whether `ORCHESTRATOR_RUN_ID` is among the parameters that it declares.
        """
        return RUN_ID_VARIABLE in _declared(self._connection.get(path, _DECLARED, ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of a job's builds, newest first.

    Attributes:
        builds: The builds.
        is_last: Whether no older one can matter.
        is_complete: Whether no build that can matter is missing, because it was discarded or deleted.
        is_run_id_declared: Whether the job keeps the run id.
    """

    builds: Sequence[Mapping[str, Any]]
    is_last: bool
    is_complete: bool
    is_run_id_declared: bool


def waiting(connection: Connection, failure: str) -> Iterable[Mapping[str, Any]]:
    """Read the queue.

    Args:
        connection: The way to the server.
        failure: What has not happened if this fails, as the message's beginning.

    Returns:
        The items that wait: their `id` and parameters.
    """
    items: Iterable[Mapping[str, Any]] = connection.get("/queue", f"items[id,{_PARAMETERS}]", failure).get("items", ())
    return items


def pages(connection: Connection, path: str, fields: str, since: datetime, failure: str) -> Iterator[Page]:
    """Read a job's builds, a page at a time.

    Args:
        connection: The way to the server.
        path: The job's path.
        fields: What to read of each build, besides its queue item's number, its time and its parameters.
        since: No build from before it matters.
        failure: What has not happened if this fails, as the message's beginning.

    Yields:
        The pages; after two thousand builds there are no more, whether the last was among them or not.
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
        # Builds are counted from 1 on: where the first is there, or none was ever made, none can have gone before it.
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
    """Read the parameters of an item or a build.

    Args:
        holder: What Jenkins told of it.

    Returns:
        Values by name; a password's is not told.
    """
    return {
        parameter["name"]: parameter.get("value")
        for action in holder.get("actions", ())
        for parameter in action.get("parameters", ())
        if "name" in parameter  # a plugin's may tell nothing of itself
    }


def run_id_of(holder: Mapping[str, Any]) -> str | None:
    """Read the run id of an item or a build.

    Args:
        holder: What Jenkins told of it.

    Returns:
        The run id, or `None` where the job does not keep it.
    """
    value = parameters_of(holder).get(RUN_ID_VARIABLE)
    return value if isinstance(value, str) else None


NOT_AS_JENKINS = (AttributeError, KeyError, TypeError)
"""What reading an answer raises that is not of the form in which Jenkins answers."""


def unlike_jenkins(connection: Connection, failure: str, error: Exception) -> ConfigurationError:
    """Make the error that says so.

    Args:
        connection: The way to what answered.
        failure: What has not happened if this fails, as the message's beginning.
        error: One of `NOT_AS_JENKINS`.

    Returns:
        The error.
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
