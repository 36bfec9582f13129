"""The sweep finds every ending, even if one job or record fails."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from orchestrator import (
    Application,
    ConfigurationError,
    Job,
    Registry,
    Run,
    StartJob,
    Unavailable,
    create_handler,
    telemetry,
)
from orchestrator.job import Ending, StartedJob, Untraceable
from orchestrator.ledger import dynamodb
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.lifecycle import endings
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.local.jenkins.state import EPOCH
from orchestrator.local.lambda_context import LocalContext
from orchestrator.timing import clock, deadline
from tests.support.aws import Requests, published, stored
from tests.support.endings import HOUR, SECRET, as_report, assert_ignored, open_records, outcome, provisioned
from tests.support.events import as_event, invoke, json_lines, sample, state_change


def sweep(handler: Application, **changes: Any) -> Any:
    return outcome(invoke(handler, sample("scheduled-sweep", **changes)), "sweep_runs")


def test_a_start_records_the_open_job_without_an_extra_request(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)

    assert [name for name in aws.operations if name != "GetItem"] == [
        "PutItem",
        "TransactWriteItems",
        "StartBuild",
        "UpdateItem",
    ]
    (item,) = open_records()
    assert item["id"]["S"] == codebuild.variables(build)["ORCHESTRATOR_RUN_ID"]
    assert build["id"] == item["outcome"]["M"]["id"]["S"]
    assert sandbox.CALLBACK_SECRET not in str(item)


def test_an_unreported_ending_is_found_and_published(
    handler: Application, codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build, "FAILED", REASON="exported")
    later(HOUR)

    assert sweep(handler) == {"action": "SweepRuns", "status": "swept", "checked": 1, "published": 1}

    (entry,) = published(aws)
    detail = json.loads(entry["Detail"])
    assert entry["DetailType"] == "TENANT_PROVISIONING_FAILURE"
    assert detail["REASON"] == "exported"
    assert detail["secret"] == sandbox.CALLBACK_SECRET
    invoke(handler, as_event(entry))
    assert open_records() == []
    assert sweep(handler, id="next")["checked"] == 0


def test_a_published_ending_that_got_lost_is_not_published_again(
    handler: Application, codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    codebuild.finish(provisioned(handler, codebuild))
    later(HOUR)
    sweep(handler)
    assert len(open_records()) == 1
    later(HOUR * 2)

    assert sweep(handler, id="next") == {"action": "SweepRuns", "status": "swept", "checked": 1, "published": 0}

    assert (len(published(aws)), open_records()) == (1, [])


def test_the_sweep_finds_open_jobs_by_a_query(
    handler: Application, codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    provisioned(handler, codebuild)
    later(HOUR)
    aws.clear()

    sweep(handler)

    assert aws.operations == ["Query", "Query", "UpdateItem", "BatchGetBuilds"]
    assert [query["IndexName"] for query in aws.of("Query")] == ["open-jobs", "open-jobs"]


@pytest.mark.parametrize("error", [ConfigurationError("no permission"), Untraceable("it has no run ids")])
def test_a_run_that_cannot_be_searched_for_is_given_up_after_a_day(
    aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: Any) -> Any:
        raise error

    builds = Builds()
    monkeypatch.setattr(builds, "start", lambda job: (_ for _ in ()).throw(Unavailable("no answer")))
    monkeypatch.setattr(builds, "find", refuse)
    with pytest.raises(Unavailable, match="no answer"):
        many(builds, 1)
    handler = create_handler(endings.registry, builders={"MINE": builds})

    later(HOUR * 23)
    sweep(handler)
    assert len(open_records()) == 1
    later(HOUR * 25)
    sweep(handler, id="next")

    assert open_records() == []


def test_a_new_job_is_not_checked_at_once(handler: Application, codebuild: CodeBuildServer, aws: Requests) -> None:
    codebuild.finish(provisioned(handler, codebuild))

    assert sweep(handler)["checked"] == 0


@pytest.mark.parametrize(
    ("age", "pause"),
    [(timedelta(minutes=6), 5), (timedelta(minutes=40), 10), (timedelta(hours=3), 45), (timedelta(days=9), 60)],
)
def test_the_longer_a_job_runs_the_less_often_it_is_checked(
    handler: Application, codebuild: CodeBuildServer, later: Callable[[timedelta], None], age: timedelta, pause: int
) -> None:
    provisioned(handler, codebuild)
    later(age)
    assert sweep(handler)["checked"] == 1

    later(age + timedelta(minutes=pause - 1))
    assert sweep(handler, id="too-early")["checked"] == 0
    later(age + timedelta(minutes=pause + 1))
    assert sweep(handler, id="in-time")["checked"] == 1


def test_a_run_that_has_reported_its_ending_is_followed_until_the_build_system_confirms_it(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    invoke(handler, sample("tenant-provisioning-success", detail=codebuild.variables(build)))
    aws.clear()

    assert sweep(handler, id="early")["checked"] == 1
    assert len(open_records()) == 1

    codebuild.finish(build)
    invoke(handler, state_change(build))
    assert (open_records(), published(aws)) == ([], [])


def test_a_run_that_fails_after_it_has_reported_a_success_is_published_as_failed(
    handler: Application, codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    build = provisioned(handler, codebuild)
    invoke(handler, sample("tenant-provisioning-success", detail=codebuild.variables(build)))
    codebuild.finish(build, "FAILED")
    aws.clear()

    assert sweep(handler)["published"] == 1

    (entry,) = published(aws)
    assert entry["DetailType"] == "TENANT_PROVISIONING_FAILURE"
    invoke(handler, as_event(entry))
    assert (stored()["status"], open_records()) == ("PROVISIONING_FAILED", [])


def test_a_run_that_is_gone_has_ended_as_it_reported(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)
    invoke(handler, sample("tenant-provisioning-success", detail=codebuild.variables(build)))
    codebuild.builds.clear()
    aws.clear()

    sweep(handler)

    assert (open_records(), published(aws)) == ([], [])


def test_a_report_of_another_event_type_leaves_the_job_open(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    build = provisioned(handler, codebuild)

    assert_ignored(
        handler, aws, as_report(codebuild, build, "TENANT_DEPLOYMENT_SUCCESS"), "was started for 'TENANT_PROVISIONING'"
    )

    assert len(open_records()) == 1


def started_in_doubt(codebuild: CodeBuildServer, monkeypatch: pytest.MonkeyPatch) -> Application:
    """Start a build of which every answer is lost."""
    monkeypatch.setattr("orchestrator.aws.clients.READ_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr("time.sleep", lambda _: None)
    handler = create_handler(lifecycle)
    codebuild.next.drop(on="StartBuild", after_acting=True, times=3)
    with pytest.raises(Unavailable):
        provisioned(handler, codebuild)
    return handler


def test_the_run_of_a_start_in_doubt_is_found_and_published(
    codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = started_in_doubt(codebuild, monkeypatch)
    codebuild.finish(codebuild.builds[0])
    later(HOUR)
    assert sweep(handler)["published"] == 0  # this sweep finds the run, the next one reads its status
    later(HOUR * 2)

    assert sweep(handler, id="next")["published"] == 1
    assert [entry["DetailType"] for entry in published(aws)] == ["TENANT_PROVISIONING_SUCCESS"]


def test_the_run_of_a_start_in_doubt_is_published_if_its_report_could_not_be_handled(
    codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report settled the start, but its consumer failed, so the ending must still be published."""
    handler = started_in_doubt(codebuild, monkeypatch)
    (build,) = codebuild.builds
    codebuild.finish(build)
    with monkeypatch.context() as broken:
        broken.setenv("DATA_STORE_TABLE", "none-there")
        with pytest.raises(ConfigurationError):
            invoke(create_handler(lifecycle), as_report(codebuild, build, "TENANT_PROVISIONING_SUCCESS"))
    later(HOUR)
    assert sweep(handler)["published"] == 0
    later(HOUR * 2)

    assert sweep(handler, id="next")["published"] == 1


def test_a_start_in_doubt_without_a_run_is_given_up_in_the_end(
    codebuild: CodeBuildServer,
    aws: Requests,
    later: Callable[[timedelta], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    handler = create_handler(lifecycle)
    codebuild.next.drop(on="StartBuild", times=3)
    with pytest.raises(Unavailable):
        provisioned(handler, codebuild)

    later(timedelta(minutes=30))
    sweep(handler)
    assert len(open_records()) == 1
    later(timedelta(minutes=90))
    sweep(handler, id="next")

    assert open_records() == []
    assert published(aws) == []
    assert "was never started; unless its event" in capsys.readouterr().out


def test_a_job_that_was_certainly_not_started_is_not_open(handler: Application, codebuild: CodeBuildServer) -> None:
    codebuild.projects.clear()

    with pytest.raises(Exception, match="the project does not exist"):
        provisioned(handler, codebuild)

    assert open_records() == []


def test_a_jenkins_job_is_followed_by_the_sweep(
    jenkins: JenkinsServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    (build,) = jenkins.run_queue()
    later(HOUR)
    assert sweep(handler)["published"] == 0
    jenkins.finish("tenants/enterprise-provisioning", build.number, "UNSTABLE")
    later(HOUR * 3)

    assert sweep(handler, id="next")["published"] == 1

    (entry,) = published(aws)
    detail = json.loads(entry["Detail"])
    assert (entry["DetailType"], entry["Source"]) == ("TENANT_PROVISIONING_FAILURE", "saas.tenant.provisioning.jenkins")
    assert detail["reason"] == "build 1 of Jenkins job tenants/enterprise-provisioning ended UNSTABLE"
    assert detail["BUILD_URL"] == f"{jenkins.url}/job/tenants/job/enterprise-provisioning/1/"
    assert json.loads(detail["tenant"])["name"] == "Globex Energy"
    assert detail["secret"] == "example-callback-secret"


def test_a_jenkins_job_without_our_parameters_is_followed_by_its_queue_item(
    jenkins: JenkinsServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    jenkins.add_job("tenants/enterprise-provisioning", ["unrelated"])
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    (build,) = jenkins.run_queue()
    jenkins.finish("tenants/enterprise-provisioning", build.number)
    later(HOUR)

    assert sweep(handler)["published"] == 1

    detail = json.loads(published(aws)[0]["Detail"])
    assert json.loads(detail["tenant"]) == {"id": detail["ORCHESTRATOR_TENANT_ID"]}
    assert detail["ORCHESTRATOR_EVENT_TYPE"] == "TENANT_PROVISIONING"


def test_a_jenkins_build_with_the_same_queue_number_but_another_run_id_is_another_run(
    jenkins: JenkinsServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    """Jenkins numbers its queue items from 1 again after losing its own files."""
    name = "tenants/enterprise-provisioning"
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    jenkins.cancel(jenkins.waiting()[0])
    jenkins.enqueue(name, {"ORCHESTRATOR_RUN_ID": "another"}).id = int(open_records()[0]["outcome"]["M"]["id"]["S"])
    (build,) = jenkins.run_queue()
    jenkins.finish(name, build.number)
    later(HOUR)

    assert sweep(handler)["published"] == 1

    (entry,) = published(aws)
    assert entry["DetailType"] == "TENANT_PROVISIONING_FAILURE"
    assert "was cancelled in the queue" in json.loads(entry["Detail"])["reason"]


def test_a_cancelled_jenkins_item_is_a_failure(
    jenkins: JenkinsServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    jenkins.cancel(jenkins.waiting()[0])
    later(HOUR)

    assert sweep(handler)["published"] == 1

    assert "was cancelled in the queue" in json.loads(published(aws)[0]["Detail"])["reason"]


def test_a_jenkins_run_that_may_have_been_discarded_is_reported_after_a_day(
    jenkins: JenkinsServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    jenkins.advance(datetime.now(UTC).timestamp() - EPOCH)
    name = "tenants/enterprise-provisioning"
    job = jenkins.add_job(name, ["tenant", "ORCHESTRATOR_RUN_ID"])
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    jenkins.run_queue()
    jenkins.finish(name, 1)
    jenkins.enqueue(name, {"ORCHESTRATOR_RUN_ID": "younger"})
    jenkins.run_queue()
    del job.builds[0]  # the job keeps only its youngest build

    later(HOUR)
    assert sweep(handler)["published"] == 0
    later(HOUR * 25)
    assert sweep(handler, id="next")["published"] == 1

    assert "no longer exists, and older builds are missing too" in json.loads(published(aws)[0]["Detail"])["reason"]


def test_a_jenkins_job_that_was_deleted_is_reported_after_a_day(
    jenkins: JenkinsServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning-jenkins"))
    jenkins.next.answer(404, on="GET /job/", times=2)
    later(HOUR)
    assert sweep(handler)["published"] == 0
    later(HOUR * 25)

    assert sweep(handler, id="next")["published"] == 1
    assert published(aws)[0]["DetailType"] == "TENANT_PROVISIONING_FAILURE"


class Builds:
    """A build system that ends the runs of the tenants in `ended`; its jobs in `failing` raise `error`."""

    def __init__(self) -> None:
        self.ended: dict[str, bool] = {}
        self.failing: set[str] = set()
        self.batches: list[int] = []
        self.error: Exception = Unavailable("other is out of order")

    def start(self, job: Job) -> Run:
        return Run(id=job.run_id)

    def find(self, job: Job) -> Run | None:
        return None

    def endings(self, jobs: Sequence[StartedJob]) -> dict[str, Ending]:
        assert len({job.name for job in jobs}) == 1
        self.batches.append(len(jobs))
        if jobs[0].name in self.failing:
            raise self.error
        return {
            job.run_id: Ending(succeeded=True, reason="done", variables={"tenant": '{"id": "t"}', "secret": SECRET})
            for job in jobs
            if self.ended.get(job.tenant_id or "")
        }


def many(builds: Builds, count: int) -> Application:
    """Start a job for each of `count` tenants, named t0, t1, and so on; every third runs the job `other`."""
    registry = Registry()
    registry.include(endings.registry)
    registry.consumer("TENANT_UPGRADE", name="upgrade")(
        lambda event: StartJob(builder="MINE", name=event.detail["job"], tenant_id=event.detail["id"])
    )
    handler = create_handler(registry, builders={"MINE": builds})
    for number in range(count):
        detail = {"id": f"t{number}", "job": "other" if number % 3 == 0 else "job"}
        invoke(
            handler, sample("tenant-provisioning", id=str(number), **{"detail-type": "TENANT_UPGRADE"}, detail=detail)
        )
    return handler


class Forwarding:
    """Wraps a builder and forwards all calls by `__getattr__`."""

    def __init__(self, builder: Builds) -> None:
        self._builder = builder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)


def test_the_runs_of_a_forwarding_builder_are_followed(aws: Requests, later: Callable[[timedelta], None]) -> None:
    builds = Builds()
    wrapper: Any = Forwarding(builds)
    handler = many(wrapper, 1)
    builds.ended = {"t0": True}
    later(HOUR)

    assert sweep(handler)["published"] == 1


def test_a_run_without_a_builders_id_is_looked_up_by_its_run_id(
    aws: Requests, later: Callable[[timedelta], None]
) -> None:
    class Nameless(Builds):
        def start(self, job: Job) -> Run:
            raise Unavailable("the answer got lost")

        def find(self, job: Job) -> Run | None:
            return Run()

    builds = Nameless()
    with pytest.raises(Unavailable, match="the answer got lost"):
        many(builds, 1)
    handler = create_handler(endings.registry, builders={"MINE": builds})
    builds.ended = {"t0": True}
    later(HOUR)
    assert sweep(handler)["published"] == 0  # this sweep finds the run, the next one reads its status
    later(HOUR * 2)

    assert sweep(handler, id="next")["published"] == 1


@pytest.mark.parametrize("error", [Unavailable("other is out of order"), KeyError(SECRET)])
def test_a_job_that_cannot_be_read_does_not_stop_the_sweep(
    aws: Requests, later: Callable[[timedelta], None], capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    builds = Builds()
    builds.error = error
    handler = many(builds, 6)
    builds.ended = {f"t{number}": True for number in range(6)}
    builds.failing = {"other"}
    later(HOUR)

    assert sweep(handler) == {"action": "SweepRuns", "status": "swept", "checked": 6, "published": 4}
    logged = capsys.readouterr().out
    assert "other is out of order" in logged or "builder 'MINE' raised KeyError in endings" in logged
    assert SECRET not in logged

    builds.failing = set()
    later(HOUR * 2)
    assert sweep(handler, id="next")["published"] == 2
    assert {entry["DetailType"] for entry in published(aws)} == {"TENANT_UPGRADE_SUCCESS"}
    assert len(published(aws)) == 6


def test_a_record_of_another_version_is_skipped(
    aws: Requests, later: Callable[[timedelta], None], capsys: pytest.CaptureFixture[str]
) -> None:
    builds = Builds()
    handler = many(builds, 3)
    builds.ended = {f"t{number}": True for number in range(3)}
    dynamodb = boto3.client("dynamodb")
    for key, job in (("newer", {"M": {"builder": {"S": "MINE"}}}), ("odd", {"S": "text"})):
        item = {"id": {"S": key}, "openJob": {"S": "open"}, "checkAt": {"S": "2026"}, "job": job}
        dynamodb.put_item(TableName="idempotency", Item=item)
    later(HOUR)

    assert sweep(handler)["published"] == 3
    assert capsys.readouterr().out.count("is not followed: item") == 2
    assert sweep(handler, id="next")["checked"] == 0  # they are postponed


def test_a_job_that_cannot_be_postponed_does_not_stop_the_sweep(
    aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = Builds()
    handler = many(builds, 3)
    builds.ended = {f"t{number}": True for number in range(3)}
    later(HOUR)

    def fail(*_: Any) -> None:
        raise Unavailable("not now")

    monkeypatch.setattr(DynamoDBRecords, "postpone", fail)

    assert sweep(handler)["published"] == 3


def test_many_jobs_are_checked_in_pages(
    aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamodb, "_PAGE", 4)
    builds = Builds()
    handler = many(builds, 10)
    builds.ended = {f"t{number}": True for number in range(5)}
    later(HOUR)

    swept = sweep(handler)

    assert (swept["checked"], swept["published"]) == (10, 5)
    assert max(builds.batches) <= 4


def test_a_sweep_stops_in_time_and_the_next_one_continues(
    aws: Requests, later: Callable[[timedelta], None], capsys: pytest.CaptureFixture[str]
) -> None:
    class Slow(Builds):
        def endings(self, jobs: Sequence[StartedJob]) -> dict[str, Ending]:
            if not self.batches:
                time_is_up.setattr(deadline, "has_time", lambda pause=0.0: False)
            return super().endings(jobs)

    handler = many(Slow(), 3)
    later(HOUR)

    with pytest.MonkeyPatch.context() as time_is_up:
        assert sweep(handler)["checked"] == 2  # both of the first job
    assert "sweep stopped because its time is up" in capsys.readouterr().out
    assert sweep(handler, id="next")["checked"] == 1


def test_a_sweep_in_a_short_invocation_checks_as_many_jobs_as_it_can_report(
    aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = Builds()
    handler = many(builds, 24)
    stopped = datetime.now(UTC) + HOUR
    monkeypatch.setattr(clock, "now", lambda: stopped)
    monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: 0.0))

    answer = handler(sample("scheduled-sweep"), LocalContext(timeout=3))

    assert outcome(answer, "sweep_runs")["checked"] == 24
    assert max(builds.batches) <= 14  # seven for each of the two seconds left


def test_two_sweeps_at_once_publish_each_ending_once(
    aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both read the open jobs before either postpones them."""
    monkeypatch.setattr(DynamoDBRecords, "postpone", lambda *_: None)
    builds = Builds()
    handler = many(builds, 8)
    builds.ended = {f"t{number}": True for number in range(8)}
    later(HOUR)
    read = builds.endings
    swept: list[Any] = []

    def read_during_another_sweep(jobs: Sequence[StartedJob]) -> dict[str, Ending]:
        found = read(jobs)
        if not swept:
            swept.append(None)
            swept[0] = sweep(handler, id="two")
        return found

    builds.endings = read_during_another_sweep  # type: ignore[method-assign]
    sweep(handler, id="one")

    assert swept[0]["published"] == 8
    assert len(published(aws)) == 8
    assert open_records() == []


def test_a_sweep_that_was_killed_after_publishing_does_not_publish_again(
    aws: Requests, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = Builds()
    handler = many(builds, 1)
    builds.ended = {"t0": True}
    later(HOUR)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(DynamoDBRecords, "close", die)
        with pytest.raises(KeyboardInterrupt):
            sweep(handler)

    later(HOUR * 2)
    assert sweep(handler, id="next")["checked"] == 1
    assert len(published(aws)) == 1
    assert open_records() == []


def test_jobs_without_an_ending_after_a_day_are_counted(
    aws: Requests, later: Callable[[timedelta], None], capsys: pytest.CaptureFixture[str]
) -> None:
    handler = many(Builds(), 2)
    later(timedelta(hours=25))
    sweep(handler)

    counts = [line["RunsWithoutEnding"] for line in json_lines(capsys.readouterr().out) if "RunsWithoutEnding" in line]
    assert counts == [[2.0]]


@pytest.mark.parametrize("level", ["INFO", "WARNING", "ERROR"])
def test_a_sweep_that_finds_no_job_is_counted_at_every_log_level(
    handler: Application, capsys: pytest.CaptureFixture[str], level: str
) -> None:
    before = telemetry.logger.log_level
    telemetry.logger.setLevel(level)
    try:
        sweep(handler)
    finally:
        telemetry.logger.setLevel(before)

    lines = json_lines(capsys.readouterr().out)
    assert [line["RunsWithoutEnding"] for line in lines if "RunsWithoutEnding" in line] == [[0.0]]


def test_a_build_system_without_endings_is_not_followed(aws: Requests) -> None:
    class WithoutEndings:
        def start(self, job: Job) -> Run:
            return Run(id="1")

        def find(self, job: Job) -> Run | None:
            return None

    registry = Registry()
    registry.consumer("TENANT_PROVISIONING", name="start")(lambda event: StartJob(builder="MUTE", name="job"))

    invoke(create_handler(registry, builders={"MUTE": WithoutEndings()}), sample("tenant-provisioning"))

    assert open_records() == []


def test_without_a_table_the_sweep_is_skipped_and_warns_once(
    aws: Requests, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("IDEMPOTENCY_TABLE")
    handler = create_handler(lifecycle)

    answers = [sweep(handler, id=name) for name in ("one", "two")]

    assert [answer["status"] for answer in answers] == ["skipped", "skipped"]
    assert capsys.readouterr().out.count("no sweep: IDEMPOTENCY_TABLE is not set") == 1
    assert aws == []


def test_without_the_index_each_sweep_fails_and_names_it(
    aws: Requests, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boto3.client("dynamodb").create_table(
        TableName="plain",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    monkeypatch.setenv("IDEMPOTENCY_TABLE", "plain")
    handler = create_handler(lifecycle)
    invoke(handler, sample("tenant-provisioning"))

    answers = [sweep(handler, id=name) for name in ("one", "two")]

    lines = json_lines(capsys.readouterr().out)
    (reason,) = {answer["reason"] for answer in answers}
    assert reason.startswith("table plain could not be read; it needs the index open-jobs")
    assert [line["message"] for line in lines if line.get("level") == "ERROR"] == [reason, reason]
    assert [line["SweepFailed"] for line in lines if "SweepFailed" in line] == [[1.0], [1.0]]
    assert "Scan" not in aws.operations


@pytest.mark.parametrize("changes", [{}, {"source": "aws.events", "detail": {}}])
def test_both_types_of_schedules_start_a_sweep(handler: Application, changes: dict[str, Any]) -> None:
    assert sweep(handler, **changes)["status"] == "swept"


def test_a_schedule_of_another_source_starts_no_sweep(handler: Application, aws: Requests) -> None:
    assert invoke(handler, sample("scheduled-sweep", source="somebody", detail={}))["consumers"] == []


def test_an_ending_that_the_sweep_found_is_recorded_for_the_tenant(
    handler: Application, codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    build = provisioned(handler, codebuild)
    codebuild.finish(build, "STOPPED")
    later(HOUR)
    sweep(handler)

    invoke(handler, as_event(published(aws)[0]))

    record = stored()
    assert (record["status"], record["statusBuild"]) == ("PROVISIONING_FAILED", build["id"])
    assert record["statusReason"] == f"CodeBuild build {build['id']} ended STOPPED in phase BUILD"


def test_a_sweep_that_cannot_read_the_table_is_counted_as_failed(
    handler: Application, aws: Requests, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise Unavailable("open jobs could not be read")

    monkeypatch.setattr(DynamoDBRecords, "due", fail)

    assert sweep(handler) == {
        "action": "SweepRuns",
        "status": "swept",
        "checked": 0,
        "published": 0,
        "reason": "open jobs could not be read",
    }
    lines = json_lines(capsys.readouterr().out)
    assert [line["SweepFailed"] for line in lines if "SweepFailed" in line] == [[1.0]]
