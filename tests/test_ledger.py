"""The ledger's operations, with the same results in a DynamoDB table and in memory."""

from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator import Unavailable
from orchestrator.action import Outcome
from orchestrator.aws.clients import Clients
from orchestrator.event import Start
from orchestrator.job import StartedJob
from orchestrator.ledger.ledger import Claim, Ledger
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.ledger.record import FIRST_CHECK, Record, milliseconds
from orchestrator.timing import clock
from tests.conftest import REGION, Requests

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MEMORY = timedelta(days=30)
LOCK = timedelta(seconds=50)
TOLERANCE = timedelta(seconds=2)
TICK = timedelta(milliseconds=1)
STARTED = Outcome(action="StartJob", status="started", builder="JENKINS", name="provision", id="7")


class Clock:
    """The time of day, which stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time

    def advance(self, time: timedelta) -> None:
        self.time += time


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    time = Clock()
    monkeypatch.setattr(clock, "now", time.now)
    return time


@pytest.fixture
def table(aws: Requests, time: Clock) -> Ledger:
    clients = Clients()
    return Ledger("idempotency", lambda: clients.get("dynamodb", REGION), MEMORY)


@pytest.fixture(params=["table", "memory"])
def ledger(request: pytest.FixtureRequest, time: Clock) -> Ledger:
    if request.param == "memory":
        return MemoryLedger(MEMORY)
    table: Ledger = request.getfixturevalue("table")
    return table


def job(run_id: str = "run") -> StartedJob:
    return StartedJob(
        builder="JENKINS",
        name="provision",
        run_id=run_id,
        id="",
        since=NOON,
        event_id="event",
        event_type="TENANT_PROVISIONING",
        tenant_id="acme",
        start=Start(event_id="event", at=NOON),
    )


def claim(ledger: Ledger, owner: str, run_id: str = "run") -> tuple[bool, Record | None]:
    locked_until = milliseconds(clock.now() + LOCK)
    return ledger.claim(run_id, owner, locked_until, job(run_id), follow=True)


def record(ledger: Ledger) -> Record:
    found = ledger.read("run")
    assert found is not None
    return found


def due(ledger: Ledger) -> list[str]:
    return [record.id for page in ledger.due() for record in page]


# Claim


def test_an_action_that_nobody_has_claimed_is_claimed(ledger: Ledger) -> None:
    assert claim(ledger, "a") == (True, None)
    assert ledger.read("run") == Record(
        id="run",
        state="claimed",
        owner="a",
        first_owner="a",
        locked_until=milliseconds(NOON + LOCK),
        expiration=int((NOON + MEMORY).timestamp()),
        job=job(),
        check_at=NOON + FIRST_CHECK,
    )


def test_nothing_is_read_of_an_action_that_nobody_has_claimed(ledger: Ledger) -> None:
    assert ledger.read("run") is None


def test_a_lock_holds_until_its_end_and_for_as_long_as_clocks_may_differ(ledger: Ledger, time: Clock) -> None:
    claim(ledger, "a")
    claimed = record(ledger)
    time.advance(LOCK + TOLERANCE)

    assert claim(ledger, "b") == (False, claimed)
    assert record(ledger) == claimed


def test_a_claim_whose_lock_is_over_is_taken_over(ledger: Ledger, time: Clock) -> None:
    claim(ledger, "a")
    claimed = record(ledger)
    time.advance(LOCK + TOLERANCE + TICK)

    assert claim(ledger, "b") == (True, claimed)
    taken_over = record(ledger)
    assert (taken_over.state, taken_over.owner, taken_over.first_owner) == ("claimed", "b", "a")
    assert taken_over.locked_until == milliseconds(clock.now() + LOCK)
    assert taken_over.job == job()


def test_a_settled_action_is_not_claimed_again(ledger: Ledger, time: Clock) -> None:
    claim(ledger, "a")
    ledger.settle("run", "a", STARTED)
    time.advance(timedelta(days=1))

    is_mine, before = claim(ledger, "b")

    assert not is_mine
    assert before == record(ledger)
    assert (before.state, before.outcome, before.owner) == ("done", STARTED, "a")


def test_a_claim_that_is_repeated_by_its_owner_is_no_take_over(ledger: Ledger) -> None:
    claim(ledger, "a")
    claimed = record(ledger)

    assert claim(ledger, "a") == (True, claimed)
    assert claimed.first_owner == "a"
    assert record(ledger) == claimed


def test_a_take_over_that_is_repeated_by_its_owner_stays_one(ledger: Ledger, time: Clock) -> None:
    claim(ledger, "a")
    time.advance(LOCK + TOLERANCE + TICK)
    claim(ledger, "b")
    taken_over = record(ledger)

    assert claim(ledger, "b") == (True, taken_over)
    assert taken_over.first_owner == "a"


def test_a_claim_that_was_taken_over_is_not_taken_back(ledger: Ledger, time: Clock) -> None:
    """The first owner would seem to be the only one, and nothing would say that another may have acted."""
    claim(ledger, "a")
    time.advance(LOCK + TOLERANCE + TICK)
    claim(ledger, "b")
    time.advance(LOCK + TOLERANCE + TICK)

    assert claim(ledger, "a") == (False, record(ledger))
    assert claim(ledger, "c")[0]


# Settle and release


def test_only_the_owner_settles(ledger: Ledger, time: Clock) -> None:
    claim(ledger, "a")
    time.advance(LOCK + TOLERANCE + TICK)
    claim(ledger, "b")
    taken_over = record(ledger)

    assert not ledger.settle("run", "a", STARTED)
    assert record(ledger) == taken_over
    assert ledger.settle("run", "b", STARTED)
    assert ledger.settle("run", "b", STARTED), "repeated, because the answer got lost"


def test_what_nobody_has_claimed_is_not_settled(ledger: Ledger) -> None:
    assert not ledger.settle("run", "a", STARTED)
    assert ledger.read("run") is None


def test_what_is_settled_is_remembered_from_then_on(ledger: Ledger, time: Clock) -> None:
    claim(ledger, "a")
    time.advance(timedelta(seconds=40))
    ledger.settle("run", "a", STARTED)

    settled = record(ledger)
    assert settled.expiration == int((clock.now() + MEMORY).timestamp())
    assert settled.started_job.id == "7"


def test_a_claim_that_its_owner_releases_has_never_been(ledger: Ledger) -> None:
    claim(ledger, "a")
    ledger.release("run", "a")
    ledger.release("run", "a")  # repeated, because the answer got lost

    assert ledger.read("run") is None
    assert claim(ledger, "b") == (True, None)


def test_only_the_owner_releases(ledger: Ledger) -> None:
    claim(ledger, "a")
    claimed = record(ledger)

    ledger.release("run", "b")

    assert record(ledger) == claimed


def test_what_is_settled_is_not_released(ledger: Ledger) -> None:
    claim(ledger, "a")
    ledger.settle("run", "a", STARTED)
    settled = record(ledger)

    ledger.release("run", "a")

    assert record(ledger) == settled


# Expiration


def test_an_expired_record_is_read_as_absent(ledger: Ledger, time: Clock) -> None:
    """DynamoDB deletes it up to some days late."""
    claim(ledger, "a")
    ledger.settle("run", "a", STARTED)
    time.advance(MEMORY)
    assert ledger.read("run") is not None

    time.advance(timedelta(seconds=1))

    assert ledger.read("run") is None


def test_an_expired_record_can_be_claimed_by_one(ledger: Ledger, time: Clock) -> None:
    claim(ledger, "a")
    ledger.settle("run", "a", STARTED)
    ledger.close("run", "SUCCESS")
    time.advance(MEMORY + timedelta(seconds=1))

    assert [claim(ledger, owner)[0] for owner in ("b", "c")] == [True, False]
    claimed = record(ledger)
    assert (claimed.state, claimed.owner, claimed.outcome, claimed.ending) == ("claimed", "b", None, None)
    assert claimed.expiration == int((clock.now() + MEMORY).timestamp())


# Close


def test_a_run_that_has_ended_is_done_before_its_start_is_settled(ledger: Ledger, time: Clock) -> None:
    claim(ledger, "a")

    assert ledger.close("run", "SUCCESS") is None

    closed = record(ledger)
    assert (closed.state, closed.ending, closed.outcome, closed.check_at) == ("done", "SUCCESS", None, None)
    time.advance(timedelta(hours=1))
    assert claim(ledger, "b") == (False, closed)
    assert due(ledger) == []


def test_what_is_closed_is_not_opened_by_settling_or_releasing_it(ledger: Ledger, time: Clock) -> None:
    claim(ledger, "a")
    ledger.close("run", "FAILURE")

    ledger.release("run", "a")
    assert ledger.settle("run", "a", STARTED)

    settled = record(ledger)
    assert (settled.state, settled.ending, settled.outcome, settled.check_at) == ("done", "FAILURE", STARTED, None)
    time.advance(timedelta(hours=1))
    assert due(ledger) == []


@pytest.mark.parametrize("ending", ["SUCCESS", "FAILURE"])
def test_a_run_is_closed_once(ledger: Ledger, ending: Any) -> None:
    claim(ledger, "a")
    ledger.settle("run", "a", STARTED)
    ledger.close("run", ending)
    closed = record(ledger)

    assert ledger.close("run", ending) == ending
    assert record(ledger) == closed


@pytest.mark.parametrize(("first", "second"), [("SUCCESS", "FAILURE"), ("FAILURE", "SUCCESS")])
def test_a_run_that_told_of_both_ends_has_failed(ledger: Ledger, first: Any, second: Any) -> None:
    claim(ledger, "a")
    ledger.close("run", first)

    assert ledger.close("run", second) == first
    assert record(ledger).ending == "FAILURE"


def test_a_run_that_is_not_known_is_not_closed(ledger: Ledger) -> None:
    ledger.claim("no job", "a", milliseconds(clock.now() + LOCK))
    no_job = ledger.read("no job")

    assert ledger.close("run", "SUCCESS") is ledger.close("no job", "FAILURE") is None
    assert ledger.read("run") is None
    assert ledger.read("no job") == no_job


# Open jobs


def test_jobs_are_due_from_their_check_on_and_those_first_that_wait_longest(ledger: Ledger, time: Clock) -> None:
    for run_id in ("b", "a", "c"):
        claim(ledger, "owner", run_id)
        time.advance(timedelta(minutes=1))
    ledger.claim("no job", "owner", 0)
    ledger.claim("not followed", "owner", 0, job("not followed"))
    assert due(ledger) == []

    time.advance(FIRST_CHECK - timedelta(minutes=2))

    assert due(ledger) == ["b", "a"]


def test_a_job_that_is_postponed_is_due_later(ledger: Ledger, time: Clock) -> None:
    claim(ledger, "a")
    time.advance(timedelta(hours=2))

    ledger.postpone(record(ledger))

    assert due(ledger) == []
    assert record(ledger).check_at == clock.now() + timedelta(minutes=30)
    time.advance(timedelta(minutes=30))
    assert due(ledger) == ["run"]


def test_a_run_that_was_found_is_adopted(ledger: Ledger) -> None:
    claim(ledger, "a")

    ledger.adopt(record(ledger), "8")

    assert record(ledger).started_job.id == "8"
    assert record(ledger).state == "claimed"


def test_what_is_not_open_is_not_changed_by_a_sweep(ledger: Ledger) -> None:
    claim(ledger, "a")
    seen = record(ledger)
    ledger.close("run", "SUCCESS")
    closed = record(ledger)

    ledger.postpone(seen)
    ledger.adopt(seen, "8")
    ledger.unfollow("run")
    ledger.unfollow("another")

    assert record(ledger) == closed
    assert ledger.read("another") is None


def test_a_job_that_is_not_followed_any_more_can_be_taken_over_and_is_followed_again(
    ledger: Ledger, time: Clock
) -> None:
    claim(ledger, "a")
    ledger.unfollow("run")
    time.advance(timedelta(hours=2))
    assert due(ledger) == []

    is_mine, before = claim(ledger, "b")

    assert is_mine
    assert before is not None
    assert (before.first_owner, before.check_at) == ("a", None)
    assert record(ledger).check_at == clock.now() + FIRST_CHECK


def test_a_take_over_does_not_postpone_the_check(ledger: Ledger, time: Clock) -> None:
    claim(ledger, "a")
    time.advance(timedelta(minutes=1))

    claim(ledger, "b")

    assert record(ledger).check_at == NOON + FIRST_CHECK


# Perform


def test_whoever_takes_over_learns_when_the_job_was_first_asked_for(ledger: Ledger, time: Clock) -> None:
    claim(ledger, "a")
    time.advance(timedelta(hours=1))
    claims: list[Claim] = []

    def act(claim: Claim) -> Outcome:
        claims.append(claim)
        return STARTED

    assert ledger.perform("run", "it was not started", act, job()) == STARTED
    assert claims == [Claim(is_retry=True, since=NOON)]


def test_a_start_whose_run_has_ended_before_it_was_settled_is_a_repeat(ledger: Ledger) -> None:
    claim(ledger, "a")
    ledger.close("run", "SUCCESS")

    outcome = ledger.perform("run", "it was not started", unexpected, job())

    assert outcome == {
        "action": "StartJob",
        "status": "already started",
        "builder": "JENKINS",
        "name": "provision",
    }


def test_whoever_was_overtaken_keeps_no_outcome(ledger: Ledger, time: Clock) -> None:
    def act(_: Claim) -> Outcome:
        time.advance(timedelta(minutes=2))
        Context().run(claim, ledger, "b")  # in an invocation of its own
        return STARTED

    with pytest.raises(Unavailable, match="it took so long that another delivery has taken over"):
        ledger.perform("run", "it was not started", act, job())

    assert (record(ledger).state, record(ledger).owner) == ("claimed", "b")


def unexpected(_: Claim) -> Outcome:
    raise AssertionError("it was performed twice")


# Requests to the table


def test_each_claim_is_one_request(table: Ledger, aws: Requests, time: Clock) -> None:
    claims = []
    claims.append(claim(table, "a")[0])
    claims.append(claim(table, "b")[0])
    time.advance(LOCK + TOLERANCE + TICK)
    claims.append(claim(table, "b")[0])
    table.settle("run", "b", STARTED)
    claims.append(claim(table, "c")[0])

    assert claims == [True, False, True, False]
    assert aws.operations == ["UpdateItem"] * 5


@pytest.fixture
def first_answers_lost(table: Ledger) -> None:
    """Let the SDK send each request a second time, as if the first answer had got lost."""

    def repeat_once(attempts: int, **_: Any) -> Any:  # a pause in seconds, or none
        return 0 if attempts == 1 else None

    table._client().meta.events.register_first("needs-retry", repeat_once)


@pytest.mark.usefixtures("first_answers_lost")
def test_an_action_is_no_retry_because_answers_of_the_table_got_lost(table: Ledger, aws: Requests) -> None:
    claims: list[Claim] = []

    def act(claim: Claim) -> Outcome:
        claims.append(claim)
        return STARTED

    assert table.perform("run", "it was not started", act, job()) == STARTED
    assert claims == [Claim()]
    assert aws.operations == ["UpdateItem"] * 4
    assert record(table).outcome == STARTED


@pytest.mark.usefixtures("first_answers_lost")
def test_a_take_over_is_a_retry_though_its_answer_got_lost(table: Ledger, time: Clock) -> None:
    claim(table, "a")
    time.advance(LOCK + TOLERANCE + TICK)
    claims: list[Claim] = []

    def act(claim: Claim) -> Outcome:
        claims.append(claim)
        return STARTED

    table.perform("run", "it was not started", act, job())

    assert claims == [Claim(is_retry=True, since=NOON)]


@pytest.mark.usefixtures("first_answers_lost")
def test_a_failure_that_certainly_did_nothing_frees_the_lock_though_the_answer_got_lost(
    table: Ledger, aws: Requests
) -> None:
    def act(_: Claim) -> Outcome:
        raise Unavailable("busy", ambiguous=False)

    with pytest.raises(Unavailable, match="busy"):
        table.perform("run", "it was not started", act, job())

    assert aws.operations == ["UpdateItem", "UpdateItem", "DeleteItem", "DeleteItem"]
    assert table.read("run") is None
