"""Finds a run on a Jenkins server by its run id: waiting in the queue, or among the builds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from orchestrator.builders import Job, Run
from orchestrator.builders.jenkins.connection import Connection
from orchestrator.errors import ConfigurationError
from orchestrator.run import RUN_ID_VARIABLE

_PARAMETERS = "actions[parameters[name,value]]"
_DECLARED = "property[parameterDefinitions[name]]"
_PAGE = 50
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

    def look(self, path: str, job: Job, what: str) -> Found:
        """Look for a run, first in the queue: what leaves it meanwhile is a build when those are read.

        Args:
            path: The job's path.
            job: Its run id, and the time from which on it can have been started.
            what: What could not be done if this fails, as the message's beginning.

        Returns:
            The run, and whether its absence can be trusted.
        """
        try:
            return self._look(path, job, what)
        except (AttributeError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{what}: {self._connection.host} does not answer as Jenkins does ({type(error).__name__}); check "
                "JENKINS_URL"
            ) from None

    def _look(self, path: str, job: Job, what: str) -> Found:
        queue = self._connection.get("/queue", f"items[id,{_PARAMETERS}]", what)
        for item in queue.get("items", ()):
            if _run_id(item) == job.run_id:
                return Found(run=self.item(item["id"], already_started=True), is_certain=True)
        since = (job.since - _CLOCK_TOLERANCE).timestamp() * 1000
        is_declared = False
        for page in range(_MAX_PAGES):
            span = f"{{{page * _PAGE},{(page + 1) * _PAGE}}}"
            tree = f"allBuilds[number,url,queueId,timestamp,{_PARAMETERS}]{span},{_DECLARED}"
            answer = self._connection.get(path, tree, what)
            is_declared = RUN_ID_VARIABLE in _declared(answer)
            builds: Sequence[Mapping[str, Any]] = answer.get("allBuilds", ())
            for build in builds:
                if _run_id(build) == job.run_id:
                    run = self.item(build["queueId"], already_started=True)
                    return Found(run=_built(run, build), is_certain=True)
            if len(builds) < _PAGE or builds[-1]["timestamp"] < since:
                return Found(run=None, is_certain=is_declared)
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


def _built(run: Run, build: Mapping[str, Any]) -> Run:
    return replace(run, build_number=build.get("number"), build_link=build.get("url"))


def _run_id(holder: Mapping[str, Any]) -> str | None:
    for action in holder.get("actions", ()):
        for parameter in action.get("parameters", ()):
            if parameter.get("name") == RUN_ID_VARIABLE:
                value = parameter.get("value")
                return value if isinstance(value, str) else None
    return None


def _declared(job: Mapping[str, Any]) -> Iterator[str]:
    for entry in job.get("property", ()):
        for parameter in entry.get("parameterDefinitions", ()):
            yield parameter["name"]
