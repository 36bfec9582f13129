"""The contract of every build system: one suite for CodeBuild, Jenkins and Step Functions."""

import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator import Builder, ConfigurationError, Job, JobRejected, Unavailable
from orchestrator.aws.clients import Clients
from orchestrator.builders.codebuild import CodeBuild
from orchestrator.builders.jenkins import Jenkins
from orchestrator.builders.jenkins import connection as jenkins_connection
from orchestrator.builders.step_functions import StepFunctions
from orchestrator.event import Start
from orchestrator.job import Ending, StartedJob
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.http_server import Script
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.local.step_functions import StepFunctionsServer
from tests.support.aws import Secrets, no_pause

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
JOB = "tenant-provisioning"
MACHINES = "arn:aws:states:eu-west-1:123456789012:stateMachine:"
SECRET = "do-not-tell"


@dataclass
class Bench:
    """A build system, and its server with the started runs.

    Attributes:
        at: Makes the builder for a server at another address.
        prefix: What comes before the names of jobs.
        starting: A text in the line of a request that starts a job; see `Script`.
    """

    builder: Builder
    server: CodeBuildServer | JenkinsServer | StepFunctionsServer
    started: Callable[[], list[Mapping[str, Any]]]
    refuse_credentials: Callable[[], None]
    end: Callable[[str, str], None]
    at: Callable[[str], Builder]
    prefix: str = ""
    starting: str = ""

    def job(self, run_id: str = "run-1", name: str = JOB, since: datetime = NOW) -> Job:
        variables = {"tenant": SECRET, "ORCHESTRATOR_RUN_ID": run_id}
        return Job(name=self.prefix + name, run_id=run_id, since=since, variables=variables)

    def endings(self, *jobs: StartedJob) -> dict[str, Ending]:
        builder: Any = self.builder
        found: dict[str, Ending] = builder.endings(jobs)
        return found

    @property
    def next(self) -> Script:
        return self.server.next


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit the wait for an answer to half a second; must be set up before `bench`."""
    monkeypatch.setattr("orchestrator.aws.clients.READ_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(jenkins_connection, "READ_TIMEOUT_SECONDS", 0.5)


@pytest.fixture(params=["CODE_BUILD", "JENKINS", "STEP_FUNCTIONS"])
def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    make = {"CODE_BUILD": _codebuild, "JENKINS": _jenkins, "STEP_FUNCTIONS": _step_functions}
    yield from make[request.param](monkeypatch)


def _codebuild(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    def end(run_id: str, status: str) -> None:
        build = next(b for b in server.builds if server.variables(b)["ORCHESTRATOR_RUN_ID"] == run_id)
        server.finish(build, {"SUCCESS": "SUCCEEDED", "FAILURE": "FAILED"}.get(status, status))

    def at(url: str) -> Builder:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", url)
        clients = Clients()
        return CodeBuild(lambda: clients.get("codebuild", "eu-west-1"))

    with CodeBuildServer([JOB], now=NOW.timestamp()) as server:
        yield Bench(
            builder=at(server.url),
            at=at,
            server=server,
            started=lambda: [server.variables(build) for build in server.builds],
            refuse_credentials=lambda: _refuse_credentials(server.next),
            end=end,
        )


def _refuse_credentials(script: Script) -> None:
    script.answer(400, '{"__type": "UnrecognizedClientException"}', {"Content-Type": "application/x-amz-json-1.1"})


def _jenkins(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    def end(run_id: str, status: str) -> None:
        server.run_queue()
        build = next(b for b in server.builds(JOB) if b.values["ORCHESTRATOR_RUN_ID"] == run_id)
        server.finish(JOB, build.number, status)

    def at(url: str) -> Builder:
        return Jenkins(jenkins_connection.Connection(url, Secrets().credentials, pause=no_pause), pytest.fail)

    with JenkinsServer(users=Secrets.USERS, now=NOW.timestamp()) as server:
        server.add_job(JOB, ["tenant", "ORCHESTRATOR_RUN_ID"])
        yield Bench(
            builder=at(server.url),
            at=at,
            server=server,
            started=lambda: [*(b.values for b in server.builds(JOB)), *(item.values for item in server.waiting())],
            refuse_credentials=lambda: server.users.update(admin="another-token"),
            end=end,
        )


def _step_functions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    def end(run_id: str, status: str) -> None:
        execution = next(one for one in server.executions if one["name"] == run_id)
        server.finish(execution, {"SUCCESS": "SUCCEEDED", "FAILURE": "FAILED"}.get(status, status))

    def at(url: str) -> Builder:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", url)
        clients = Clients()
        return StepFunctions(lambda region: clients.get("stepfunctions", region))

    with StepFunctionsServer([MACHINES + JOB], now=NOW.timestamp()) as server:
        yield Bench(
            builder=at(server.url),
            at=at,
            server=server,
            started=lambda: [server.variables(execution) for execution in server.executions],
            refuse_credentials=lambda: _refuse_credentials(server.next),
            end=end,
            prefix=MACHINES,
            starting="StartExecution",
        )


def started_job(bench: Bench, run_id: str = "run-1") -> StartedJob:
    """Start a job, and return it as the ledger keeps it."""
    job = bench.job(run_id)
    run = bench.builder.start(job)
    return StartedJob(
        builder="ANY",
        name=job.name,
        run_id=run_id,
        id=run.id,
        since=NOW,
        event_id="event",
        event_type="TENANT_PROVISIONING",
        tenant_id="t1",
        start=Start(event_id="event", at=NOW),
    )


def test_a_job_is_started_with_its_variables(bench: Bench) -> None:
    run = bench.builder.start(bench.job())

    assert bench.started() == [{"tenant": SECRET, "ORCHESTRATOR_RUN_ID": "run-1"}]
    assert run.id
    assert not run.already_started
    assert run.link is not None
    assert run.link.startswith("http")


def test_the_same_run_started_again_is_the_same_run(bench: Bench) -> None:
    first = bench.builder.start(bench.job())
    second = bench.builder.start(bench.job())

    assert second.id == first.id
    assert len(bench.started()) == 1


def test_another_run_of_the_same_job_is_started(bench: Bench) -> None:
    assert bench.builder.start(bench.job("run-1")).id != bench.builder.start(bench.job("run-2")).id
    assert len(bench.started()) == 2


def test_a_started_run_is_found(bench: Bench) -> None:
    run = bench.builder.start(bench.job())

    found = bench.builder.find(bench.job())

    assert found is not None
    assert (found.id, found.link, found.already_started) == (run.id, run.link, True)


def test_a_run_is_found_among_many_younger_ones(bench: Bench) -> None:
    run = bench.builder.start(bench.job("run-0"))
    for number in range(1, 130):
        bench.builder.start(bench.job(f"run-{number}"))
    if isinstance(bench.server, JenkinsServer):
        bench.server.run_queue()

    found = bench.builder.find(bench.job("run-0"))

    assert found is not None
    assert found.id == run.id


def test_a_run_that_was_never_started_is_not_found_and_not_started(bench: Bench) -> None:
    bench.builder.start(bench.job("run-1"))

    assert bench.builder.find(bench.job("run-2")) is None
    assert len(bench.started()) == 1


def test_nothing_older_than_the_event_is_read(bench: Bench) -> None:
    for number in range(220):
        bench.builder.start(bench.job(f"run-{number}"))
    if isinstance(bench.server, JenkinsServer):
        bench.server.run_queue()
    bench.server.requests.clear()

    assert bench.builder.find(bench.job("other", since=NOW + timedelta(days=30_000))) is None
    assert len(bench.server.requests) <= 2


def test_an_unknown_job_is_rejected_by_name(bench: Bench) -> None:
    with pytest.raises(JobRejected, match=r"'unknown'.*(the project|the job|the state machine) does not exist"):
        bench.builder.start(bench.job(name="unknown"))


@pytest.mark.parametrize("bench", ["CODE_BUILD", "JENKINS"], indirect=True)
def test_an_unknown_job_cannot_be_searched(bench: Bench) -> None:
    with pytest.raises(JobRejected, match=r"'unknown'.*(the project|the job) does not exist"):
        bench.builder.find(bench.job(name="unknown"))


@pytest.mark.parametrize("name", ["../evil", "a//b", "a?b", "a#b", "a\nb", ""])
def test_an_invalid_name_is_rejected_before_anything_is_sent(bench: Bench, name: str) -> None:
    for act in (bench.builder.start, bench.builder.find):
        with pytest.raises(
            JobRejected, match=r"is not a (CodeBuild project name|Jenkins job name|state machine's ARN)"
        ):
            act(bench.job(name=name))
    assert bench.server.requests == []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_fails_is_unavailable(bench: Bench, status: int) -> None:
    bench.next.answer(status, times=3)

    with pytest.raises(Unavailable, match=JOB) as caught:
        bench.builder.start(bench.job())
    assert SECRET not in str(caught.value)
    assert bench.started() == []


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_job_started_by_a_failed_request_is_not_started_twice(bench: Bench, status: int) -> None:
    bench.next.answer(status, on=bench.starting, after_acting=True)

    run = bench.builder.start(bench.job())

    assert len(bench.started()) == 1
    found = bench.builder.find(bench.job())
    assert found is not None
    assert run.id == found.id


def test_a_connection_that_closes_after_the_start_leaves_one_run(bench: Bench) -> None:
    bench.next.drop(on=bench.starting, after_acting=True)

    bench.builder.start(bench.job())

    assert len(bench.started()) == 1


@pytest.mark.parametrize("bench", ["CODE_BUILD", "STEP_FUNCTIONS"], indirect=True)
def test_a_dropped_request_with_a_token_or_a_name_is_sent_again(bench: Bench) -> None:
    bench.next.drop(on=bench.starting)

    bench.builder.start(bench.job())

    assert len(bench.started()) == 1


@pytest.mark.usefixtures("impatient")
def test_a_silent_server_is_unavailable_in_time(bench: Bench) -> None:
    bench.next.stall(times=3)

    with pytest.raises(Unavailable, match=r"no answer|ReadTimeout"):
        bench.builder.start(bench.job())
    assert bench.started() == []


@pytest.mark.usefixtures("impatient")
def test_a_job_started_by_a_request_without_an_answer_is_not_started_twice(bench: Bench) -> None:
    bench.next.stall(on=bench.starting, after_acting=True)

    bench.builder.start(bench.job())

    assert len(bench.started()) == 1


def test_refused_credentials_are_a_configuration_error(bench: Bench) -> None:
    bench.refuse_credentials()

    with pytest.raises(ConfigurationError, match=JOB):
        bench.builder.start(bench.job())


def test_a_closed_port_is_unavailable(bench: Bench) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    builder = bench.at(url)

    with pytest.raises(Unavailable, match="reached"):
        builder.start(bench.job())
    with pytest.raises(Unavailable, match="reached"):
        builder.find(bench.job())


def test_the_connection_is_kept_between_searches(bench: Bench) -> None:
    for number in range(5):
        bench.builder.find(bench.job(f"run-{number}"))

    assert len({request.connection for request in bench.server.requests}) == 1


def test_an_ended_run_has_an_ending(bench: Bench) -> None:
    jobs = [started_job(bench, f"run-{number}") for number in range(3)]
    bench.end("run-0", "SUCCESS")
    bench.end("run-1", "FAILURE")

    results = bench.endings(*jobs)

    assert {run_id: result.succeeded for run_id, result in results.items()} == {"run-0": True, "run-1": False}
    assert "ended FAIL" in results["run-1"].reason
    assert results["run-0"].variables["tenant"] == SECRET
    assert SECRET not in repr(results)
    assert not any(result.is_gone for result in results.values())


def test_a_run_in_progress_has_no_ending(bench: Bench) -> None:
    waiting = started_job(bench)
    assert bench.endings(waiting) == {}

    if isinstance(bench.server, JenkinsServer):
        bench.server.run_queue()
        assert bench.endings(waiting) == {}


def test_a_run_that_no_longer_exists_has_failed(bench: Bench) -> None:
    cancelled, other = started_job(bench, "run-1"), started_job(bench, "run-2")
    match bench.server:
        case JenkinsServer():
            bench.server.cancel(bench.server.waiting()[0])
        case CodeBuildServer():
            del bench.server.builds[0]
        case StepFunctionsServer():
            del bench.server.executions[0]

    results = bench.endings(cancelled, other)

    assert results.keys() == {"run-1"}
    assert not results["run-1"].succeeded
    # Jenkins still has all its builds, so this one certainly never ran.
    assert results["run-1"].is_gone is not isinstance(bench.server, JenkinsServer)


@pytest.mark.parametrize("bench", ["CODE_BUILD", "JENKINS"], indirect=True)
def test_the_endings_of_many_runs_take_few_requests(bench: Bench) -> None:
    jobs = [started_job(bench, f"run-{number}") for number in range(120)]
    bench.server.requests.clear()

    assert bench.endings(*jobs) == {}

    assert len(bench.server.requests) <= 4


def test_endings_of_a_failing_server_are_unavailable(bench: Bench) -> None:
    started = started_job(bench)
    bench.next.answer(503, times=3)

    with pytest.raises(Unavailable, match=f"{JOB}' could not be looked up"):
        bench.endings(started)
