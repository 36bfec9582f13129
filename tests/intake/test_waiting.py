"""An event whose job cannot be started yet waits in a queue until it can."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto.backends import get_backend

from orchestrator import (
    Action,
    Application,
    ConfigurationError,
    EndingEvent,
    Event,
    InvalidEvent,
    Job,
    JobRejected,
    PublishEvent,
    Registry,
    Run,
    SendCallback,
    StartJob,
    Unavailable,
    UpdateTenant,
    create_handler,
)
from orchestrator.errors import WaitReason
from orchestrator.job import Untraceable
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.control_plane import ControlPlane
from orchestrator.performers.publish_event import EventBus
from orchestrator.run import Origin
from orchestrator.stores.tenants import NoTenantRecords, Refusal
from orchestrator.timing import deadline
from tests.support.aws import ACCOUNT_ID, REGION, Requests, published, stored
from tests.support.builder import Recorder
from tests.support.endings import PROJECT, provisioned
from tests.support.events import as_event, changed, invoke, json_lines, sample, state_change
from tests.support.messages import deliver, record

FULL = "CodeBuild's queue is full; a retry may succeed"


class Builder(Recorder):
    """A build system that is full at first, or fails in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = full()
        self.search_error: Exception | None = None

    def start(self, job: Job) -> Run:
        if self.error is not None:
            raise self.error
        return super().start(job)

    def find(self, job: Job) -> Run | None:
        if self.search_error is not None:
            raise self.search_error
        return super().find(job)


def full() -> Unavailable:
    return Unavailable(FULL, ambiguous=False, waits_for=WaitReason.BUILD_QUEUE_FULL)


class Queues:
    """The emulated waiting queue and failure queue."""

    def __init__(self) -> None:
        sqs = boto3.client("sqs")
        self.url = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("waiting", "failures")}

    def messages(self, name: str = "waiting") -> list[Any]:
        """Return a queue's messages, including those that are hidden or delayed."""
        return list(get_backend("sqs")[ACCOUNT_ID][REGION].queues[name]._messages)

    def delivery(self, place: int = -1, *, tries: int = 1, age: timedelta = timedelta()) -> dict[str, Any]:
        """Build the record in which Lambda delivers a message of the waiting queue."""
        message = self.messages()[place]
        sent = datetime.now(UTC) - age
        return record(
            message.body,
            eventSourceARN=f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:waiting",
            attributes={
                "SentTimestamp": str(round(sent.timestamp() * 1000)),
                "ApproximateReceiveCount": str(tries),
            },
            messageAttributes={
                name: {"stringValue": value["StringValue"], "dataType": "String"}
                for name, value in message.message_attributes.items()
            },
        )


LAST = timedelta(days=13, minutes=1)


@pytest.fixture
def builder() -> Builder:
    return Builder()


@pytest.fixture
def queues(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> Queues:
    queues = Queues()
    monkeypatch.setenv("WAITING_QUEUE_URL", queues.url["waiting"])
    monkeypatch.setenv("FAILURE_QUEUE_URL", queues.url["failures"])
    aws.clear()
    return queues


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.include(lifecycle)
    return registry


@pytest.fixture
def handler(registry: Registry, queues: Queues, builder: Builder) -> Application:
    return create_handler(registry, builders={"CODE_BUILD": builder})


def statuses(answer: dict[str, Any]) -> list[str]:
    return [outcome["status"] for consumer in answer["consumers"] for outcome in consumer["outcomes"]]


def test_an_event_waits_while_the_build_queue_is_full(
    handler: Application, queues: Queues, aws: Requests, capsys: pytest.CaptureFixture[str]
) -> None:
    event = sample("tenant-provisioning")

    answer = invoke(handler, event)

    assert statuses(answer) == ["saved", "waiting"]
    assert answer["consumers"][0]["outcomes"][1] == {
        "action": "StartJob",
        "status": "waiting",
        "reason": "build queue full",
    }
    (message,) = queues.messages()
    sent = json.loads(message.body)
    assert (sent["id"], sent["detail-type"], sent["detail"]) == (event["id"], event["detail-type"], event["detail"])
    assert json.loads(message.message_attributes["OrchestratorConsumers"]["StringValue"]) == ["start_provisioning_job"]
    (request,) = aws.of("SendMessage")
    assert 53 < request["DelaySeconds"] <= 75  # longer than the lock of the first try
    lines = json_lines(capsys.readouterr().out)
    assert f"waiting: {FULL}" in [line.get("message") for line in lines]
    assert [(line["reason"], line["EventsWaiting"]) for line in lines if "EventsWaiting" in line] == [
        ("build queue full", [1.0])
    ]
    assert not [line for line in lines if {"FailedEvents", "EventHandled"} & set(line) or line.get("level") == "ERROR"]


def test_it_starts_its_job_once_there_is_room(handler: Application, queues: Queues, builder: Builder) -> None:
    invoke(handler, sample("tenant-provisioning"))
    assert stored()["waitingFor"] == "build queue full"
    builder.error = None

    assert deliver(handler, queues.delivery()) == []

    assert [job.name for job in builder.jobs] == ["premium-tenant-provisioning"]
    assert "waitingFor" not in stored()


def test_an_event_without_waiting_sends_no_further_request(
    handler: Application, builder: Builder, queues: Queues, aws: Requests
) -> None:
    builder.error = None

    invoke(handler, sample("tenant-provisioning"))

    assert aws.operations == ["GetItem", "PutItem", "UpdateItem", "UpdateItem"]


def test_it_waits_on_in_the_queue_without_being_a_failure(
    handler: Application, queues: Queues, aws: Requests, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(handler, sample("tenant-provisioning"))
    capsys.readouterr()

    assert deliver(handler, queues.delivery(tries=5)) == ["message-1"]

    assert len(queues.messages()) == 1  # it stays; no second message is sent
    lines = json_lines(capsys.readouterr().out)
    assert "event waits" in [line.get("message") for line in lines]
    assert [line["reason"] for line in lines if "EventsWaiting" in line] == ["build queue full"]
    assert not [line for line in lines if "FailedEvents" in line]
    assert stored()["waitingFor"] == "build queue full"


def test_after_thirteen_days_it_fails_and_the_control_plane_is_informed(
    handler: Application, queues: Queues, aws: Requests, builder: Builder, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(handler, sample("tenant-provisioning"))
    last = queues.delivery(tries=320, age=LAST)
    capsys.readouterr()

    assert deliver(handler, last) == []

    (failure,) = published(aws)
    assert (failure["DetailType"], json.loads(failure["Detail"])["reason"]) == ("TENANT_PROVISIONING_FAILURE", FULL)
    (message,) = queues.messages("failures")
    assert message.message_attributes["ErrorCode"]["StringValue"] == "Unavailable"
    assert [line for line in json_lines(capsys.readouterr().out) if "FailedEvents" in line]
    assert "waitingFor" not in stored()


def test_a_copy_of_an_event_that_was_given_up_starts_no_job(
    handler: Application, queues: Queues, builder: Builder
) -> None:
    event = changed(sample("tenant-provisioning"), "time", "2026-11-24T09:00:00Z")
    invoke(handler, event)
    invoke(handler, event)
    deliver(handler, queues.delivery(0, age=LAST))
    builder.error = None

    assert deliver(handler, queues.delivery(1)) == ["message-1"]
    assert builder.jobs == []


def test_a_job_that_may_run_is_not_published_as_failed(
    handler: Application, queues: Queues, aws: Requests, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder.error = Unavailable("no answer")
    invoke(handler, sample("tenant-provisioning"))
    builder.search_error = Unavailable("not reached", ambiguous=False)
    later = datetime.now(UTC) + timedelta(minutes=2)
    monkeypatch.setattr("orchestrator.timing.clock.now", lambda: later)

    assert deliver(handler, queues.delivery(age=LAST)) == []

    assert published(aws) == []
    assert len(queues.messages("failures")) == 1


def test_another_delivery_that_is_at_work_is_not_published_as_failed(
    handler: Application, queues: Queues, aws: Requests, builder: Builder
) -> None:
    builder.error = Unavailable("no answer")
    invoke(handler, sample("tenant-provisioning"))  # its lock is still held

    deliver(handler, queues.delivery(age=LAST))

    assert published(aws) == []


def test_two_copies_of_an_event_start_one_job(handler: Application, queues: Queues, builder: Builder) -> None:
    event = sample("tenant-provisioning")
    invoke(handler, event)
    invoke(handler, event)  # Lambda repeats an event whose answer got lost
    assert len(queues.messages()) == 2
    builder.error = None

    assert deliver(handler, queues.delivery(0)) == []
    assert deliver(handler, queues.delivery(1)) == []

    assert len(builder.jobs) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (full(), "build queue full"),
        (Unavailable("not reached", ambiguous=False), "build system down"),
        (Unavailable("no answer"), "build system down"),
    ],
)
def test_the_answer_says_what_the_event_waits_for(
    handler: Application, builder: Builder, error: Exception, reason: str
) -> None:
    builder.error = error

    answer = invoke(handler, sample("tenant-provisioning"))

    assert answer["consumers"][0]["outcomes"][1]["reason"] == reason


def test_after_a_lost_answer_the_run_is_found_and_not_started_again(
    handler: Application, queues: Queues, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lossy(Builder):
        def start(self, job: Job) -> Run:
            Recorder.start(self, job)
            raise Unavailable("no answer")

    lossy = Lossy()
    registry = Registry()
    registry.include(lifecycle)
    handler = create_handler(registry, builders={"CODE_BUILD": lossy})
    invoke(handler, sample("tenant-provisioning"))
    later = datetime.now(UTC) + timedelta(minutes=2)
    monkeypatch.setattr("orchestrator.timing.clock.now", lambda: later)

    assert deliver(handler, queues.delivery(tries=2)) == []
    assert len(lossy.jobs) == 1


@pytest.mark.parametrize(
    "error",
    [JobRejected("there is no such project"), Untraceable("the job does not declare the run id"), RuntimeError("x")],
)
def test_other_failures_raise(handler: Application, queues: Queues, builder: Builder, error: Exception) -> None:
    builder.error = error

    with pytest.raises(Exception, match=r"no such project|declare|RuntimeError"):
        invoke(handler, sample("tenant-provisioning"))
    assert queues.messages() == []


def test_an_invocation_without_time_raises(
    handler: Application, queues: Queues, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder.error = Unavailable("no time")
    monkeypatch.setattr(deadline, "has_time", lambda pause=0.0: False)

    with pytest.raises(Unavailable):
        invoke(handler, sample("tenant-provisioning"))
    assert queues.messages() == []


def test_the_message_names_the_consumers_that_wait_and_the_others_fail_as_before(
    registry: Registry, handler: Application, queues: Queues, builder: Builder
) -> None:
    calls: list[str] = []

    @registry.consumer("TENANT_PROVISIONING")
    def fail(event: Event) -> None:
        raise InvalidEvent("wrong")

    @registry.consumer("TENANT_PROVISIONING")
    def notify(event: Event) -> PublishEvent:
        calls.append(event.id)
        return PublishEvent(type="X", detail={})

    with pytest.raises(InvalidEvent, match="wrong"):
        invoke(handler, sample("tenant-provisioning"))
    builder.error = None

    assert deliver(handler, queues.delivery()) == []

    assert (len(builder.jobs), len(calls)) == (1, 1)


def test_an_event_for_a_consumer_that_is_gone_is_named(
    registry: Registry, handler: Application, queues: Queues
) -> None:
    invoke(handler, sample("tenant-provisioning"))
    registry.remove("start_provisioning_job")

    assert deliver(handler, queues.delivery(tries=3)) == []

    (message,) = queues.messages("failures")
    assert "start_provisioning_job" in message.message_attributes["ErrorMessage"]["StringValue"]
    assert message.message_attributes["ErrorCode"]["StringValue"] == "ConfigurationError"


@pytest.mark.parametrize("value", ["no json", "7", '{"a": 1}', '"text"', "[]", "[1]", json.dumps(["x" * 1025])])
def test_a_message_with_malformed_names_is_refused(handler: Application, queues: Queues, value: str) -> None:
    message = record(sample("tenant-provisioning"))
    message["messageAttributes"] = {"OrchestratorConsumers": {"stringValue": value, "dataType": "String"}}
    message["attributes"]["ApproximateReceiveCount"] = "3"

    assert deliver(handler, message) == []
    assert queues.messages("failures")[0].message_attributes["ErrorCode"]["StringValue"] == "InvalidEvent"


@pytest.mark.parametrize(
    ("event_type", "source"),
    [
        ("TENANT_SUSPENDED_SUCCESS", "me"),
        ("TENANT_SUSPENDED_FAILURE", "me"),
        ("Tenant frozen", "me"),
        ("Scheduled Event", "aws.events"),
        ("Scheduled Event", "aws.scheduler"),
        ("CodeBuild Build State Change", "aws.codebuild"),
    ],
)
def test_events_about_endings_and_schedules_never_wait(
    queues: Queues, builder: Builder, event_type: str, source: str
) -> None:
    registry = Registry()
    registry.consumer(event_type, name="start")(lambda event: StartJob(name="job"))
    registry.consumer("Freeze tenant", name="freeze", ending=EndingEvent(success="Tenant frozen"))(lambda event: None)
    handler = create_handler(registry, builders={"CODE_BUILD": builder})

    with pytest.raises(Unavailable):
        invoke(handler, sample("tenant-provisioning", **{"detail-type": event_type, "source": source}))
    assert queues.messages() == []


@pytest.mark.parametrize("url", ["", "WaitingQueue", "https://sqs.eu-west-1.amazonaws.com/123456789012/missing"])
def test_without_a_queue_the_event_raises(
    registry: Registry, queues: Queues, builder: Builder, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("WAITING_QUEUE_URL", url)
    handler = create_handler(registry, builders={"CODE_BUILD": builder})

    with pytest.raises(Unavailable, match="queue is full"):
        invoke(handler, sample("tenant-provisioning"))
    assert "waitingFor" not in stored()


def test_an_event_that_is_too_large_for_the_queue_raises(
    handler: Application, queues: Queues, capsys: pytest.CaptureFixture[str]
) -> None:
    event = changed(sample("tenant-provisioning"), "detail.notes", "x" * 300_000)
    event["resources"] = ["y" * 900_000]

    with pytest.raises(Unavailable, match="queue is full"):
        invoke(handler, event)
    assert "SQS takes at most" in capsys.readouterr().out


def test_a_redrive_stays_one_while_it_waits(handler: Application, queues: Queues, builder: Builder) -> None:
    failed = {"requestContext": {}, "requestPayload": sample("tenant-provisioning")}

    invoke(handler, failed)

    (message,) = queues.messages()
    assert message.message_attributes["OrchestratorRedrive"]["StringValue"].startswith("record ")


def test_a_tenant_without_a_record_waits_as_well(handler: Application) -> None:
    event = changed(sample("tenant-deprovisioning"), "detail.tenant.id", "unknown")

    answer = invoke(handler, event)

    assert statuses(answer)[-1] == "waiting"


def test_a_failure_that_cannot_be_published_is_tried_again(
    handler: Application, queues: Queues, aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke(handler, sample("tenant-provisioning"))
    last = queues.delivery(age=LAST)
    monkeypatch.setattr(EventBus, "_perform", unreachable)

    assert deliver(handler, last) == ["message-1"]
    assert queues.messages("failures") == []
    monkeypatch.undo()


def test_only_the_claim_of_a_job_is_kept_in_the_last_delivery(
    registry: Registry, handler: Application, queues: Queues, control_plane: ControlPlane
) -> None:
    invoke(handler, sample("tenant-provisioning"))
    last = queues.delivery(age=LAST)
    last["messageAttributes"].pop("OrchestratorConsumers")
    registry.remove("start_provisioning_job")
    callback = SendCallback(url=control_plane.url, body={}, secret="secret", allowed_hosts=["127.0.0.1"])

    @registry.consumer("TENANT_PROVISIONING", ending=EndingEvent())
    def ask(event: Event) -> list[Action]:
        return [callback, StartJob(name="x")]

    control_plane.next.answer(429, times=3)

    assert deliver(handler, last) == ["message-1"]

    records = boto3.client("dynamodb").scan(TableName="idempotency")["Items"]
    assert [record["id"]["S"] for record in records if record["state"] == {"S": "claimed"}] == []


def test_a_failure_that_cannot_be_published_for_a_while_keeps_its_message(
    handler: Application, queues: Queues, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke(handler, sample("tenant-provisioning"))
    builder.error = JobRejected("there is no such project")
    monkeypatch.setattr(EventBus, "_perform", unreachable)

    assert deliver(handler, queues.delivery(tries=10)) == ["message-1"]
    assert queues.messages("failures") == []
    monkeypatch.undo()


def unreachable(*_: Any) -> None:
    raise Unavailable("the bus was not reached")


def test_a_failed_search_on_the_last_delivery_is_no_proof_that_nothing_runs(
    handler: Application, queues: Queues, aws: Requests, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = changed(sample("tenant-provisioning"), "time", "2026-01-01T00:00:00Z")  # older than the ledger's memory
    builder.search_error = Unavailable("not reached", ambiguous=False)
    invoke(handler, old)
    later = datetime.now(UTC) + timedelta(minutes=2)
    monkeypatch.setattr("orchestrator.timing.clock.now", lambda: later)

    assert deliver(handler, queues.delivery(age=LAST)) == []
    assert published(aws) == []


def test_after_a_search_that_found_nothing_the_failure_is_published(
    handler: Application, queues: Queues, aws: Requests, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder.error = Unavailable("throttled")
    invoke(handler, sample("tenant-provisioning"))
    builder.error = full()
    later = datetime.now(UTC) + timedelta(minutes=2)
    monkeypatch.setattr("orchestrator.timing.clock.now", lambda: later)

    assert deliver(handler, queues.delivery(age=LAST)) == []
    assert [entry["DetailType"] for entry in published(aws)] == ["TENANT_PROVISIONING_FAILURE"]


class Crowded(Unavailable):
    """An error of somebody's own builder."""


def test_a_published_failure_of_ones_own_class_is_known_again(
    handler: Application, queues: Queues, builder: Builder
) -> None:
    builder.error = Crowded("crowded", ambiguous=False)
    event = changed(sample("tenant-provisioning"), "time", "2026-11-24T09:00:00Z")
    invoke(handler, event)
    invoke(handler, event)
    deliver(handler, queues.delivery(0, age=LAST))
    builder.error = None

    deliver(handler, queues.delivery(1))

    assert builder.jobs == []


def test_a_later_status_removes_what_the_tenant_waited_for(handler: Application, builder: Builder) -> None:
    invoke(handler, sample("tenant-provisioning"))
    builder.error = None

    invoke(
        handler, changed(sample("tenant-deprovisioning", id="later"), "detail.tenant.id", sandbox.TENANT["tenantId"])
    )

    assert (stored()["status"], stored().get("waitingFor")) == ("DEPROVISIONING", None)


def test_waiting_is_no_update_that_other_updates_could_be_older_than(
    registry: Registry, handler: Application, builder: Builder
) -> None:
    registry.consumer("TENANT_RENAMED", name="rename")(
        lambda event: UpdateTenant(tenant_id=sandbox.TENANT["tenantId"], changes={"alias": "x"})
    )
    earlier = sample("tenant-provisioning") | {"detail-type": "TENANT_RENAMED", "id": "earlier"}
    invoke(handler, sample("tenant-provisioning"))

    assert statuses(invoke(handler, earlier)) == ["updated"]


def test_only_the_consumers_that_a_message_names_are_said_to_decline_it(
    registry: Registry,
    handler: Application,
    queues: Queues,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wants = [True]
    registry.consumer("TENANT_PROVISIONING", name="fickle", when=lambda event: wants[0])(
        lambda event: StartJob(name="x")
    )
    registry.remove("start_provisioning_job")
    invoke(handler, sample("tenant-provisioning"))
    registry.consumer("TENANT_PROVISIONING", name="other", when=lambda event: True)(lambda event: None)
    wants[0] = False
    capsys.readouterr()

    deliver(handler, queues.delivery())

    (line,) = [line for line in json_lines(capsys.readouterr().out) if line.get("level") == "WARNING"]
    assert line["declined"] == ["fickle"]


def test_the_other_consumers_run_if_one_is_gone(
    registry: Registry, handler: Application, queues: Queues, builder: Builder
) -> None:
    registry.consumer("TENANT_PROVISIONING", name="second")(lambda event: StartJob(name="second"))
    invoke(handler, sample("tenant-provisioning"))
    registry.remove("start_provisioning_job")
    builder.error = None

    assert deliver(handler, queues.delivery()) == ["message-1"]
    assert [job.name for job in builder.jobs] == ["second"]


def test_an_untraceable_run_goes_to_the_failure_queue_soon(
    handler: Application, queues: Queues, builder: Builder
) -> None:
    invoke(handler, sample("tenant-provisioning"))
    builder.error = Untraceable("the job does not declare the run id")

    assert deliver(handler, queues.delivery(tries=3)) == []
    assert len(queues.messages("failures")) == 1


def test_a_replay_that_waited_in_vain_is_published_as_failed(
    handler: Application, queues: Queues, aws: Requests
) -> None:
    invoke(handler, sample("tenant-provisioning", **{"replay-name": "after-the-outage"}))

    deliver(handler, queues.delivery(age=LAST))

    assert [entry["DetailType"] for entry in published(aws)] == ["TENANT_PROVISIONING_FAILURE"]


def test_a_store_of_ones_own_that_raises_keeps_no_event_from_waiting(
    registry: Registry, queues: Queues, builder: Builder
) -> None:
    class Broken(NoTenantRecords):
        def update(self, action: UpdateTenant, origin: Origin) -> Refusal | None:
            raise RuntimeError("broken")

    handler = create_handler(registry, builders={"CODE_BUILD": builder}, tenants=Broken())

    assert statuses(invoke(handler, sample("tenant-provisioning")))[-1] == "waiting"


def test_a_detail_that_a_consumer_made_unsendable_raises(
    queues: Queues, builder: Builder, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry()

    @registry.consumer("TENANT_PROVISIONING")
    def start(event: Event) -> StartJob:
        event.detail["odd"] = {1, 2}  # type: ignore[index]
        return StartJob(name="job")

    handler = create_handler(registry, builders={"CODE_BUILD": builder})

    with pytest.raises(Unavailable, match="queue is full"):
        invoke(handler, sample("tenant-provisioning"))
    assert "was not sent to the waiting queue (TypeError)" in capsys.readouterr().out


def test_a_waiting_queue_needs_a_failure_queue(queues: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAILURE_QUEUE_URL")

    with pytest.raises(ConfigurationError, match=r"WAITING_QUEUE_URL.*FAILURE_QUEUE_URL"):
        create_handler(Registry())


# A tenant with a job of another event


@pytest.fixture
def builds(codebuild: CodeBuildServer, registry: Registry, queues: Queues) -> Application:
    """Create a handler that starts builds on the emulated CodeBuild."""
    return create_handler(registry)


def test_an_event_waits_while_a_job_of_another_one_runs_for_its_tenant(
    builds: Application, queues: Queues, aws: Requests, codebuild: CodeBuildServer, capsys: pytest.CaptureFixture[str]
) -> None:
    build = provisioned(builds, codebuild)
    capsys.readouterr()

    answer = invoke(builds, sample("tenant-deprovisioning"))

    assert answer["consumers"][0]["outcomes"][-1] == {
        "action": "StartJob",
        "status": "waiting",
        "reason": "tenant busy",
    }
    assert stored()["waitingFor"] == "tenant busy"
    lines = json_lines(capsys.readouterr().out)
    assert [line["reason"] for line in lines if "EventsWaiting" in line] == ["tenant busy"]
    assert deliver(builds, queues.delivery()) == ["message-1"]  # it waits on

    codebuild.finish(build)
    invoke(builds, state_change(build))
    assert deliver(builds, queues.delivery()) == ["message-1"]
    invoke(builds, as_event(published(aws)[-1]))
    assert deliver(builds, queues.delivery()) == []

    assert [build["projectName"] for build in codebuild.builds] == [PROJECT, "premium-tenant-deprovisioning"]
    assert "waitingFor" not in stored()


def test_the_deployment_after_a_provisioning_does_not_wait(
    builds: Application, queues: Queues, aws: Requests, codebuild: CodeBuildServer
) -> None:
    invoke(builds, changed(sample("tenant-provisioning"), "detail.planConfig.tier", "STANDARD"))
    (build,) = codebuild.builds
    codebuild.finish(build)
    invoke(builds, state_change(build))
    invoke(builds, as_event(published(aws)[-1]))

    invoke(builds, as_event(published(aws)[-1], event_id="deployment"))

    assert [build["projectName"] for build in codebuild.builds][1:] == ["standard-tenant-deployment"]
    assert queues.messages() == []


def test_an_event_whose_tenant_stays_busy_fails_after_thirteen_days(
    builds: Application, queues: Queues, aws: Requests, codebuild: CodeBuildServer
) -> None:
    provisioned(builds, codebuild)
    invoke(builds, sample("tenant-deprovisioning"))

    assert deliver(builds, queues.delivery(tries=320, age=LAST)) == []

    (failure,) = published(aws)
    assert failure["DetailType"] == "TENANT_DEPROVISIONING_FAILURE"
    assert "has a job of another event that has not ended" in json.loads(failure["Detail"])["reason"]
    assert len(queues.messages("failures")) == 1


def test_without_a_queue_an_event_of_a_busy_tenant_raises(
    aws: Requests, registry: Registry, codebuild: CodeBuildServer
) -> None:
    handler = create_handler(registry)
    provisioned(handler, codebuild)

    with pytest.raises(Unavailable, match="has a job of another event that has not ended; a retry may succeed"):
        invoke(handler, sample("tenant-deprovisioning"))
