"""Each action is performed once, even if its event is redelivered or its process was killed halfway."""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import boto3
import pytest
from botocore.exceptions import UnknownServiceError
from moto import mock_aws

from orchestrator import (
    Application,
    ConfigurationError,
    Job,
    JobRejected,
    OrchestratorError,
    PublishEvent,
    Registry,
    Run,
    StartJob,
    StaticTierDetails,
    Unavailable,
    Untraceable,
    create_handler,
)
from orchestrator.aws.items import from_item
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.local.lambda_context import LocalContext
from orchestrator.performers.publish_event import EventBus
from tests.support.aws import Requests
from tests.support.events import changed, invoke, json_lines, sample

PROJECT = "premium-tenant-provisioning"


class Killed(KeyboardInterrupt):
    """Simulates a kill: no exception handler of the package catches it."""


class Builds:
    """A build system without idempotency; it raises the given errors before or after a start, or in a search."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.searches = 0
        self.before: dict[str, list[BaseException]] = {}
        self.after: list[BaseException] = []
        self.search_fails: list[Exception] = []

    def start(self, job: Job) -> Run:
        if self.before.get(job.name):
            raise self.before[job.name].pop(0)
        self.started.append(job.run_id)
        if self.after:
            raise self.after.pop(0)
        return Run(id=f"{job.name}#{len(self.started)}")

    def find(self, job: Job) -> Run | None:
        self.searches += 1
        if self.search_fails:
            raise self.search_fails.pop(0)
        if job.run_id not in self.started:
            return None
        return Run(id=f"{job.name}#{self.started.index(job.run_id) + 1}", already_started=True)


@pytest.fixture
def builds() -> Builds:
    return Builds()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def handler(aws: Requests, registry: Registry, builds: Builds) -> Application:
    registry.consumer("TENANT_PROVISIONING", name="start")(lambda event: StartJob(name="x"))
    return create_handler(registry, builders={"CODE_BUILD": builds})


@pytest.fixture
def event() -> dict[str, Any]:
    return sample("tenant-provisioning")


def outcomes(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer["consumers"][0]["outcomes"]
    return found


def records() -> list[dict[str, Any]]:
    return boto3.client("dynamodb").scan(TableName="idempotency")["Items"]


def end_locks() -> None:
    """Expire every lock."""
    table = boto3.client("dynamodb")
    for record in records():
        table.update_item(
            TableName="idempotency",
            Key={"id": record["id"]},
            UpdateExpression="SET lockedUntil = :past",
            ExpressionAttributeValues={":past": {"N": "1"}},
        )


def test_a_redelivered_event_starts_no_second_job(handler: Application, builds: Builds, event: dict[str, Any]) -> None:
    first = outcomes(invoke(handler, event))
    second = outcomes(invoke(handler, event))

    assert len(builds.started) == 1
    assert [first[0]["status"], second[0]["status"]] == ["started", "already started"]
    assert second[0]["id"] == first[0]["id"] == "x#1"
    assert builds.searches == 0


def test_an_archive_replay_starts_no_second_job(handler: Application, builds: Builds, event: dict[str, Any]) -> None:
    event["time"] = (datetime.now(UTC) - timedelta(days=20)).isoformat()
    invoke(handler, event)

    answer = invoke(handler, event | {"replay-name": "after-the-outage"})

    assert len(builds.started) == 1
    assert outcomes(answer)[0]["status"] == "already started"


def test_another_event_starts_another_job(handler: Application, builds: Builds) -> None:
    invoke(handler, sample("tenant-provisioning", id="one"))
    invoke(handler, sample("tenant-provisioning", id="two"))

    assert len(builds.started) == 2


def test_a_delivery_during_another_ones_start_starts_no_second_job(
    aws: Requests, registry: Registry, event: dict[str, Any]
) -> None:
    errors: list[str] = []

    class Slow(Builds):
        def start(self, job: Job) -> Run:
            with ThreadPoolExecutor(1) as second_environment:
                error = second_environment.submit(invoke, other, event).exception()
            assert isinstance(error, Unavailable)
            errors.append(str(error))
            return super().start(job)

    builds = Slow()
    registry.consumer("TENANT_PROVISIONING", name="start")(lambda event: StartJob(name="x"))
    handler, other = (create_handler(registry, builders={"CODE_BUILD": builds}) for _ in range(2))

    answer = invoke(handler, event)

    assert errors == ["job 'x' was not started: another delivery of the event is performing it; a retry may succeed"]
    assert outcomes(answer)[0]["status"] == "started"
    assert len(builds.started) == 1


def test_a_retry_performs_only_what_was_not_done(aws: Requests, builds: Builds, event: dict[str, Any]) -> None:
    registry = Registry()
    registry.consumer("TENANT_PROVISIONING", name="start")(
        lambda event: [StartJob(name="x"), StartJob(name="y"), StartJob(name="z")]
    )
    handler = create_handler(registry, builders={"CODE_BUILD": builds})
    builds.before["y"] = [Unavailable("y is busy", ambiguous=False)]
    with pytest.raises(Unavailable, match="y is busy"):
        invoke(handler, event)

    answer = invoke(handler, event)

    assert [outcome["status"] for outcome in outcomes(answer)] == ["already started", "started", "started"]
    assert len(set(builds.started)) == len(builds.started) == 3


@pytest.mark.parametrize(
    "failure",
    [
        Unavailable("busy", ambiguous=False),
        JobRejected("disabled"),
        ConfigurationError("no permission"),
        UnknownServiceError(service_name="quantum", known_service_names="codebuild"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_failure_without_effect_frees_the_lock_at_once(
    handler: Application, builds: Builds, event: dict[str, Any], failure: Exception
) -> None:
    builds.before["x"] = [failure]
    with pytest.raises(OrchestratorError):
        invoke(handler, event)

    assert outcomes(invoke(handler, event))[0]["status"] == "started"
    assert builds.searches == 0


@pytest.mark.parametrize("failure", [Unavailable("no answer"), ValueError("somebody's own")])
def test_a_failure_in_doubt_keeps_the_lock_and_the_retry_searches_first(
    handler: Application, builds: Builds, event: dict[str, Any], failure: Exception
) -> None:
    builds.after = [failure]
    with pytest.raises(Exception, match=r"no answer|raised ValueError"):
        invoke(handler, event)
    with pytest.raises(Unavailable, match="job 'x' was not started: another delivery of the event is performing it"):
        invoke(handler, event)
    end_locks()

    answer = invoke(handler, event)

    assert len(builds.started) == 1
    assert builds.searches == 1
    assert outcomes(answer)[0]["status"] == "already started"


def test_a_retry_after_a_kill_finds_the_job_that_was_started(
    handler: Application, builds: Builds, event: dict[str, Any]
) -> None:
    builds.after = [Killed()]
    with pytest.raises(Killed):
        invoke(handler, event)
    end_locks()

    answer = invoke(handler, event)

    assert len(builds.started) == 1
    assert outcomes(answer)[0] == {
        "action": "StartJob",
        "status": "already started",
        "builder": "CODE_BUILD",
        "name": "x",
        "id": "x#1",
        "runId": builds.started[0],
    }


def test_a_retry_after_a_kill_starts_the_job_that_was_not_started(
    handler: Application, builds: Builds, event: dict[str, Any]
) -> None:
    builds.before["x"] = [Killed()]
    with pytest.raises(Killed):
        invoke(handler, event)
    end_locks()

    assert outcomes(invoke(handler, event))[0]["status"] == "started"
    assert (len(builds.started), builds.searches) == (1, 1)


@pytest.mark.parametrize("failure", [ConfigurationError("no permission"), Unavailable("gone", ambiguous=False)])
def test_an_earlier_attempt_is_remembered_after_a_failed_search(
    handler: Application, builds: Builds, event: dict[str, Any], failure: Exception
) -> None:
    builds.after = [Killed()]
    with pytest.raises(Killed):
        invoke(handler, event)
    builds.search_fails = [failure]
    end_locks()
    with pytest.raises(Unavailable, match=r"no permission|gone"):
        invoke(handler, event)
    end_locks()

    assert outcomes(invoke(handler, event))[0]["status"] == "already started"
    assert len(builds.started) == 1


def test_an_untraceable_start_fails_and_is_not_repeated(
    handler: Application, builds: Builds, aws: Requests, event: dict[str, Any]
) -> None:
    builds.after = [Killed()]
    with pytest.raises(Killed):
        invoke(handler, event)
    builds.search_fails = [Untraceable("nobody can tell whether it was started")]
    end_locks()

    with pytest.raises(Untraceable, match="nobody can tell"):
        invoke(handler, event)
    assert len(builds.started) == 1
    assert aws.of("PutEvents") == []


def test_a_start_that_could_not_be_recorded_is_found_by_the_retry(
    handler: Application, builds: Builds, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise Unavailable("the ledger's record in table idempotency could not be read or written")

    with monkeypatch.context() as broken:
        broken.setattr(DynamoDBRecords, "settle", lost)
        with pytest.raises(
            Unavailable, match="job 'x' was not started: the ledger's record in table idempotency could not be"
        ):
            invoke(handler, event)
    end_locks()

    assert outcomes(invoke(handler, event))[0]["status"] == "already started"
    assert len(builds.started) == 1


def test_a_failed_release_does_not_hide_why_the_action_failed(
    handler: Application, builds: Builds, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise Unavailable("the ledger's record in table idempotency could not be read or written")

    monkeypatch.setattr(DynamoDBRecords, "release", lost)
    builds.before["x"] = [JobRejected("the job is disabled")]

    with pytest.raises(JobRejected, match="the job is disabled"):
        invoke(handler, event)


def test_without_the_configured_table_nothing_is_started(
    aws: Requests, registry: Registry, builds: Builds, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDEMPOTENCY_TABLE", "missing")
    registry.consumer("TENANT_PROVISIONING", name="start")(lambda event: StartJob(name="x"))
    handler = create_handler(registry, builders={"CODE_BUILD": builds})

    with pytest.raises(
        Unavailable, match="the ledger's record in table missing could not be read or written: AWS answered ResourceNot"
    ):
        invoke(handler, event)
    assert builds.started == []


def test_a_record_lasts_thirty_days_and_is_readable(handler: Application, event: dict[str, Any]) -> None:
    invoke(handler, event)

    (record,) = map(from_item, records())
    days = (record.pop("expiration") - Decimal(datetime.now(UTC).timestamp())) / 86400
    assert float(days) == pytest.approx(30, abs=0.01)
    assert record.pop("lockedUntil") / 1000 > datetime.now(UTC).timestamp()
    assert record.pop("owner") == record.pop("firstOwner")
    since = record.pop("since")
    stored = outcomes(invoke(handler, event))[0] | {"status": "started"}
    assert stored.pop("runId") == record["id"]
    assert record.pop("outcome") == stored
    assert record == {
        "id": record["id"],
        "state": "done",
        "tenantId": event["detail"]["tenant"]["id"],
        "job": {
            "builder": "CODE_BUILD",
            "name": "x",
            "run_id": record["id"],
            "since": since,
            "event_id": event["id"],
            "event_type": "TENANT_PROVISIONING",
            "tenant_id": event["detail"]["tenant"]["id"],
            "start": {"event_id": event["id"], "at": since},
            "follow": True,
        },
    }


@pytest.mark.parametrize(("timeout", "lock"), [(30, 30), (900, 51)])
def test_a_lock_lasts_as_long_as_its_invocation_may_act_and_ends_before_the_first_retry(
    handler: Application, builds: Builds, event: dict[str, Any], timeout: float, lock: float
) -> None:
    builds.after = [Killed()]
    with pytest.raises(Killed):
        handler(event, LocalContext(timeout=timeout))

    (record,) = records()
    left = int(record["lockedUntil"]["N"]) / 1000 - datetime.now(UTC).timestamp()
    assert lock - 5 < left <= lock


def test_the_run_of_an_event_older_than_the_records_is_searched_first(
    handler: Application, builds: Builds, event: dict[str, Any]
) -> None:
    event["time"] = (datetime.now(UTC) - timedelta(days=31)).isoformat()
    invoke(handler, event)
    boto3.client("dynamodb").delete_item(TableName="idempotency", Key={"id": records()[0]["id"]})  # it has expired

    answer = invoke(handler, event)

    assert len(builds.started) == 1
    assert outcomes(answer)[0]["status"] == "already started"


def test_an_expired_record_that_dynamodb_still_has_counts_as_absent(
    handler: Application, builds: Builds, event: dict[str, Any], aws: Requests
) -> None:
    invoke(handler, event)
    boto3.client("dynamodb").update_item(
        TableName="idempotency",
        Key={"id": records()[0]["id"]},
        UpdateExpression="SET expiration = :past",
        ExpressionAttributeValues={":past": {"N": "1"}},
    )
    aws.clear()

    assert outcomes(invoke(handler, event))[0]["status"] == "already started"

    assert (len(builds.started), builds.searches) == (1, 1)
    assert aws.operations == ["UpdateItem", "UpdateItem"]
    (record,) = records()
    assert int(record["expiration"]["N"]) > datetime.now(UTC).timestamp()


# Without a table


@pytest.fixture
def unprotected(registry: Registry, builds: Builds) -> Application:
    registry.consumer("TENANT_PROVISIONING", name="start")(lambda event: StartJob(name="x"))
    return create_handler(registry, builders={"CODE_BUILD": builds}, tiers=StaticTierDetails())


def test_without_a_table_a_warning_is_logged_once(
    unprotected: Application, event: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(unprotected, event)
    invoke(unprotected, event)

    lines = [line for line in json_lines(capsys.readouterr().out) if "IDEMPOTENCY_TABLE" in line.get("message", "")]
    assert [line["level"] for line in lines] == ["WARNING"]


def test_without_a_table_an_environment_remembers_its_own_actions(
    unprotected: Application, builds: Builds, event: dict[str, Any]
) -> None:
    statuses = [outcomes(invoke(unprotected, event))[0]["status"] for _ in range(2)]

    assert (statuses, len(builds.started)) == (["started", "already started"], 1)


@pytest.mark.parametrize(("age", "searches"), [(0, 0), (20, 0), (40, 1), (-1000, 0)])
def test_without_a_table_a_delivery_that_may_be_a_retry_searches_first(
    unprotected: Application, builds: Builds, event: dict[str, Any], age: int, searches: int
) -> None:
    event["time"] = (datetime.now(UTC) - timedelta(seconds=age)).isoformat()

    invoke(unprotected, event)

    assert (builds.searches, len(builds.started)) == (searches, 1)


def test_without_a_table_a_forbidden_search_is_retried_and_starts_nothing(
    unprotected: Application, builds: Builds, event: dict[str, Any]
) -> None:
    event["time"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    builds.search_fails = [ConfigurationError("allow ListBuildsForProject")]

    with pytest.raises(Unavailable, match="allow ListBuildsForProject"):
        invoke(unprotected, event)
    assert builds.started == []


def test_without_a_table_an_untraceable_job_is_started(
    unprotected: Application, builds: Builds, event: dict[str, Any]
) -> None:
    event["time"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    builds.search_fails = [Untraceable("nobody can tell")]

    assert outcomes(invoke(unprotected, event))[0]["status"] == "started"


@pytest.fixture
def codebuild(monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeBuildServer]:
    with CodeBuildServer([PROJECT], now=datetime.now(UTC).timestamp()) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", server.url)
        yield server


Deliver = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def deliver(codebuild: CodeBuildServer) -> Deliver:
    def deliver(details: dict[str, Any]) -> dict[str, Any]:
        tiers = StaticTierDetails({"PREMIUM": {"jobName": PROJECT, **details}})
        return outcomes(invoke(create_handler(lifecycle, tiers=tiers), sample("tenant-provisioning")))[1]

    return deliver


def test_a_used_token_with_other_variables_is_an_earlier_delivery(codebuild: CodeBuildServer, deliver: Deliver) -> None:
    first = deliver({"size": "small"})

    second = deliver({"size": "large"})

    assert (second["status"], second["id"]) == ("already started", first["id"])
    assert len(codebuild.builds) == 1


def test_input_that_codebuild_refuses_is_rejected(codebuild: CodeBuildServer, deliver: Deliver) -> None:
    refusal = json.dumps({"__type": "InvalidInputException", "message": "no"})
    codebuild.next.answer(400, refusal, {"Content-Type": "application/x-amz-json-1.1"}, on="StartBuild")

    with pytest.raises(
        JobRejected,
        match=r"AWS answered InvalidInputException to StartBuild; .* variables \(\d+ of them, [\d,]+ bytes\)",
    ):
        deliver({})


def test_a_refusal_after_a_lost_answer_is_in_doubt_and_the_retry_finds_the_build(
    aws: Requests, codebuild: CodeBuildServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The permission is withdrawn between two tries of the SDK."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    refusal = json.dumps({"__type": "AccessDeniedException", "message": "no"})
    codebuild.next.drop(on="StartBuild", after_acting=True)
    codebuild.next.answer(400, refusal, {"Content-Type": "application/x-amz-json-1.1"}, on="StartBuild")
    handler, event = create_handler(lifecycle), sample("tenant-provisioning")

    with pytest.raises(Unavailable, match="AWS answered AccessDeniedException to the SDK's second try"):
        invoke(handler, event)
    end_locks()

    assert outcomes(invoke(handler, event))[1]["status"] == "already started"
    assert len(codebuild.builds) == 1
    assert aws.of("PutEvents") == []


def test_codebuild_is_searched_for_a_build_whose_token_has_expired(
    codebuild: CodeBuildServer, deliver: Deliver
) -> None:
    deliver({})
    codebuild.advance(3600)
    event = sample("tenant-provisioning", time=(datetime.now(UTC) - timedelta(hours=1)).isoformat())

    tiers = StaticTierDetails({"PREMIUM": {"jobName": PROJECT}})
    answer = invoke(create_handler(lifecycle, tiers=tiers), event)

    assert outcomes(answer)[1]["status"] == "already started"
    assert len(codebuild.builds) == 1


def test_jenkins_is_searched_from_the_first_possible_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_aws(), sandbox.jenkins() as server:
        sandbox.fill()
        monkeypatch.setenv("JENKINS_URL", server.url)
        monkeypatch.setenv("JENKINS_CREDENTIALS_SECRET", sandbox.JENKINS_SECRET)
        server.add_job("ENTERPRISE-job", ["ORCHESTRATOR_RUN_ID"])
        event = sample("tenant-provisioning-jenkins")
        invoke(create_handler(lifecycle), event)
        server.run_queue()
        event["time"] = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()

        answer = invoke(create_handler(lifecycle), event)

        assert outcomes(answer)[1]["status"] == "already started"
        assert len(server.builds("ENTERPRISE-job")) == 1


def test_a_start_in_doubt_on_a_jenkins_job_without_a_run_id_fails_as_untraceable(
    jenkins: JenkinsServer, aws: Requests
) -> None:
    jenkins.add_job("tenants/enterprise-provisioning", ["tenant"])
    jenkins.next.drop(on="POST", after_acting=True)
    event = sample("tenant-provisioning-jenkins")
    handler = create_handler(lifecycle)
    with pytest.raises(Unavailable, match="closed the connection"):
        invoke(handler, event)
    end_locks()

    with pytest.raises(Untraceable, match=r"run [0-9a-f]{32} of Jenkins job .* may have been started"):
        invoke(handler, event)
    assert len(jenkins.waiting()) == 1


# The report of a failure


def failing(aws: Requests, event: dict[str, Any], error_type: type[Exception]) -> list[dict[str, Any]]:
    handler = create_handler(lifecycle)
    for _ in range(3):  # as often as Lambda tries
        with pytest.raises(error_type):
            invoke(handler, event)
    return [entry for request in aws.of("PutEvents") for entry in request["Entries"]]


def test_a_permanent_failure_is_published_once_with_its_reason(aws: Requests, event: dict[str, Any]) -> None:
    event = changed(event, "detail.planConfig.tier", "GOLD")

    (entry,) = failing(aws, event, ConfigurationError)

    assert (entry["DetailType"], entry["Source"], entry["EventBusName"]) == (
        "TENANT_PROVISIONING_FAILURE",
        "orchestrator",
        "default",
    )
    detail = json.loads(entry["Detail"])
    assert json.loads(detail.pop("tenant"))["id"] == event["detail"]["tenant"]["id"]
    assert detail == {
        "secret": "example-callback-secret",
        "context": "example-callback-context",
        "tier": "GOLD",
        "reason": "tier 'GOLD' is not in table tiers; add an item with that key, or correct the plan's tier",
        "error": "ConfigurationError",
        "ORCHESTRATOR_EVENT_ID": event["id"],
        "ORCHESTRATOR_EVENT_TYPE": "TENANT_PROVISIONING",
        "ORCHESTRATOR_TENANT_ID": event["detail"]["tenant"]["id"],
    }


def test_the_report_has_the_variables_that_the_job_would_have_had(aws: Requests, event: dict[str, Any]) -> None:
    event = changed(event, "detail.builderConfig.config.environmentOverride.PATH", "/evil")
    tiers = StaticTierDetails({"PREMIUM": {"jobName": "premium", "API_ENDPOINT": "https://control.example.com"}})

    with pytest.raises(Exception, match="'PATH'"):
        invoke(create_handler(lifecycle, tiers=tiers), event)

    (request,) = aws.of("PutEvents")
    detail = json.loads(request["Entries"][0]["Detail"])
    assert detail["API_ENDPOINT"] == "https://control.example.com"
    assert json.loads(detail["tenant"])["identityProvider"] == "auth0"
    assert "PATH" not in detail


def test_a_temporary_failure_is_not_reported(
    aws: Requests, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", "http://127.0.0.1:1")

    assert failing(aws, event, Unavailable) == []


def test_a_failed_replay_of_a_successful_event_is_not_reported(aws: Requests, event: dict[str, Any]) -> None:
    invoke(create_handler(lifecycle), event)
    no_tiers = StaticTierDetails({})

    with pytest.raises(ConfigurationError, match="'PREMIUM'"):
        invoke(create_handler(lifecycle, tiers=no_tiers), event | {"replay-name": "again"})
    assert aws.of("PutEvents") == []


def test_a_failure_without_a_tenant_is_not_reported(aws: Requests, event: dict[str, Any]) -> None:
    assert failing(aws, changed(event, "detail.tenant.id", ...), Exception) == []


def test_a_report_that_cannot_be_published_does_not_hide_the_failure(
    aws: Requests, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", "http://127.0.0.1:1")

    with pytest.raises(ConfigurationError, match="'GOLD'"):
        invoke(create_handler(lifecycle), changed(event, "detail.planConfig.tier", "GOLD"))

    assert "event 'TENANT_PROVISIONING_FAILURE' was not published on bus default" in capsys.readouterr().out


def test_an_event_whose_publisher_was_killed_is_published_again_with_the_same_identity(
    aws: Requests, registry: Registry, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.consumer("TENANT_PROVISIONING", name="notify")(lambda event: PublishEvent(type="X", detail={}))
    handler, publish = create_handler(registry), EventBus.publish

    def publish_and_die(self: EventBus, entry: Any) -> str:
        publish(self, entry)
        raise Killed

    with monkeypatch.context() as killed:
        killed.setattr(EventBus, "publish", publish_and_die)
        with pytest.raises(Killed):
            invoke(handler, event)
    end_locks()

    statuses = [outcomes(invoke(handler, event))[0]["status"] for _ in range(2)]

    first, second = (request["Entries"][0]["Resources"] for request in aws.of("PutEvents"))
    assert first == second
    assert statuses == ["published", "already published"]


MARK = "urn:orchestrator:run:0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("source", "tenant", "count"),
    [
        ("orchestrator", "t", 1),
        ("saas.tenant.provisioning.success.handler", "t", 1),
        ("somebody.else", "t", 2),
        ("orchestrator", "another", 2),
    ],
)
def test_an_event_published_twice_by_this_function_counts_once(
    handler: Application, builds: Builds, event: dict[str, Any], source: str, tenant: str, count: int
) -> None:
    event = changed(event | {"source": source, "resources": ["arn:aws:x", MARK]}, "detail.tenant.id", "t")

    invoke(handler, event | {"id": "first"})
    invoke(handler, changed(event, "detail.tenant.id", tenant) | {"id": "second"})

    assert len(builds.started) == count


@pytest.mark.parametrize(
    ("second", "count"),
    [
        ({}, 1),
        ({"resources": [MARK]}, 1),
        ({"detail": {"ORCHESTRATOR_RUN_ID": "unknown"}}, 1),
        ({"detail": {}}, 2),
        ({"detail": {"ORCHESTRATOR_RUN_ID": ["run"]}}, 2),
    ],
)
def test_two_reports_of_one_ending_count_once(
    aws: Requests, builds: Builds, event: dict[str, Any], second: dict[str, Any], count: int
) -> None:
    registry = Registry()
    registry.consumer("TENANT_PROVISIONING", name="start")(lambda event: StartJob(name="x"))
    registry.consumer("TENANT_PROVISIONING_SUCCESS", name="notify")(lambda event: StartJob(name="job"))
    handler = create_handler(registry, builders={"CODE_BUILD": builds})
    invoke(handler, event)
    report = event | {
        "detail-type": "TENANT_PROVISIONING_SUCCESS",
        "detail": {"ORCHESTRATOR_RUN_ID": builds.started[0]},
    }

    invoke(handler, report | {"id": "first"})
    invoke(handler, report | {"id": "second"} | second)

    assert len(builds.started) == 1 + count


def test_other_events_with_the_same_run_id_are_separate_events(
    handler: Application, builds: Builds, event: dict[str, Any]
) -> None:
    event = changed(event, "detail.ORCHESTRATOR_RUN_ID", "run")

    invoke(handler, event | {"id": "first"})
    invoke(handler, event | {"id": "second"})

    assert len(builds.started) == 2
