"""Starts Jenkins jobs, and looks up how their runs ended.

See "Facts about Jenkins" in orchestrator/builders/README.md.
"""

import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from urllib.parse import unquote, urljoin, urlsplit

from orchestrator.builders.jenkins.connection import Answer, Connection, Unanswered
from orchestrator.builders.jenkins.endings import endings
from orchestrator.builders.jenkins.paths import job_path
from orchestrator.builders.jenkins.search import Search
from orchestrator.errors import JobRejected, OrchestratorError, Unavailable, shown
from orchestrator.job import Ending, Job, Run, StartedJob, Untraceable
from orchestrator.run import RUN_ID_VARIABLE

_QUEUE_ITEM = re.compile(r"/queue/item/(\d+)/?$")
_ACCEPTED = (HTTPStatus.CREATED, HTTPStatus.SEE_OTHER)
# Jenkins reads this field as the build's delay, even if the job declares a parameter of the same name.
_RESERVED_VARIABLE = "delay"


class Jenkins:
    """Jenkins as a builder: a run is at first an item in Jenkins' queue, and later a build."""

    def __init__(self, connection: Connection, warn: Callable[[str], None], *, build_lookup: bool = False) -> None:
        """Create the builder.

        Args:
            warn: Called with a warning, once for each job that does not declare the parameter `ORCHESTRATOR_RUN_ID`.
            build_lookup: Whether to check, once and right after a start, if the queue item has become a build.
        """
        self._connection = connection
        self._search = Search(connection)
        self._warn = warn
        self._build_lookup = build_lookup
        self._plain: set[str] = set()
        self._checked: set[str] = set()

    def check(self, name: str) -> None:
        """Refuse a malformed name, or one whose path could lead to anything but a job; see `ChecksNames`."""
        job_path(name)

    def start(self, job: Job) -> Run:
        """Start a job with its variables as parameters; see `Builder.start`.

        Jenkins would start a second build for a repeated request. If an answer is lost, the request is therefore not
        sent again. Instead, the queue and the builds are searched for the run id. If the search finds no run,
        `Unavailable` is raised, and the event's next delivery searches again.
        """
        path = job_path(job.name)
        failure = f"Jenkins job {shown(job.name)} was not started"
        if _RESERVED_VARIABLE in job.variables:
            raise JobRejected(f"{failure}: Jenkins reserves the variable 'delay'; give it another name")
        try:
            run = self._scheduled(path, job, failure)
        except Unanswered as lost:
            run = self._after_lost_answer(lost, path, job, failure)
        self._check_declaration(path, job)
        return run

    def find(self, job: Job) -> Run | None:
        """Search the queue and the job's builds for the run id; see `Builder.find`."""
        failure = f"Jenkins job {shown(job.name)} could not be searched for run {job.run_id}"
        found = self._search.look(job_path(job.name), job, failure)
        if found.run is None and not found.is_certain:
            raise Untraceable(
                f"run {job.run_id} of Jenkins job {shown(job.name)} may have been started: the job does not declare "
                f"the parameter {RUN_ID_VARIABLE} (or has had too many builds since); add the parameter, look for the "
                "run among the job's builds, and send the event again if it is missing"
            )
        return found.run

    def endings(self, jobs: Sequence[StartedJob]) -> dict[str, Ending]:
        """Look up runs of one job; see `KnowsEndings`."""
        name = jobs[0].name
        failure = f"runs of Jenkins job {shown(name)} could not be looked up"
        return endings(self._connection, job_path(name), jobs, failure)

    def _after_lost_answer(self, lost: Unanswered, path: str, job: Job, failure: str) -> Run:
        try:
            run = self._search.look(path, job, failure).run
        except Exception:  # report the lost answer instead: Jenkins may have carried out the request
            run = None
        if run is None:
            raise Unavailable(str(lost)) from None
        return run

    def _scheduled(self, path: str, job: Job, failure: str) -> Run:
        """Request a build.

        Jenkins takes the request at `buildWithParameters` if the job has parameters, and at `build` if it has none. If
        Jenkins answers 400 at one, it is sent to the other; the job's next request starts with the one that worked.
        """
        is_plain = path in self._plain
        answer = self._post(path, job, failure, is_plain=is_plain)
        if answer.status == HTTPStatus.BAD_REQUEST:
            is_plain = not is_plain
            answer = self._post(path, job, failure, is_plain=is_plain)
            if answer.status in _ACCEPTED:
                (self._plain.add if is_plain else self._plain.discard)(path)
        return self._run(path, answer, failure)

    def _post(self, path: str, job: Job, failure: str, *, is_plain: bool) -> Answer:
        if is_plain:
            return self._connection.post(f"{path}/build", {}, failure)
        return self._connection.post(f"{path}/buildWithParameters", job.variables, failure)

    def _run(self, path: str, answer: Answer, failure: str) -> Run:
        item = _QUEUE_ITEM.search(answer.location)
        if item is not None and answer.status in _ACCEPTED:
            run = self._search.item(int(item[1]), already_started=answer.status == HTTPStatus.SEE_OTHER)
            return self._search.with_build(run) if self._build_lookup else run
        if answer.status == HTTPStatus.CREATED:  # a proxy has removed the queue item's URL from the answer
            return Run(link=f"{self._connection.url}{path}/")
        raise self._refusal(path, answer, failure)

    def _refusal(self, path: str, answer: Answer, failure: str) -> OrchestratorError:
        answered = f"{failure}: Jenkins on {self._connection.host} answered {answer.status}"
        match answer.status:
            case HTTPStatus.BAD_REQUEST:
                return JobRejected(f"{answered}; check the parameters that the job declares")
            case HTTPStatus.NOT_FOUND:
                return JobRejected(f"{failure}: {self._connection.no_such_job}")
            case HTTPStatus.CONFLICT:
                return JobRejected(f"{answered}; the job is disabled: enable it")
            case HTTPStatus.FOUND if self._is_page_of(path, answer.location):
                return JobRejected(
                    f"{answered}; its queue refused the job: check what keeps the job from being queued, such as a "
                    "plugin"
                )
        return self._connection.unlike_jenkins(answer, failure)

    def _is_page_of(self, path: str, location: str) -> bool:
        page = f"{self._connection.url}{path}/"
        try:
            target = urlsplit(urljoin(f"{page}buildWithParameters", location))
        except ValueError:
            return False
        return unquote(target.path).rstrip("/") == unquote(urlsplit(page).path).rstrip("/")

    def _check_declaration(self, path: str, job: Job) -> None:
        """Warn if the job does not declare the run id as a parameter, so that no search can find its runs."""
        if path in self._checked:
            return
        try:
            is_declared = self._search.declares_run_id(path)
        except Exception:  # the job is already started, so no later error may make this call fail
            return
        self._checked.add(path)
        if not is_declared:
            self._warn(
                f"Jenkins job {shown(job.name)} does not declare the parameter {RUN_ID_VARIABLE}: a repeated event "
                "cannot find its run, and Jenkins may merge the requests of several events into one run; add to the "
                f"parameters block of its Jenkinsfile: string(name: '{RUN_ID_VARIABLE}', defaultValue: '')"
            )
