"""The ledger's operations, with the same results in a DynamoDB table and in memory."""

from collections.abc import Callable
from contextvars import Context
from datetime import timedelta
from typing import Any

import pytest

from orchestrator import Unavailable
from orchestrator.action import Outcome, OutcomeStatus
from orchestrator.aws.clients import Clients
from orchestrator.event import Start
from orchestrator.job import StartedJob
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.ledger.ledger import Claim, Ledger, Prepared, Records
from orchestrator.ledger.memory import MemoryRecords
from orchestrator.ledger.record import FIRST_CHECK, EndingStatus, Record, State, milliseconds
from orchestrator.timing import clock
from tests.ledger.conftest import NOON, Clock
from tests.support.aws import REGION, Requests

MEMORY = timedelta(days=30)
LOCK = timedelta(seconds=50)
TOLERANCE = timedelta(seconds=2)
TICK = timedelta(milliseconds=1)
STARTED = Outcome(action="StartJob", status=OutcomeStatus.STARTED, builder="JENKINS", name="provision", id="7")
FOUND = Outcome(action="StartJob", status=OutcomeStatus.ALREADY_STARTED, builder="JENKINS", name="provision", id="8")


@pytest.fixture
def table(aws: Requests, time: Clock) -> DynamoDBRecords:
    clients = Clients()
    return DynamoDBRecords("idempotency", lambda: clients.get("dynamodb", REGION), MEMORY)


@pytest.fixture(params=["table", "memory"])
def records(request: pytest.FixtureRequest, time: Clock) -> Records:
    if request.param == "memory":
        return MemoryRecords(MEMORY)
    table: DynamoDBRecords = request.getfixturevalue("table")
    return table


def job(run_id: str = "run") -> StartedJob:
    return StartedJob(
        builder="JENKINS",
        name="provision",
        run_id=run_id,
        since=NOON,
        event_id="event",
        event_type="TENANT_PROVISIONING",
        tenant_id="acme",
        start=Start(event_id="event", at=NOON),
    )


def claim(records: Records, owner: str, run_id: str = "run") -> tuple[bool, Record | None]:
    locked_until = milliseconds(clock.now() + LOCK)
    return records.claim(run_id, owner, locked_until, job(run_id), follow=True)


def record(records: Records) -> Record:
    found = records.read("run")
    assert found is not None
    return found


def perform(records: Records, act: Callable[[Claim], Outcome]) -> Outcome:
    prepared = Prepared(perform=act, action_id="run", failure="it was not started", job=job())
    return Ledger(records).perform(prepared)


def due(records: Records) -> list[str]:
    return [record.id for page in records.due() for record in page]


# Claim


def test_an_unclaimed_action_is_claimed(records: Records) -> None:
    assert claim(records, "a") == (True, None)
    assert records.read("run") == Record(
        id="run",
        state=State.CLAIMED,
        owner="a",
        first_owner="a",
        locked_until=milliseconds(NOON + LOCK),
        expiration=int((NOON + MEMORY).timestamp()),
        job=job(),
        check_at=NOON + FIRST_CHECK,
        follower="a",
    )


def test_an_unclaimed_action_has_no_record(records: Records) -> None:
    assert records.read("run") is None


def test_a_lock_holds_until_its_end_plus_the_clock_tolerance(records: Records, time: Clock) -> None:
    claim(records, "a")
    claimed = record(records)
    time.advance(LOCK + TOLERANCE)

    assert claim(records, "b") == (False, claimed)
    assert record(records) == claimed


def test_a_claim_with_an_expired_lock_is_taken_over(records: Records, time: Clock) -> None:
    claim(records, "a")
    claimed = record(records)
    time.advance(LOCK + TOLERANCE + TICK)

    assert claim(records, "b") == (True, claimed)
    taken_over = record(records)
    assert (taken_over.state, taken_over.owner, taken_over.first_owner) == ("claimed", "b", "a")
    assert taken_over.locked_until == milliseconds(clock.now() + LOCK)
    assert taken_over.job == job()


def test_a_settled_action_is_not_claimed_again(records: Records, time: Clock) -> None:
    claim(records, "a")
    records.settle("run", "a", STARTED)
    time.advance(timedelta(days=1))

    is_mine, before = claim(records, "b")

    assert not is_mine
    assert before == record(records)
    assert (before.state, before.outcome, before.owner) == ("done", STARTED, "a")


def test_a_claim_repeated_by_its_owner_is_no_take_over(records: Records) -> None:
    claim(records, "a")
    claimed = record(records)

    assert claim(records, "a") == (True, claimed)
    assert claimed.first_owner == "a"
    assert record(records) == claimed


def test_a_take_over_repeated_by_its_owner_stays_a_take_over(records: Records, time: Clock) -> None:
    claim(records, "a")
    time.advance(LOCK + TOLERANCE + TICK)
    claim(records, "b")
    taken_over = record(records)

    assert claim(records, "b") == (True, taken_over)
    assert taken_over.first_owner == "a"


def test_a_claim_that_was_taken_over_is_not_taken_back(records: Records, time: Clock) -> None:
    """The record would name the first owner only, although another may have acted."""
    claim(records, "a")
    time.advance(LOCK + TOLERANCE + TICK)
    claim(records, "b")
    time.advance(LOCK + TOLERANCE + TICK)

    assert claim(records, "a") == (False, record(records))
    assert claim(records, "c")[0]


# Settle and release


def test_only_the_owner_settles(records: Records, time: Clock) -> None:
    claim(records, "a")
    time.advance(LOCK + TOLERANCE + TICK)
    claim(records, "b")
    taken_over = record(records)

    assert not records.settle("run", "a", STARTED)
    assert record(records) == taken_over
    assert records.settle("run", "b", STARTED)
    assert records.settle("run", "b", STARTED), "repeated, because the answer got lost"


def test_an_unclaimed_action_is_not_settled(records: Records) -> None:
    assert not records.settle("run", "a", STARTED)
    assert records.read("run") is None


def test_a_settled_record_expires_from_its_settlement(records: Records, time: Clock) -> None:
    claim(records, "a")
    time.advance(timedelta(seconds=40))
    records.settle("run", "a", STARTED)

    settled = record(records)
    assert settled.expiration == int((clock.now() + MEMORY).timestamp())
    assert settled.started_job.id == "7"


def test_a_claim_released_by_its_owner_leaves_no_record(records: Records) -> None:
    claim(records, "a")
    records.release("run", "a")
    records.release("run", "a")  # repeated, because the answer got lost

    assert records.read("run") is None
    assert claim(records, "b") == (True, None)


def test_only_the_owner_releases(records: Records) -> None:
    claim(records, "a")
    claimed = record(records)

    records.release("run", "b")

    assert record(records) == claimed


def test_a_settled_action_is_not_released(records: Records) -> None:
    claim(records, "a")
    records.settle("run", "a", STARTED)
    settled = record(records)

    records.release("run", "a")

    assert record(records) == settled


# Expiration


def test_an_expired_record_is_read_as_absent(records: Records, time: Clock) -> None:
    """DynamoDB may delete it days late."""
    claim(records, "a")
    records.settle("run", "a", STARTED)
    time.advance(MEMORY)
    assert records.read("run") is not None

    time.advance(timedelta(seconds=1))

    assert records.read("run") is None


def test_an_expired_record_can_be_claimed_once(records: Records, time: Clock) -> None:
    claim(records, "a")
    records.settle("run", "a", STARTED)
    records.close("run", EndingStatus.SUCCESS)
    time.advance(MEMORY + timedelta(seconds=1))

    assert [claim(records, owner)[0] for owner in ("b", "c")] == [True, False]
    claimed = record(records)
    assert (claimed.state, claimed.owner, claimed.outcome, claimed.ending) == ("claimed", "b", None, None)
    assert claimed.expiration == int((clock.now() + MEMORY).timestamp())


# Close


def test_a_run_that_has_ended_is_done_before_its_start_is_settled(records: Records, time: Clock) -> None:
    claim(records, "a")

    assert records.close("run", EndingStatus.SUCCESS) is None

    closed = record(records)
    assert (closed.state, closed.ending, closed.outcome) == ("done", EndingStatus.SUCCESS, None)
    time.advance(timedelta(hours=1))
    assert claim(records, "b") == (False, closed)
    assert due(records) == ["run"]  # it is followed until the ending has been handled


def test_a_run_whose_report_was_handled_is_checked_at_once(records: Records, time: Clock) -> None:
    claim(records, "a")
    records.close("run", EndingStatus.SUCCESS)
    assert (due(records), record(records).handled) == ([], None)

    records.mark_handled("run", EndingStatus.SUCCESS)

    assert (due(records), record(records).handled) == (["run"], EndingStatus.SUCCESS)


def test_a_report_does_not_make_a_run_followed_again(records: Records, time: Clock) -> None:
    claim(records, "a")
    records.unfollow("run")

    records.mark_handled("run", EndingStatus.SUCCESS)
    records.mark_handled("another", EndingStatus.SUCCESS)

    assert (due(records), record(records).check_at) == ([], None)
    assert records.read("another") is None


def test_a_closed_run_stays_closed_when_it_is_settled_or_released(records: Records, time: Clock) -> None:
    claim(records, "a")
    records.close("run", EndingStatus.FAILURE)
    records.unfollow("run")

    records.release("run", "a")
    assert records.settle("run", "a", STARTED)

    settled = record(records)
    assert (settled.state, settled.ending, settled.outcome, settled.check_at) == (
        "done",
        EndingStatus.FAILURE,
        STARTED,
        None,
    )
    time.advance(timedelta(hours=1))
    assert due(records) == []


@pytest.mark.parametrize("ending", [EndingStatus.SUCCESS, EndingStatus.FAILURE])
def test_a_run_is_closed_once(records: Records, ending: Any) -> None:
    claim(records, "a")
    records.settle("run", "a", STARTED)
    records.close("run", ending)
    closed = record(records)

    assert records.close("run", ending) == ending
    assert record(records) == closed


@pytest.mark.parametrize(
    ("first", "second"), [(EndingStatus.SUCCESS, EndingStatus.FAILURE), (EndingStatus.FAILURE, EndingStatus.SUCCESS)]
)
def test_a_run_closed_with_both_endings_has_failed(records: Records, first: Any, second: Any) -> None:
    claim(records, "a")
    records.close("run", first)

    assert records.close("run", second) == first
    assert record(records).ending == EndingStatus.FAILURE


def test_an_unknown_run_is_not_closed(records: Records) -> None:
    records.claim("no job", "a", milliseconds(clock.now() + LOCK))
    no_job = records.read("no job")

    assert records.close("run", EndingStatus.SUCCESS) is records.close("no job", EndingStatus.FAILURE) is None
    assert records.read("run") is None
    assert records.read("no job") == no_job


# Open jobs


def test_jobs_are_due_from_their_check_on_longest_waiting_first(records: Records, time: Clock) -> None:
    for run_id in ("b", "a", "c"):
        claim(records, "owner", run_id)
        time.advance(timedelta(minutes=1))
    records.claim("no job", "owner", 0)
    records.claim("not followed", "owner", 0, job("not followed"))
    assert due(records) == []

    time.advance(FIRST_CHECK - timedelta(minutes=2))

    assert due(records) == ["b", "a"]


def test_a_job_that_is_postponed_is_due_later(records: Records, time: Clock) -> None:
    claim(records, "a")
    time.advance(timedelta(hours=2))

    records.postpone(record(records))

    assert due(records) == []
    assert record(records).check_at == clock.now() + timedelta(minutes=30)
    time.advance(timedelta(minutes=30))
    assert due(records) == ["run"]


def test_a_run_that_was_found_is_adopted(records: Records) -> None:
    claim(records, "a")

    records.adopt(record(records), FOUND)

    assert record(records).started_job.id == "8"
    assert record(records).state == "done"


def test_a_closed_run_is_not_changed_by_a_sweep(records: Records) -> None:
    claim(records, "a")
    seen = record(records)
    records.close("run", EndingStatus.SUCCESS)
    records.unfollow("run")
    closed = record(records)

    records.postpone(seen)
    records.adopt(seen, FOUND)
    records.unfollow("run")
    records.unfollow("another")

    assert record(records) == closed
    assert records.read("another") is None


def test_an_unfollowed_job_is_followed_again_after_a_take_over(records: Records, time: Clock) -> None:
    claim(records, "a")
    records.unfollow("run")
    time.advance(timedelta(hours=2))
    assert due(records) == []

    is_mine, before = claim(records, "b")

    assert is_mine
    assert before is not None
    assert (before.first_owner, before.check_at) == ("a", None)
    assert record(records).check_at == clock.now() + FIRST_CHECK


def test_a_take_over_does_not_postpone_the_check(records: Records, time: Clock) -> None:
    claim(records, "a")
    time.advance(timedelta(minutes=1))

    claim(records, "b")

    assert record(records).check_at == NOON + FIRST_CHECK


# Perform


def test_a_take_over_gets_the_time_of_the_first_claim(records: Records, time: Clock) -> None:
    claim(records, "a")
    time.advance(timedelta(hours=1))
    claims: list[Claim] = []

    def act(claim: Claim) -> Outcome:
        claims.append(claim)
        return STARTED

    assert perform(records, act) == STARTED
    assert claims == [Claim(is_retry=True, since=NOON)]


def test_a_start_closed_before_its_settlement_counts_as_already_started(records: Records) -> None:
    claim(records, "a")
    records.close("run", EndingStatus.SUCCESS)

    outcome = perform(records, unexpected)

    assert outcome == {
        "action": "StartJob",
        "status": "already started",
        "builder": "JENKINS",
        "name": "provision",
    }


def test_an_overtaken_delivery_keeps_no_outcome(records: Records, time: Clock) -> None:
    def act(_: Claim) -> Outcome:
        time.advance(timedelta(minutes=2))
        Context().run(claim, records, "b")  # in a separate invocation
        return STARTED

    with pytest.raises(Unavailable, match="it took too long, and another delivery took over"):
        perform(records, act)

    assert (record(records).state, record(records).owner) == ("claimed", "b")


def unexpected(_: Claim) -> Outcome:
    raise AssertionError("it was performed twice")


# Requests to the table


def test_each_claim_is_one_request_and_a_take_over_two(table: DynamoDBRecords, aws: Requests, time: Clock) -> None:
    claims = []
    claims.append(claim(table, "a")[0])
    claims.append(claim(table, "b")[0])
    time.advance(LOCK + TOLERANCE + TICK)
    claims.append(claim(table, "b")[0])
    table.settle("run", "b", STARTED)
    claims.append(claim(table, "c")[0])

    assert claims == [True, False, True, False]
    assert aws.operations == [*["TransactWriteItems"] * 4, "UpdateItem", "TransactWriteItems"]


@pytest.fixture
def first_answers_lost(table: DynamoDBRecords) -> None:
    """Make the SDK send each request twice, as if the first answer had got lost."""

    def repeat_once(attempts: int, **_: Any) -> Any:  # a pause in seconds, or none
        return 0 if attempts == 1 else None

    table._table.client().meta.events.register_first("needs-retry", repeat_once)


@pytest.mark.usefixtures("first_answers_lost")
def test_lost_answers_of_the_table_make_no_retry(table: DynamoDBRecords, aws: Requests) -> None:
    claims: list[Claim] = []

    def act(claim: Claim) -> Outcome:
        claims.append(claim)
        return STARTED

    assert perform(table, act) == STARTED
    assert claims == [Claim()]
    assert aws.operations == ["UpdateItem"] * 4
    assert record(table).outcome == STARTED


@pytest.mark.usefixtures("first_answers_lost")
def test_a_take_over_whose_answer_got_lost_is_a_retry(table: DynamoDBRecords, time: Clock) -> None:
    claim(table, "a")
    time.advance(LOCK + TOLERANCE + TICK)
    claims: list[Claim] = []

    def act(claim: Claim) -> Outcome:
        claims.append(claim)
        return STARTED

    perform(table, act)

    assert claims == [Claim(is_retry=True, since=NOON)]


@pytest.mark.usefixtures("first_answers_lost")
def test_a_failure_without_effect_frees_the_lock_even_if_the_answer_got_lost(
    table: DynamoDBRecords, aws: Requests
) -> None:
    def act(_: Claim) -> Outcome:
        raise Unavailable("busy", ambiguous=False)

    with pytest.raises(Unavailable, match="busy"):
        perform(table, act)

    assert aws.operations == ["UpdateItem", "UpdateItem", "DeleteItem", "DeleteItem"]
    assert table.read("run") is None
