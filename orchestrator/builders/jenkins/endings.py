"""How runs of a Jenkins job ended: Jenkins sends no event of that."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.builders.jenkins.connection import Connection
from orchestrator.builders.jenkins.search import (
    NOT_AS_JENKINS,
    Page,
    pages,
    parameters_of,
    run_id_of,
    unlike_jenkins,
    waiting,
)
from orchestrator.job import Ending, StartedJob
from orchestrator.values.text import to_text

_FIELDS = "number,url,building,result"
_SUCCESS = "SUCCESS"


def endings(connection: Connection, path: str, jobs: Sequence[StartedJob], failure: str) -> dict[str, Ending]:
    """Look up runs of one job, first among those that wait, then among the builds.

    Args:
        connection: The way to the server.
        path: The job's path.
        jobs: What was started, all of that job.
        failure: What has not happened if this fails, as the message's beginning.

    Returns:
        How those have ended that have, by run id. A run that neither waits nor is among the builds was cancelled
        while it waited, or its build was deleted; where older builds are gone, too, it may as well have ended
        well and been discarded, so that nobody can tell. One whose queue item is not known is only found by its
        run id.
    """
    try:
        return _endings(connection, path, jobs, failure)
    except NOT_AS_JENKINS as error:
        raise unlike_jenkins(connection, failure, error) from None


def _endings(connection: Connection, path: str, jobs: Sequence[StartedJob], failure: str) -> dict[str, Ending]:
    unseen = {job.run_id: job for job in jobs}
    # What leaves the queue meanwhile is a build when those are read.
    for item in waiting(connection, failure):
        _take(unseen, item["id"], run_id_of(item))
    found: dict[str, Ending] = {}
    since = min(job.since for job in jobs)
    for page in pages(connection, path, _FIELDS, since, failure):
        for build in page.builds:
            for job in _take(unseen, build["queueId"], run_id_of(build)):
                if not build["building"] and build["result"]:
                    found[job.run_id] = _ending(job, build)
        if page.is_last:
            found.update((job.run_id, _gone(job, page)) for job in unseen.values() if job.id is not None)
        if not unseen:
            break
    return found


def _take(unseen: dict[str, StartedJob], item: int, run_id: str | None) -> list[StartedJob]:
    """Take out what an item or a build is the run of: of several, where requests became one run.

    Jenkins counts its items anew where its own files are lost: what names its run is that run and no other.
    """
    fitting = [job for job in unseen.values() if (job.run_id == run_id if run_id else job.id == str(item))]
    for job in fitting:
        del unseen[job.run_id]
    return fitting


def _gone(job: StartedJob, last: Page) -> Ending:
    item = f"item {job.id} of Jenkins job {job.name}"
    if last.is_complete:
        return Ending(succeeded=False, reason=f"{item} was cancelled while it waited, or its build was deleted")
    return Ending(succeeded=False, reason=f"{item} is not there any more, nor are older builds", is_gone=True)


def _ending(job: StartedJob, build: Mapping[str, Any]) -> Ending:
    # Named as Jenkins itself names them in a build's environment.
    own = {"JOB_NAME": job.name, "BUILD_NUMBER": str(build["number"]), "BUILD_URL": build["url"]}
    declared = {
        name: value if isinstance(value, str) else to_text(value)
        for name, value in parameters_of(build).items()
        if value is not None
    }
    return Ending(
        succeeded=build["result"] == _SUCCESS,
        reason=f"build {build['number']} of Jenkins job {job.name} ended {build['result']}",
        variables={**declared, **own},
    )
