"""Starts Jenkins jobs, and looks up how their runs ended.

The section "Facts about Jenkins" in orchestrator/builders/README.md lists what this package relies on.
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
    """Implements `Builder` for Jenkins. A run is first an item in Jenkins' queue, and then a build of the job."""

    def __init__(self, connection: Connection, warn: Callable[[str], None], *, build_lookup: bool = False) -> None:
        """Create the builder.

        Args:
            connection: Sends the requests to Jenkins.
            warn: Logs a text as a warning. It is called once for each job that does not declare the parameter
                `ORCHESTRATOR_RUN_ID`, because no search can find the runs of such a job.
            build_lookup: Whether `start` sends one more request, to look for the build of the new queue item. If the
                build exists already, the returned run has its number and link.
        """
        self._connection = connection
        self._search = Search(connection)
        self._warn = warn
        self._build_lookup = build_lookup
        self._plain: set[str] = set()
        self._checked: set[str] = set()

    def check(self, name: str) -> None:
        """Raise `JobRejected` if a job's name is malformed, or if its path could lead to something other than a job.

        See `ChecksNames.check` and `job_path`.
        """
        job_path(name)

    def start(self, job: Job) -> Run:
        """Start a job with its variables as parameters; see `Builder.start`.

        A request whose answer is lost is not repeated, because Jenkins could start a second build. Instead, the queue
        and the job's builds are searched for the run id. If the search fails or finds no run, `Unavailable` is raised,
        and the next delivery of the event searches again.

        Raises:
            JobRejected: See `Builder.start`. Or a variable has the name `delay`, which Jenkins reserves.
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
        """Search the queue and the job's builds for the run id; see `Builder.find`.

        Raises:
            Untraceable: No run was found, but there may be one. Either the job does not declare the parameter
                `ORCHESTRATOR_RUN_ID`, or it has had more builds since the event than a search reads.
        """
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
        """Look up how runs of one job ended; see `KnowsEndings.endings`."""
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
        """Request a build, and return its run.

        Jenkins expects the request at the path `…/buildWithParameters` if the job declares parameters, and at `…/build`
        if the job declares none. If Jenkins answers 400 at one path, the request is sent to the other path. The path
        that Jenkins accepted is used for the job's next run.

        Jenkins gets the job's variables only at the path `…/buildWithParameters`.

        Args:
            path: The job's path, from `job_path`.
            job: The job to start.
            failure: The beginning of error messages, such as `Jenkins job 'x' was not started`.

        Raises:
            Unanswered: Jenkins may have started the job, but no answer says so.
            OrchestratorError: Jenkins did not start the job.
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
        """Warn if a job does not declare the parameter `ORCHESTRATOR_RUN_ID`, by which a search finds its runs.

        Each job is checked once. A failed check raises no error, and is repeated at the next start of the job.

        Args:
            path: The job's path, from `job_path`.
            job: The job, which has been started.
        """
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
