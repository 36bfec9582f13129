"""A slot: at most so many runs at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import boto3
import pytest

from orchestrator import ConfigurationError, StartJob, Unavailable
from orchestrator.action import Outcome, OutcomeStatus
from orchestrator.aws.clients import Clients
from orchestrator.builders.systems import BuildSystems
from orchestrator.errors import InvalidEvent, WaitReason
from orchestrator.event import Event, Start
from orchestrator.job import Ending, Slot, StartedJob
from orchestrator.ledger import gate
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.ledger.ledger import Claim, Ledger, Prepared
from orchestrator.ledger.record import EndingStatus, milliseconds
from orchestrator.performers.start_job import JobStarter
from orchestrator.run import Origin
from orchestrator.timing import clock
from tests.ledger.conftest import NOON, Clock
from tests.support.aws import REGION, Requests
from tests.support.builder import Recorder

LOCK = timedelta(seconds=50)
STARTED = Outcome(action="StartJob", status=OutcomeStatus.STARTED, name="deploy", id="7")


@pytest.fixture
def records(aws: Requests, time: Clock) -> DynamoDBRecords:
    clients = Clients()
    return DynamoDBRecords("idempotency", lambda: clients.get("dynamodb", REGION), timedelta(days=30))


def job(number: int, size: int = 2, name: str = "ring 1") -> StartedJob:
    return StartedJob(
        builder="JENKINS",
        name="deploy",
        run_id=f"run-{number}",
        since=NOON,
        event_id=f"event-{number}",
        event_type="TENANT_DEPLOYMENT",
        tenant_id=f"tenant-{number}",
        start=Start(event_id=f"event-{number}", at=NOON),
        slot=Slot(name=name, size=size),
    )


def claim(records: DynamoDBRecords, job: StartedJob, owner: str = "a") -> bool:
    return records.claim(job.run_id, owner, milliseconds(clock.now() + LOCK), job, follow=True)[0]


def start(records: DynamoDBRecords, job: StartedJob) -> None:
    assert claim(records, job)
    assert records.settle(job.run_id, "a", STARTED)


def end(records: DynamoDBRecords, job: StartedJob) -> None:
    records.close(job.run_id, EndingStatus.SUCCESS)
    records.unfollow(job.run_id)


def must_wait(records: DynamoDBRecords, job: StartedJob) -> bool:
    with pytest.raises(
        Unavailable, match=r"slot 'ring 1' is full \(runs at a time: \d\); a retry may succeed"
    ) as caught:
        claim(records, job)
    assert records.read(job.run_id) is None
    return caught.value.waits_for is WaitReason.SLOT_FULL and not caught.value.ambiguous


def item(key: str = "slot#ring 1") -> dict[str, Any]:
    return boto3.client("dynamodb").get_item(TableName="idempotency", Key={"id": {"S": key}}).get("Item", {})


def test_no_more_runs_go_on_than_the_slot_has_room_for(records: DynamoDBRecords) -> None:
    start(records, job(1))
    start(records, job(2))
    assert must_wait(records, job(3))

    end(records, job(1))

    assert claim(records, job(3))
    assert must_wait(records, job(4))


def test_slots_of_other_names_are_counted_apart(records: DynamoDBRecords) -> None:
    start(records, job(1, size=1))

    assert claim(records, job(2, size=1, name="ring 2"))


def test_a_size_that_was_lowered_counts_for_the_next_run(records: DynamoDBRecords) -> None:
    start(records, job(1))
    start(records, job(2))
    end(records, job(1))

    assert must_wait(records, job(3, size=1))
    assert claim(records, job(4, size=3))


def test_a_run_that_is_refused_for_its_slot_does_not_lock_its_tenant(records: DynamoDBRecords) -> None:
    start(records, job(1, size=1))
    assert must_wait(records, job(2, size=1))

    other = replace(job(3, name="ring 2"), tenant_id="tenant-2")

    assert claim(records, other)


def test_a_run_that_is_refused_for_its_tenant_takes_no_slot(records: DynamoDBRecords) -> None:
    start(records, replace(job(1), slot=None))
    with pytest.raises(Unavailable, match="tenant 'tenant-1' has a job"):
        claim(records, replace(job(2, size=1), tenant_id="tenant-1"))

    assert claim(records, job(3, size=1))


def test_a_repeated_claim_takes_no_second_place(records: DynamoDBRecords, time: Clock) -> None:
    claim(records, job(1))
    time.advance(LOCK + timedelta(seconds=3))
    assert claim(records, job(1), "b")

    assert claim(records, job(2))
    assert must_wait(records, job(3))


def test_a_take_over_finds_its_own_place_in_a_full_slot(records: DynamoDBRecords, time: Clock) -> None:
    claim(records, job(1, size=1))
    time.advance(LOCK + timedelta(seconds=3))

    assert claim(records, job(1, size=1), "b")
    assert must_wait(records, job(2, size=1))


def test_a_claim_that_is_released_gives_its_place_back(records: DynamoDBRecords) -> None:
    claim(records, job(1, size=1))

    records.release("run-1", "a")

    assert "runs" not in item()
    assert claim(records, job(2, size=1))


def test_a_run_that_was_given_up_gives_its_place_back(records: DynamoDBRecords, time: Clock) -> None:
    claim(records, job(1, size=1))
    time.advance(timedelta(hours=1))
    assert must_wait(records, job(2, size=1))
    record = records.read("run-1")
    assert record is not None

    assert records.give_up(record)

    assert claim(records, job(2, size=1))


@pytest.mark.parametrize("others", [0, 1])
def test_a_run_that_was_given_up_may_be_started_again_in_the_place_that_it_left_behind(
    records: DynamoDBRecords, time: Clock, others: int
) -> None:
    size = 1 + others
    for number in range(2, 2 + others):
        start(records, job(number, size=size))
    claim(records, job(1, size=size))
    time.advance(timedelta(hours=1))
    record = records.read("run-1")
    assert record is not None
    assert records.give_up(record)

    assert claim(records, job(1, size=size), "another")

    assert [name for name in item()["runs"]["SS"] if name.startswith("run-1#")] == ["run-1#another"]


def test_a_run_whose_record_was_deleted_gives_its_place_back(records: DynamoDBRecords) -> None:
    start(records, job(1, size=1))
    boto3.client("dynamodb").delete_item(TableName="idempotency", Key={"id": {"S": "run-1"}})

    assert claim(records, job(2, size=1))


def test_ended_runs_that_were_left_behind_are_found_however_many_they_are(records: DynamoDBRecords) -> None:
    for number in range(25):
        start(records, job(number, size=25))
        boto3.client("dynamodb").delete_item(TableName="idempotency", Key={"id": {"S": f"run-{number}"}})

    assert claim(records, job(100, size=25))
    assert len(item()["runs"]["SS"]) <= 16


def test_a_start_with_a_slot_and_a_tenant_is_one_transaction(records: DynamoDBRecords, aws: Requests) -> None:
    start(records, job(1))
    assert aws.operations == ["TransactWriteItems", "UpdateItem"]
    aws.clear()

    end(records, job(1))

    assert aws.operations == ["UpdateItem", "UpdateItem", "UpdateItem", "UpdateItem"]  # close, unfollow, and two gates


def test_a_start_without_a_slot_costs_nothing_more(records: DynamoDBRecords, aws: Requests) -> None:
    start(records, replace(job(1), slot=None, tenant_id=None))
    end(records, replace(job(1), slot=None, tenant_id=None))

    assert aws.operations == ["UpdateItem"] * 4


def test_the_ledger_says_which_job_waits(records: DynamoDBRecords) -> None:
    start(records, job(1, size=1))
    waits = job(2, size=1)
    prepared = Prepared(
        perform=lambda _: STARTED, action_id=waits.run_id, failure="it was not started", job=waits, follow=True
    )

    with pytest.raises(Unavailable, match="it was not started: slot 'ring 1' is full") as caught:
        Ledger(records).perform(prepared)

    wait = caught.value.wait
    assert wait is not None
    assert (wait.key, wait.size, wait.run_id, wait.since, wait.was_tried) == ("slot#ring 1", 1, "run-2", NOON, True)


def test_a_start_in_doubt_is_not_given_up_because_its_new_slot_is_full(records: DynamoDBRecords, time: Clock) -> None:
    claim(records, job(1))
    start(records, job(2, size=1, name="ring 2"))
    time.advance(timedelta(hours=1))
    moved = replace(job(1), slot=Slot(name="ring 2", size=1))
    prepared = Prepared(perform=lambda claim: STARTED, action_id="run-1", failure="it failed", job=moved, follow=True)

    with pytest.raises(Unavailable, match="slot 'ring 2' is full") as caught:
        Ledger(records).perform(prepared, keeps_claim=True)

    assert caught.value.waits_for is None
    assert caught.value.ambiguous


def test_the_name_of_a_slot_must_fit_into_a_key() -> None:
    gate.check(job(1, name="x" * 2043))
    with pytest.raises(InvalidEvent, match=r"the slot 'xxx.*' has 2,049 bytes"):
        gate.check(job(1, name="x" * 2044))


# StartJob


class Builds(Recorder):
    """A build system that says how its runs end."""

    def endings(self, jobs: Sequence[StartedJob]) -> Mapping[str, Ending]:
        return {}


def prepare(action: StartJob, memory: timedelta | None = timedelta(days=30), builder: Any = None) -> Prepared:
    systems = BuildSystems({}, {"X": builder or Builds()}, "X")
    event = Event(type="TENANT_DEPLOYMENT", detail={"tenantId": "t1"})
    return JobStarter(systems, memory).prepare(action, Origin(event=event, consumer="deploy", position=0))


def test_an_action_names_its_slot() -> None:
    job = prepare(StartJob(name="deploy", slot="ring 1", slots=5)).job

    assert job is not None
    assert job.slot == Slot(name="ring 1", size=5)


@pytest.mark.parametrize(
    ("slot", "slots"),
    [("ring 1", None), (None, 5), ("", 5), ("ring 1", 0), ("ring 1", True), ("ring 1", 2.5), ("ring 1", 5001)],
)
def test_a_malformed_slot_is_refused(slot: Any, slots: Any) -> None:
    with pytest.raises(ConfigurationError, match="job 'deploy' has a malformed slot; give it a name in slot, and a"):
        prepare(StartJob(name="deploy", slot=slot, slots=slots))


def test_a_run_that_is_not_followed_can_have_no_slot() -> None:
    for action, builder in (
        (StartJob(name="deploy", slot="ring 1", slots=5, follow=False), Builds()),
        (StartJob(name="deploy", slot="ring 1", slots=5), Recorder()),
    ):
        with pytest.raises(ConfigurationError, match="has slot 'ring 1', but its run is not followed"):
            prepare(action, builder=builder)


def test_without_a_table_no_slot_is_counted() -> None:
    with pytest.raises(ConfigurationError, match="but IDEMPOTENCY_TABLE is not set, so its runs cannot be counted"):
        prepare(StartJob(name="deploy", slot="ring 1", slots=5), memory=None)


def test_a_claim_with_a_slot_is_a_claim(records: DynamoDBRecords) -> None:
    performed: list[Claim] = []

    def perform(claim: Claim) -> Outcome:
        performed.append(claim)
        return STARTED

    one = job(1)
    prepared = Prepared(perform=perform, action_id=one.run_id, failure="it was not started", job=one, follow=True)

    Ledger(records).perform(prepared)
    assert Ledger(records).perform(prepared)["status"] == "already started"
    assert performed == [Claim()]
