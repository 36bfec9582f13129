"""Looks up how the runs of a Jenkins job ended, because Jenkins sends no event when a run ends."""

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
    """Return the endings of the runs that have ended, by run id.

    If a run is neither in the queue nor among the builds, it was cancelled in the queue, or its build was deleted. Its
    ending is a failure. If Jenkins may have discarded the run's build because of its age, the run may have succeeded.
    The failure is then only a guess, and `Ending.is_gone` is true.

    A run that is not found gets no ending in these cases:

    - `StartedJob.id`, the number of the run's queue item, is `None`. The run can then be found only by its run id, and
      the parameters of its build may not contain the run id.
    - The newest two thousand builds of the job all started after the oldest `StartedJob.since` of `jobs`. Older builds
      are not read.

    Args:
        connection: Sends the requests to Jenkins.
        path: The job's path, from `job_path`.
        jobs: The runs to look up, all of the job at `path`.
        failure: The beginning of error messages, such as `runs of Jenkins job 'x' could not be looked up`.
    """
    try:
        return _endings(connection, path, jobs, failure)
    except NOT_AS_JENKINS as error:
        raise unlike_jenkins(connection, failure, error) from None


def _endings(connection: Connection, path: str, jobs: Sequence[StartedJob], failure: str) -> dict[str, Ending]:
    unseen = {job.run_id: job for job in jobs}
    # The queue is read before the builds, so an item that leaves the queue in between is found among the builds.
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
    """Return the started jobs that a queue item or its build belongs to, and remove these jobs from `unseen`.

    If the item or build has a run id, it belongs to the started job with this run id. Otherwise, it belongs to each
    started job whose `id` is the item's number: Jenkins may have merged several requests into one item.

    The run id is preferred because the number may belong to another run: a Jenkins that has lost its files numbers its
    items from 1 again.

    Args:
        unseen: The jobs whose runs have not been found yet, by run id.
        item: The queue item's number.
        run_id: The run id among the parameters of the item or build; `None` if they contain none.
    """
    matching = [job for job in unseen.values() if (job.run_id == run_id if run_id else job.id == str(item))]
    for job in matching:
        del unseen[job.run_id]
    return matching


def _gone(job: StartedJob, last: Page) -> Ending:
    item = f"item {job.id} of Jenkins job {job.name}"
    if last.is_complete:
        return Ending(succeeded=False, reason=f"{item} was cancelled in the queue, or its build was deleted")
    return Ending(succeeded=False, reason=f"{item} no longer exists, and older builds are missing too", is_gone=True)


def _ending(job: StartedJob, build: Mapping[str, Any]) -> Ending:
    # Jenkins sets variables of these names in the environment of every build.
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
