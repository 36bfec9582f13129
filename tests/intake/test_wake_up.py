"""An event that waits is woken as soon as there may be room for its job; until then it sleeps for longer and longer."""

import itertools
import json
import random
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto.backends import get_backend

from orchestrator import Application, Event, Job, Registry, Run, StartJob, Unavailable, create_handler
from orchestrator.aws.clients import Clients
from orchestrator.errors import Wait, WaitReason
from orchestrator.intake import redelivery
from orchestrator.job import Ending, StartedJob
from orchestrator.ledger.changes import Table
from orchestrator.ledger.gates import Gates
from orchestrator.ledger.waiting_line import WaitingLine
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.timing import clock
from tests.support.aws import ACCOUNT_ID, REGION, Requests, published
from tests.support.builder import Recorder
from tests.support.events import invoke, json_lines, sample

QUEUE_ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:waiting"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Builds(Recorder):
    """A build system that refuses jobs while `refusal` is set, and whose runs end when `ended` names them."""

    def __init__(self) -> None:
        super().__init__()
        self.refusal: Exception | None = None
        self.ended: set[str] = set()

    def start(self, job: Job) -> Run:
        if self.refusal is not None:
            raise self.refusal
        return super().start(job)

    def endings(self, jobs: Sequence[StartedJob]) -> Mapping[str, Ending]:
        return {job.run_id: Ending(succeeded=True, reason="") for job in jobs if job.run_id in self.ended}

    @property
    def tenants(self) -> list[str]:
        return [job.variables["ORCHESTRATOR_TENANT_ID"] for job in self.jobs]


class World:
    """A function that takes messages from a queue, whose clock stands still between the steps."""

    def __init__(self, handler: Application, queue: str, requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
        self.handler = handler
        self.requests = requests
        self.now = datetime.now(UTC)
        self._queue = queue
        self._sqs = boto3.client("sqs")
        monkeypatch.setattr(clock, "now", lambda: self.now)
        self.receipts = 0

    def send(self, number: int, tenant: str | None = None) -> None:
        """Send an event of a second after the one before to the queue."""
        self._send(self._event(number, tenant))

    def send_array(self, *numbers: int) -> None:
        """Send an array of such events to the queue."""
        self._send([self._event(number) for number in numbers])

    def _send(self, body: Any) -> None:
        self._sqs.send_message(QueueUrl=self._queue, MessageBody=json.dumps(body))

    def _event(self, number: int, tenant: str | None = None) -> dict[str, Any]:
        return {
            **sample("tenant-provisioning"),
            "id": f"event-{number}",
            "detail-type": "DEPLOY",
            "time": (self.now - HOUR + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "detail": {"tenantId": tenant or f"tenant-{number}"},
        }

    def deliver(self) -> list[str]:
        """Deliver the messages that are visible; return the ids of the events that were handled."""
        handled = []
        time.sleep(0.002)  # moto counts a message as visible only a millisecond after it has come back
        while messages := self._sqs.receive_message(
            QueueUrl=self._queue, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
        ).get("Messages"):
            self.receipts += len(messages)
            records = [self._record(message) for message in messages]
            answer = invoke(self.handler, {"Records": records})
            failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
            for message in messages:
                if message["MessageId"] not in failed:
                    self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
                    body = json.loads(message["Body"])
                    handled += [event["id"] for event in (body if isinstance(body, list) else [body])]
            time.sleep(0.002)
        return handled

    def _record(self, message: Any) -> dict[str, Any]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": QUEUE_ARN,
            "awsRegion": REGION,
        }

    def advance(self, by: timedelta) -> None:
        self.now += by
        for message in self._messages():
            message.visible_at -= by.total_seconds() * 1000

    def sweep(self) -> None:
        invoke(self.handler, sample("scheduled-sweep"))

    def come_back(self) -> None:
        """Make all messages visible, as they become by themselves in the end."""
        for message in self._messages():
            message.visible_at = 0

    def _messages(self) -> list[Any]:
        return list(get_backend("sqs")[ACCOUNT_ID][REGION].queues["waiting"]._messages)

    def sleeps(self) -> list[timedelta]:
        """Return for how long the messages are hidden, the shortest time first."""
        now = datetime.now(UTC).timestamp()
        return sorted(timedelta(seconds=max(0, message.visible_at / 1000 - now)) for message in self._messages())


@pytest.fixture
def builds() -> Builds:
    return Builds()


@pytest.fixture
def world(aws: Requests, builds: Builds, monkeypatch: pytest.MonkeyPatch) -> World:
    sqs = boto3.client("sqs")
    queue, failures = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("waiting", "failures"))
    monkeypatch.setenv("WAITING_QUEUE_URL", queue)
    monkeypatch.setenv("FAILURE_QUEUE_URL", failures)
    monkeypatch.setenv("SQS_PARALLEL_RECORDS", "1")
    monkeypatch.setattr(random, "uniform", lambda least, most: most)
    monkeypatch.setattr(redelivery, "FIRST_WAIT_SECONDS", redelivery.LONGEST_SLEEP_SECONDS)
    registry = Registry()
    registry.include(lifecycle)

    @registry.consumer("DEPLOY")
    def deploy(event: Event) -> StartJob:
        return StartJob(name="deploy", slot="ring 1", slots=2)

    return World(create_handler(registry, builders={"CODE_BUILD": builds}), queue, aws, monkeypatch)


def end(world: World, builds: Builds, place: int) -> None:
    """End a run, and let the event about its ending be published and handled."""
    builds.ended.add(builds.jobs[place].run_id)
    world.advance(30 * MINUTE)
    world.requests.clear()
    world.sweep()
    for entry in published(world.requests):
        happened = datetime.fromtimestamp(entry["Time"], UTC)
        event = {
            **sample("tenant-provisioning"),
            "id": f"ending-{place}",
            "detail-type": entry["DetailType"],
            "source": entry["Source"],
            "time": happened.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "resources": entry["Resources"],
            "detail": json.loads(entry["Detail"]),
        }
        invoke(world.handler, event)


def items() -> list[str]:
    """Return the ids of the items of events that wait."""
    found = boto3.client("dynamodb").scan(TableName="idempotency")["Items"]
    return sorted(item["id"]["S"] for item in found if item["id"]["S"].startswith("waiting#"))


def awaited() -> list[str]:
    found = boto3.client("dynamodb").scan(TableName="idempotency")["Items"]
    return sorted(item["id"]["S"] for item in found if item.get("openJob") == {"S": "awaited"})


def test_an_event_sleeps_until_a_run_leaves_its_slot(world: World, builds: Builds) -> None:
    for number in range(4):
        world.send(number)
    assert world.deliver() == ["event-0", "event-1"]
    assert len(world.sleeps()) == 2
    assert awaited() == ["slot#ring 1"]

    end(world, builds, 0)

    assert world.deliver() == ["event-2"]
    assert builds.tenants == ["tenant-0", "tenant-1", "tenant-2"]


def test_the_first_event_is_woken_whenever_it_came(world: World, builds: Builds) -> None:
    for number in (0, 1, 9, 5, 7):
        world.send(number)
    world.deliver()

    end(world, builds, 0)
    assert world.deliver() == ["event-5"]
    end(world, builds, 1)

    assert world.deliver() == ["event-7"]


def test_an_array_sleeps_until_a_run_leaves_the_slot_of_any_of_its_events(world: World, builds: Builds) -> None:
    world.send(0)
    world.send(1)
    world.send_array(2, 3)
    assert world.deliver() == ["event-0", "event-1"]

    end(world, builds, 0)
    assert world.deliver() == []
    assert builds.tenants == ["tenant-0", "tenant-1", "tenant-2"]
    end(world, builds, 1)

    assert world.deliver() == ["event-2", "event-3"]
    assert builds.tenants == ["tenant-0", "tenant-1", "tenant-2", "tenant-3"]


def test_each_job_of_each_event_of_an_array_may_wake_it(world: World, builds: Builds) -> None:
    @world.handler.registry.consumer("DEPLOY")
    def deploy_again(event: Event) -> StartJob:
        return StartJob(name="deploy-again")

    builds.refusal = full()
    world.send_array(0, 1)

    assert world.deliver() == []
    assert len(items()) == 4


def test_an_event_sleeps_until_its_tenant_is_free(world: World, builds: Builds) -> None:
    world.send(0, "acme")
    world.send(1, "acme")
    assert world.deliver() == ["event-0"]
    assert awaited() == ["tenant#acme"]

    end(world, builds, 0)

    assert world.deliver() == ["event-1"]


def test_a_wake_up_that_got_lost_is_made_up_for_by_the_sweep(
    world: World, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        world.send(number)
    world.deliver()
    with monkeypatch.context() as lost:
        lost.setattr(WaitingLine, "_wake", lambda *_: None)
        end(world, builds, 0)
        end(world, builds, 1)
    assert world.deliver() == []

    world.sweep()

    assert world.deliver() == ["event-2", "event-3"]


def test_whoever_takes_a_run_out_of_its_gate_wakes_the_next_event(
    world: World, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(2, "acme")
    world.send(5, "acme")
    world.deliver()
    with monkeypatch.context() as killed:
        killed.setattr(Gates, "leave", lambda *_: None)
        killed.setattr(WaitingLine, "sweep", lambda *_: None)
        end(world, builds, 0)
    assert world.deliver() == []

    world.send(-3600, "acme")  # it comes too late, so it does not join the lock that it has cleared

    assert world.deliver() == ["event--3600", "event-5"]
    assert len(builds.jobs) == 2


def test_an_event_that_was_woken_too_late_wakes_the_next_one(world: World, builds: Builds) -> None:
    for number in (2, 1, 5):
        world.send(number, "acme")
    assert world.deliver() == ["event-2"]

    end(world, builds, 0)

    assert world.deliver() == ["event-1", "event-5"]
    assert len(builds.jobs) == 2


def test_runs_that_are_gone_make_room_at_the_sweep(world: World, builds: Builds) -> None:
    for number in range(3):
        world.send(number)
    world.deliver()
    boto3.client("dynamodb").delete_item(TableName="idempotency", Key={"id": {"S": builds.jobs[0].run_id}})

    world.sweep()

    assert world.deliver() == ["event-2"]


def test_a_message_that_comes_back_by_itself_is_not_tried_while_there_is_no_room(
    world: World, builds: Builds, aws: Requests
) -> None:
    for number in range(3):
        world.send(number)
    world.deliver()
    world.come_back()
    aws.clear()

    assert world.deliver() == []

    assert "TransactWriteItems" not in aws.operations
    assert world.receipts == 4


def test_a_message_that_comes_back_by_itself_is_tried_if_there_is_room(world: World, builds: Builds) -> None:
    for number in range(3):
        world.send(number)
    world.deliver()
    boto3.client("dynamodb").delete_item(TableName="idempotency", Key={"id": {"S": "slot#ring 1"}})
    world.come_back()

    assert world.deliver() == ["event-2"]
    assert items() == []


def test_room_that_comes_while_a_message_is_put_to_sleep_wakes_it(
    world: World, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        world.send(number)
    join = WaitingLine.join

    def join_late(line: WaitingLine, *arguments: Any) -> bool:
        boto3.client("dynamodb").delete_item(TableName="idempotency", Key={"id": {"S": "slot#ring 1"}})
        return join(line, *arguments)

    monkeypatch.setattr(WaitingLine, "join", join_late)
    world.deliver()

    assert items() == []
    assert [sleep < timedelta(seconds=6) for sleep in world.sleeps()] == [True]


def limited(world: World, slots: int) -> None:
    """Limit the runs by another number from now on."""
    world.handler.registry.remove("deploy")

    @world.handler.registry.consumer("DEPLOY", name="deploy")
    def deploy(event: Event) -> StartJob:
        return StartJob(name="deploy", slot="ring 1", slots=slots)


def test_a_number_that_is_lowered_lets_events_sleep(world: World, builds: Builds) -> None:
    limited(world, 3)
    for number in range(2):
        world.send(number)
    world.deliver()
    limited(world, 1)
    world.send(2)
    world.deliver()

    assert [sleep > HOUR for sleep in world.sleeps()] == [True]
    end(world, builds, 0)
    assert world.deliver() == []
    end(world, builds, 1)
    assert world.deliver() == ["event-2"]


def test_a_number_that_is_raised_is_noticed_when_an_event_is_tried(world: World, builds: Builds) -> None:
    for number in range(5):
        world.send(number)
    world.deliver()
    limited(world, 4)
    world.send(9)

    assert world.deliver() == ["event-9"]
    world.sweep()
    assert world.deliver() == ["event-2"]


def test_an_event_that_was_received_too_often_is_not_woken(
    world: World, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "_MOST_WOKEN", 0)
    for number in range(3):
        world.send(number)
    world.deliver()

    assert items() == []
    assert [sleep > HOUR for sleep in world.sleeps()] == [True]


def test_an_event_that_cannot_be_woken_comes_back_within_the_hour(
    world: World, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> bool:
        raise Unavailable("the table is throttled")

    monkeypatch.setattr(WaitingLine, "join", fail)
    for number in range(3):
        world.send(number)
    world.deliver()

    assert [sleep <= HOUR for sleep in world.sleeps()] == [True]


def test_a_job_in_doubt_is_tried_again_although_its_slot_is_full(world: World, builds: Builds) -> None:
    world.send(0)
    world.deliver()
    builds.refusal = Unavailable("no answer")
    world.send(1)
    assert world.deliver() == []
    builds.refusal = None
    world.advance(2 * MINUTE)
    world.come_back()

    assert world.deliver() == ["event-1"]


def test_the_sleep_doubles_up_to_eleven_hours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redelivery, "FIRST_WAIT_SECONDS", 75)
    for number in range(3):
        world.send(number)
    sleeps = []
    world.deliver()
    for _ in range(11):
        sleeps.append(round(world.sleeps()[0].total_seconds()))
        world.come_back()
        world.deliver()

    assert sleeps == pytest.approx([75 * 2**n for n in range(10)] + [11 * 3600], abs=3)


def test_what_does_not_wait_for_its_job_is_retried_within_the_hour(world: World, builds: Builds) -> None:
    builds.refusal = RuntimeError("not the build system's fault")
    world.send(0)
    world.deliver()

    assert items() == []
    assert world.sleeps()[0] <= HOUR


def full() -> Unavailable:
    return Unavailable("full; a retry may succeed", ambiguous=False, waits_for=WaitReason.BUILD_QUEUE_FULL)


def test_an_event_that_started_its_job_wakes_the_next_one_of_the_build_system(world: World, builds: Builds) -> None:
    builds.refusal = full()
    for number in range(3):
        world.send(number, tenant=f"tenant-{number}")
    world.handler.registry.remove("deploy")

    @world.handler.registry.consumer("DEPLOY", name="deploy")
    def deploy(event: Event) -> StartJob:
        return StartJob(name="deploy")

    assert world.deliver() == []
    assert awaited() == ["builder#CODE_BUILD"]
    builds.refusal = None
    world.advance(61 * MINUTE)

    world.sweep()

    assert sorted(world.deliver()) == ["event-0", "event-1", "event-2"]


def test_a_build_system_is_not_asked_again_within_a_minute_of_a_refusal(world: World, builds: Builds) -> None:
    builds.refusal = full()
    world.send(0)
    world.deliver()
    builds.refusal = None
    world.come_back()
    assert world.deliver() == []

    world.advance(timedelta(seconds=61))
    world.come_back()

    assert world.deliver() == ["event-0"]


def test_the_sweep_does_not_wake_what_has_been_refused_within_the_hour(world: World, builds: Builds) -> None:
    builds.refusal = full()
    world.send(0)
    world.deliver()
    receipts = world.receipts

    for _ in range(11):
        world.advance(5 * MINUTE)
        world.sweep()
        world.deliver()
    assert world.receipts == receipts

    world.advance(6 * MINUTE)
    world.sweep()
    world.deliver()
    assert world.receipts == receipts + 1


def test_the_sweep_wakes_what_has_slept_for_a_quarter_of_its_time(
    world: World, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "FIRST_WAIT_SECONDS", 3600)
    builds.refusal = full()
    world.send(0)
    world.deliver()
    builds.refusal = None

    world.advance(14 * MINUTE)
    world.sweep()
    assert world.deliver() == []
    world.advance(2 * MINUTE)
    world.sweep()

    assert world.deliver() == ["event-0"]


def test_an_event_that_is_tried_in_vain_for_long_is_received_once_an_hour(
    world: World, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "FIRST_WAIT_SECONDS", 75)
    builds.refusal = full()
    world.send(0)
    receipts = []
    for _ in range(6):
        for _ in range(12):
            world.deliver()
            world.advance(5 * MINUTE)
            world.sweep()
        receipts.append(world.receipts)

    # In 13 days that is some 325 times. After 500 times, SQS would give the event up.
    assert receipts[0] <= 9
    assert [later - earlier for earlier, later in itertools.pairwise(receipts[2:])] == [1, 1, 1]


def test_the_sweep_counts_what_has_waited_for_an_hour(
    world: World, builds: Builds, capsys: pytest.CaptureFixture[str]
) -> None:
    world.send(0, "acme")
    world.send(1, "acme")
    world.deliver()
    world.advance(HOUR)
    capsys.readouterr()

    world.sweep()

    counted = [line["EventsWaitingLong"] for line in json_lines(capsys.readouterr().out) if "EventsWaitingLong" in line]
    assert counted == [[1.0]]


# The line itself


@pytest.fixture
def line(aws: Requests) -> WaitingLine:
    clients = Clients()
    table = Table("idempotency", lambda: clients.get("dynamodb", REGION))
    return WaitingLine(table, timedelta(days=30), lambda: clients.get("sqs", REGION))


def wait(number: int, key: str = "tenant#acme") -> Wait:
    since = datetime(2026, 11, 24, 9, number, tzinfo=UTC)
    return Wait(
        reason=WaitReason.TENANT_BUSY,
        key=key,
        is_full=lambda item: "runs" in item,
        run_id=f"run-{number}",
        since=since,
        was_tried=True,
    )


def lock(*runs: str) -> None:
    held: Any = {"runs": {"SS": list(runs)}} if runs else {}
    boto3.client("dynamodb").put_item(
        TableName="idempotency", Item={"id": {"S": "tenant#acme"}, "operation": {"S": "x"}, **held}
    )


def hidden(count: int) -> tuple[str, list[str]]:
    """Send messages, and receive them; return the queue and the receipt handles."""
    sqs = boto3.client("sqs")
    queue = sqs.create_queue(QueueName="waiting")["QueueUrl"]
    for _ in range(count):
        sqs.send_message(QueueUrl=queue, MessageBody="x")
    received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    return queue, [message["ReceiptHandle"] for message in received]


def visible(queue: str) -> int:
    answer = boto3.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"])
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def test_a_message_that_is_gone_is_passed_over(line: WaitingLine) -> None:
    lock("run-0 a")
    queue, receipts = hidden(3)
    until = datetime.now(UTC) + HOUR
    for number, receipt in enumerate(receipts):
        assert line.join(wait(number), queue, receipt, until)
    boto3.client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=receipts[0])

    line.wake("tenant#acme", 1)

    assert visible(queue) == 1
    assert items() == ["waiting#run-2"]


def test_a_message_that_has_come_back_by_itself_is_passed_over(line: WaitingLine) -> None:
    lock("run-0 a")
    queue, receipts = hidden(2)
    line.join(wait(0), queue, receipts[0], datetime.now(UTC) - MINUTE)
    line.join(wait(1), queue, receipts[1], datetime.now(UTC) + HOUR)

    line.wake("tenant#acme", 1)

    assert visible(queue) == 1
    assert items() == []


def test_two_processes_wake_two_events(line: WaitingLine, monkeypatch: pytest.MonkeyPatch) -> None:
    lock("run-0 a")
    queue, receipts = hidden(2)
    for number, receipt in enumerate(receipts):
        line.join(wait(number), queue, receipt, datetime.now(UTC) + HOUR)
    first = line._first("tenant#acme", 1)

    line.wake("tenant#acme", 1)
    line._wake(first, 1)

    assert visible(queue) == 2
    assert items() == []


def test_a_gate_with_room_lets_no_message_sleep(line: WaitingLine) -> None:
    lock()
    queue, receipts = hidden(1)

    assert not line.join(wait(0), queue, receipts[0], datetime.now(UTC) + HOUR)

    assert items() == []


def test_a_gate_for_which_nothing_waits_is_forgotten_after_a_while(
    line: WaitingLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock("run-0 a")
    queue, receipts = hidden(1)
    line.join(wait(0), queue, receipts[0], datetime.now(UTC) + HOUR)
    line.wake("tenant#acme", 1)
    line.sweep(lambda key, item: item)
    assert awaited() == ["tenant#acme"]

    later = datetime.now(UTC) + 3 * MINUTE
    monkeypatch.setattr(clock, "now", lambda: later)
    line.sweep(lambda key, item: item)

    assert awaited() == []


def test_an_event_that_may_not_be_woken_is_named(line: WaitingLine, capsys: pytest.CaptureFixture[str]) -> None:
    lock("run-0 a")
    line.join(wait(0), "https://sqs.eu-west-1.amazonaws.com/123456789012/gone", "handle", datetime.now(UTC) + HOUR)

    line.wake("tenant#acme", 1)

    (logged,) = [entry for entry in json_lines(capsys.readouterr().out) if entry.get("level") == "WARNING"]
    assert logged["message"].startswith("an event that waits could not be woken: AWS answered")
