"""A tenant's lock: runs of one operation at a time, in the order of the events."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from orchestrator import InvalidEvent, Unavailable
from orchestrator.action import Outcome, OutcomeStatus
from orchestrator.aws.clients import Clients
from orchestrator.errors import WaitReason
from orchestrator.event import Start
from orchestrator.job import StartedJob
from orchestrator.ledger import gate
from orchestrator.ledger.changes import Change
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.ledger.gate import Overtaken
from orchestrator.ledger.ledger import Claim, Ledger, Prepared
from orchestrator.ledger.record import EndingStatus, Record, milliseconds
from orchestrator.timing import clock
from tests.ledger.conftest import NOON, Clock
from tests.support.aws import REGION, Requests

MEMORY = timedelta(days=30)
LOCK = timedelta(seconds=50)
AFTER_THE_CLAIMS_LOCK = LOCK + timedelta(seconds=3)
STARTED = Outcome(action="StartJob", status=OutcomeStatus.STARTED, name="provision", id="7")


@pytest.fixture
def records(aws: Requests, time: Clock) -> DynamoDBRecords:
    return table()


def table(*, locks_tenants: bool = True) -> DynamoDBRecords:
    clients = Clients()
    return DynamoDBRecords("idempotency", lambda: clients.get("dynamodb", REGION), MEMORY, locks_tenants=locks_tenants)


def job(
    run_id: str,
    operation: str = "first",
    minute: int = 0,
    tenant: str | None = "acme",
    event_type: str = "TENANT_PROVISIONING",
) -> StartedJob:
    """A job of the operation that began some minutes after noon."""
    return StartedJob(
        builder="JENKINS",
        name="provision",
        run_id=run_id,
        since=NOON,
        event_id=operation,
        event_type=event_type,
        tenant_id=tenant,
        start=Start(event_id=operation, at=NOON + timedelta(minutes=minute)),
    )


FIRST, SECOND, THIRD = job("run-1"), job("run-2", "second", 1), job("run-3", "third", 2)


def claim(records: DynamoDBRecords, job: StartedJob, owner: str = "a") -> bool:
    return records.claim(job.run_id, owner, milliseconds(clock.now() + LOCK), job, follow=True)[0]


def start(records: DynamoDBRecords, job: StartedJob, owner: str = "a") -> None:
    """Claim the job's start, and store that it was started."""
    assert claim(records, job, owner)
    assert records.settle(job.run_id, owner, STARTED)


def end(records: DynamoDBRecords, job: StartedJob, ending: EndingStatus = EndingStatus.SUCCESS) -> None:
    """Store that the job's run has ended, and that its ending has been handled."""
    records.close(job.run_id, ending)
    records.unfollow(job.run_id)


def read(records: DynamoDBRecords, job: StartedJob) -> Record:
    found = records.read(job.run_id)
    assert found is not None
    return found


def must_wait(records: DynamoDBRecords, job: StartedJob, owner: str = "a") -> bool:
    with pytest.raises(Unavailable, match="has a job of another event that has not ended") as caught:
        claim(records, job, owner)
    return caught.value.waits_for is WaitReason.TENANT_BUSY and not caught.value.ambiguous


# One operation at a time


def test_a_job_of_another_operation_waits_until_the_first_one_has_ended(records: DynamoDBRecords) -> None:
    start(records, FIRST)
    assert must_wait(records, SECOND)
    assert records.read(SECOND.run_id) is None  # nothing was claimed

    end(records, FIRST)

    assert claim(records, SECOND)
    assert must_wait(records, THIRD)


def test_a_run_holds_the_lock_until_its_ending_has_been_handled(records: DynamoDBRecords) -> None:
    start(records, FIRST)

    records.close(FIRST.run_id, EndingStatus.SUCCESS)
    assert must_wait(records, SECOND)
    records.mark_handled(FIRST.run_id, EndingStatus.SUCCESS)
    assert must_wait(records, SECOND)
    records.unfollow(FIRST.run_id)

    assert claim(records, SECOND)


def test_jobs_of_one_operation_run_side_by_side(records: DynamoDBRecords) -> None:
    beside = job("run-9")
    start(records, FIRST)
    start(records, beside)

    end(records, FIRST)
    assert must_wait(records, SECOND)
    end(records, beside, EndingStatus.FAILURE)

    assert claim(records, SECOND)


def test_a_job_that_follows_joins_before_the_first_one_leaves(records: DynamoDBRecords) -> None:
    deployment = job("deployment")
    start(records, FIRST)
    records.close(FIRST.run_id, EndingStatus.SUCCESS)

    start(records, deployment)
    records.unfollow(FIRST.run_id)

    assert must_wait(records, SECOND)
    end(records, deployment)
    assert claim(records, SECOND)


def test_a_job_that_follows_later_finds_the_lock_free(records: DynamoDBRecords) -> None:
    start(records, FIRST)
    end(records, FIRST)

    assert claim(records, job("deployment"))
    assert must_wait(records, SECOND)


def test_other_tenants_do_not_wait(records: DynamoDBRecords) -> None:
    start(records, FIRST)

    assert claim(records, job("run-2", "second", 1, tenant="other"))


def test_a_job_without_a_tenant_has_no_lock(records: DynamoDBRecords) -> None:
    start(records, job("run-1", tenant=None))

    assert claim(records, job("run-2", "second", 1, tenant=None))


def test_a_job_that_is_not_followed_has_no_lock(records: DynamoDBRecords) -> None:
    until = milliseconds(clock.now() + LOCK)
    assert records.claim(FIRST.run_id, "a", until, FIRST)[0]
    start(records, SECOND)

    assert records.claim(THIRD.run_id, "a", until, THIRD)[0]


# Order


def test_a_job_of_an_older_operation_is_overtaken(records: DynamoDBRecords) -> None:
    start(records, SECOND)
    end(records, SECOND)

    with pytest.raises(Overtaken):
        claim(records, FIRST)
    assert records.read(FIRST.run_id) is None


def test_an_older_operation_waits_while_it_is_open_whether_it_is_overtaken(records: DynamoDBRecords) -> None:
    assert claim(records, SECOND)
    assert must_wait(records, FIRST)

    records.release(SECOND.run_id, "a")  # the job was not started

    assert claim(records, FIRST)


def test_two_operations_of_the_same_time_go_one_after_the_other(records: DynamoDBRecords) -> None:
    twin = job("run-2", "twin")
    start(records, FIRST)
    assert must_wait(records, twin)
    end(records, FIRST)

    assert claim(records, twin)


def test_an_operation_without_a_run_hides_no_earlier_one(records: DynamoDBRecords) -> None:
    start(records, SECOND)
    end(records, SECOND)
    claim(records, THIRD)
    records.release(THIRD.run_id, "a")

    with pytest.raises(Overtaken):
        claim(records, FIRST)


def test_a_job_of_another_type_is_not_overtaken(records: DynamoDBRecords) -> None:
    backup = job("backup", "second", 1, event_type="TENANT_BACKUP")
    start(records, FIRST)
    assert must_wait(records, backup)
    end(records, FIRST)
    start(records, backup)
    deployment = job("deployment", event_type="TENANT_DEPLOYMENT")
    assert must_wait(records, deployment)
    end(records, backup)

    start(records, deployment)
    end(records, deployment)

    with pytest.raises(Overtaken):
        claim(records, job("older", "older", -1))
    with pytest.raises(Overtaken):
        claim(records, job("older backup", "older", -1, event_type="TENANT_BACKUP"))


def test_a_second_job_of_an_older_event_is_overtaken_although_its_operation_has_the_lock(
    records: DynamoDBRecords,
) -> None:
    start(records, SECOND)
    end(records, SECOND)
    start(records, job("deployment", event_type="TENANT_DEPLOYMENT"))

    with pytest.raises(Overtaken):
        claim(records, FIRST)


# The lock cannot be left behind


def test_a_claim_that_is_released_holds_nothing(records: DynamoDBRecords) -> None:
    claim(records, FIRST)

    records.release(FIRST.run_id, "a")

    assert claim(records, SECOND)


def test_a_killed_holder_holds_the_lock_until_the_run_is_given_up(records: DynamoDBRecords, time: Clock) -> None:
    claim(records, FIRST)
    time.advance(timedelta(hours=1))
    assert must_wait(records, SECOND)

    assert records.give_up(read(records, FIRST))

    assert claim(records, SECOND)


def test_a_run_that_is_claimed_again_is_not_given_up(records: DynamoDBRecords, time: Clock) -> None:
    claim(records, FIRST)
    seen = read(records, FIRST)
    time.advance(AFTER_THE_CLAIMS_LOCK)
    assert claim(records, FIRST, "b")

    assert not records.give_up(seen)

    assert must_wait(records, SECOND)


def test_a_run_that_was_started_is_not_given_up(records: DynamoDBRecords) -> None:
    claim(records, FIRST)
    seen = read(records, FIRST)
    records.settle(FIRST.run_id, "a", STARTED)

    assert not records.give_up(seen)

    assert must_wait(records, SECOND)


def test_a_run_that_was_given_up_is_started_later_if_no_other_one_runs(records: DynamoDBRecords, time: Clock) -> None:
    claim(records, FIRST)
    records.give_up(read(records, FIRST))
    claim(records, SECOND)
    time.advance(AFTER_THE_CLAIMS_LOCK)
    assert must_wait(records, FIRST, "b")

    records.give_up(read(records, SECOND))

    start(records, FIRST, "b")
    assert must_wait(records, SECOND, "b")


def test_a_take_over_keeps_the_lock(records: DynamoDBRecords, time: Clock) -> None:
    claim(records, FIRST)
    time.advance(AFTER_THE_CLAIMS_LOCK)

    is_mine, before = records.claim(FIRST.run_id, "b", milliseconds(clock.now() + LOCK), FIRST, follow=True)

    assert is_mine
    assert before is not None
    assert before.owner == "a"
    assert must_wait(records, SECOND)
    records.settle(FIRST.run_id, "b", STARTED)
    end(records, FIRST)
    assert claim(records, SECOND)


def test_a_take_over_of_a_run_from_before_the_lock_joins_it(aws: Requests, time: Clock) -> None:
    without, records = table(locks_tenants=False), table()
    claim(without, FIRST)
    time.advance(AFTER_THE_CLAIMS_LOCK)

    start(records, FIRST, "b")

    assert must_wait(records, SECOND)
    end(records, FIRST)
    assert claim(records, SECOND)


def test_only_the_owner_releases(records: DynamoDBRecords, time: Clock) -> None:
    claim(records, FIRST)
    time.advance(AFTER_THE_CLAIMS_LOCK)
    claim(records, FIRST, "b")

    records.release(FIRST.run_id, "a")

    assert must_wait(records, SECOND)


def test_a_claim_repeated_by_its_owner_succeeds_and_another_one_is_refused(records: DynamoDBRecords) -> None:
    assert claim(records, FIRST)
    assert claim(records, FIRST)
    assert not claim(records, FIRST, "b")


def test_a_done_action_is_not_claimed_again(records: DynamoDBRecords, time: Clock) -> None:
    start(records, FIRST)
    time.advance(timedelta(hours=1))

    assert not claim(records, FIRST, "b")
    end(records, FIRST)
    start(records, SECOND)
    assert not claim(records, FIRST, "b")  # and not superseded: it has been started


@pytest.mark.parametrize("ending", list(EndingStatus))
def test_an_ending_that_comes_again_leaves_the_lock_of_the_next_one_alone(
    records: DynamoDBRecords, ending: EndingStatus
) -> None:
    start(records, FIRST)
    end(records, FIRST)
    start(records, SECOND)

    end(records, FIRST, ending)

    assert must_wait(records, THIRD)


def test_a_run_holds_the_lock_for_as_long_as_it_goes_on(records: DynamoDBRecords, time: Clock) -> None:
    start(records, FIRST)
    time.advance(timedelta(days=20))

    assert must_wait(records, SECOND)


def test_a_run_that_was_found_after_all_is_not_given_up(records: DynamoDBRecords, time: Clock) -> None:
    claim(records, FIRST)
    seen = read(records, FIRST)
    records.adopt(seen, STARTED)

    assert not records.give_up(seen)

    assert must_wait(records, SECOND)


def test_a_start_that_is_given_up_while_it_waits_is_not_started_by_a_copy(records: DynamoDBRecords) -> None:
    start(records, FIRST)
    with pytest.raises(Unavailable, match="has a job of another event"):
        Ledger(records).perform(prepared(SECOND), keeps_claim=True)
    end(records, FIRST)

    with pytest.raises(Unavailable, match="another delivery of the event is performing it"):
        Ledger(records).perform(prepared(SECOND))


def test_conflicts_let_the_event_wait(records: DynamoDBRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []

    def conflict(**_: Any) -> None:
        answer = {"Error": {"Code": "TransactionCanceledException"}}
        reasons = [{"Code": "TransactionConflict"}, {"Code": "None"}]
        raise ClientError({**answer, "CancellationReasons": reasons}, "TransactWriteItems")  # type: ignore[typeddict-item]

    monkeypatch.setattr("time.sleep", tries.append)
    monkeypatch.setattr(records._table.client(), "transact_write_items", conflict)

    assert must_wait(records, FIRST)
    assert len(tries) == 4


def test_a_record_is_written_after_a_conflict(records: DynamoDBRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(records, FIRST)
    client, pauses = records._table.client(), list[float]()
    update = client.update_item

    def conflict_once(**request: Any) -> Any:
        if not pauses:
            raise ClientError({"Error": {"Code": "TransactionConflictException"}}, "UpdateItem")
        return update(**request)

    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr(client, "update_item", conflict_once)

    assert records.settle(FIRST.run_id, "a", STARTED)
    assert len(pauses) == 1


def test_the_records_of_expired_runs_hold_nothing(records: DynamoDBRecords, time: Clock) -> None:
    claim(records, FIRST)
    time.advance(MEMORY + timedelta(seconds=2))

    assert claim(records, SECOND)
    assert must_wait(records, THIRD)


def test_an_ending_counts_as_handled_although_its_run_could_not_be_taken_out_of_the_lock(
    records: DynamoDBRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(records, FIRST)
    client = records._table.client()
    update = client.update_item

    def conflict(**request: Any) -> Any:
        if request["Key"]["id"]["S"].startswith("tenant#"):
            raise ClientError({"Error": {"Code": "TransactionConflictException"}}, "UpdateItem")
        return update(**request)

    monkeypatch.setattr("time.sleep", lambda _: None)
    with monkeypatch.context() as busy:
        busy.setattr(client, "update_item", conflict)
        end(records, FIRST)

    assert claim(records, SECOND)


# The ledger


def prepared(job: StartedJob, error: Exception | None = None) -> Prepared:
    def perform(_: Claim) -> Outcome:
        if error is not None:
            raise error
        return STARTED

    return Prepared(perform=perform, action_id=job.run_id, failure="it was not started", job=job, follow=True)


def test_an_overtaken_start_is_superseded(records: DynamoDBRecords) -> None:
    start(records, SECOND)
    end(records, SECOND)

    assert Ledger(records).perform(prepared(FIRST)) == {
        "action": "StartJob",
        "status": "superseded",
        "name": "provision",
        "reason": "a later event of the same type has run its job for the tenant",
    }


def test_a_start_waits_for_a_busy_tenant(records: DynamoDBRecords) -> None:
    start(records, FIRST)

    with pytest.raises(Unavailable, match="it was not started: tenant 'acme' has a job of another event") as caught:
        Ledger(records).perform(prepared(SECOND))

    assert (caught.value.waits_for, caught.value.ambiguous) == (WaitReason.TENANT_BUSY, False)


def test_a_start_that_certainly_failed_leaves_the_lock_free(records: DynamoDBRecords) -> None:
    with pytest.raises(Unavailable, match="full"):
        Ledger(records).perform(prepared(FIRST, Unavailable("full", ambiguous=False)))

    assert claim(records, SECOND)


def test_a_start_in_doubt_keeps_the_lock(records: DynamoDBRecords) -> None:
    with pytest.raises(Unavailable, match="no answer"):
        Ledger(records).perform(prepared(FIRST, Unavailable("no answer")))

    assert must_wait(records, SECOND)


# The table


def test_a_claim_of_a_free_lock_is_one_request(records: DynamoDBRecords, aws: Requests) -> None:
    start(records, FIRST)
    end(records, FIRST)
    aws.clear()

    claim(records, job("deployment"))
    assert aws.operations == ["TransactWriteItems"]
    records.settle("deployment", "a", STARTED)
    end(records, job("deployment"))
    aws.clear()

    claim(records, SECOND)
    assert aws.operations == ["TransactWriteItems"]


def test_a_run_that_was_left_behind_costs_four_more_requests(records: DynamoDBRecords, aws: Requests) -> None:
    start(records, FIRST)
    boto3.client("dynamodb").delete_item(TableName="idempotency", Key={"id": {"S": FIRST.run_id}})
    aws.clear()

    claim(records, SECOND)

    transaction = "TransactWriteItems"
    assert aws.operations == [transaction, "GetItem", transaction, "GetItem", transaction]


def test_a_run_that_is_claimed_anew_while_its_former_claim_is_taken_out_stays_in_the_lock(
    records: DynamoDBRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_all: Any = records._table.change_all

    def claim_before(changes: Sequence[Change]) -> Any:
        if changes[0].only_checks:
            monkeypatch.setattr(records._table, "change_all", change_all)
            assert claim(records, FIRST, "b")
        return change_all(changes)

    claim(records, FIRST)
    boto3.client("dynamodb").delete_item(TableName="idempotency", Key={"id": {"S": FIRST.run_id}})
    monkeypatch.setattr(records._table, "change_all", claim_before)

    assert must_wait(records, SECOND)
    assert must_wait(records, THIRD)


def test_a_run_whose_record_is_seen_too_late_stays_in_the_lock(
    records: DynamoDBRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that follows another one may still miss what the transaction that the first one has seen has written."""
    start(records, FIRST)
    monkeypatch.setattr(records._gates, "_read", lambda run_id: None)

    assert must_wait(records, SECOND)


def test_an_action_that_was_settled_between_two_transactions_is_not_claimed(
    records: DynamoDBRecords, time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(records, FIRST)
    time.advance(AFTER_THE_CLAIMS_LOCK)
    change_all: Any = records._table.change_all

    def settle_after(*changes: Any) -> Any:
        found = change_all(*changes)
        records.settle(FIRST.run_id, "a", STARTED)
        return found

    monkeypatch.setattr(records._table, "change_all", settle_after)

    assert not claim(records, FIRST, "b")
    assert read(records, FIRST).outcome == STARTED


def test_a_lock_is_no_record(records: DynamoDBRecords) -> None:
    claim(records, FIRST)

    assert records.read("tenant#acme") is None
    records.unfollow("tenant#acme")
    assert must_wait(records, SECOND)


def test_what_names_no_run_is_taken_out_of_the_lock(records: DynamoDBRecords) -> None:
    item: Any = {"id": {"S": "tenant#acme"}, "operation": {"S": "odd"}, "runs": {"SS": ["odd", "#a", "run-2#b"]}}
    boto3.client("dynamodb").put_item(TableName="idempotency", Item=item)

    assert claim(records, FIRST)
    assert must_wait(records, SECOND)


def test_a_lock_that_somebody_has_deleted_is_free(records: DynamoDBRecords) -> None:
    start(records, FIRST)
    boto3.client("dynamodb").delete_item(TableName="idempotency", Key={"id": {"S": "tenant#acme"}})
    assert claim(records, SECOND)

    end(records, FIRST)

    assert must_wait(records, THIRD)


def test_a_record_that_somebody_has_deleted_holds_nothing(records: DynamoDBRecords) -> None:
    start(records, FIRST)
    boto3.client("dynamodb").delete_item(TableName="idempotency", Key={"id": {"S": FIRST.run_id}})

    assert claim(records, SECOND)


def test_without_serialization_no_job_waits(aws: Requests, time: Clock) -> None:
    records = table(locks_tenants=False)
    start(records, FIRST)
    aws.clear()

    start(records, SECOND)

    assert aws.operations == ["UpdateItem", "UpdateItem"]


def test_a_tenant_whose_id_is_too_long_for_its_lock_is_refused() -> None:
    with pytest.raises(InvalidEvent, match=r"the lock of tenant 'xx.*' has 2,049 bytes"):
        gate.check(job("run-1", tenant="x" * 2042))
    gate.check(job("run-1", tenant="x" * 2041))
