"""What only reads answers as what acts would."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import boto3
import pytest

from orchestrator.action import Outcome, OutcomeStatus
from orchestrator.aws.clients import Clients
from orchestrator.cli.account import Account
from orchestrator.cli.records import LedgerTable
from orchestrator.cli.rehearsal.ledger import ReadOnlyRecords
from orchestrator.errors import Unavailable
from orchestrator.event import Start
from orchestrator.job import Slot, StartedJob
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.ledger.gate import Overtaken
from orchestrator.ledger.record import milliseconds
from orchestrator.settings import Settings
from orchestrator.timing import clock
from tests.support.aws import REGION, Requests

NOW = clock.now()
OUTCOME = Outcome(action="StartJob", status=OutcomeStatus.STARTED, builder="CODE_BUILD", name="a", id="a:1")


def job(run_id: str, operation: str, minutes: int = 0, event_type: str = "TENANT_PROVISIONING") -> StartedJob:
    at = NOW + timedelta(minutes=minutes)
    return StartedJob(
        builder="CODE_BUILD",
        name="a",
        run_id=run_id,
        since=at,
        event_id=operation,
        event_type=event_type,
        tenant_id="t1",
        start=Start(event_id=operation, at=at),
        slot=Slot(name="ring 1", size=1),
    )


@pytest.fixture
def records(aws: Requests) -> DynamoDBRecords:
    return DynamoDBRecords("idempotency", partial(boto3.client, "dynamodb"), timedelta(days=30))


def claimed(records: DynamoDBRecords, started: StartedJob, *, seconds: int = 60) -> None:
    locked_until = milliseconds(clock.now() + timedelta(seconds=seconds))
    assert records.claim(started.run_id, "owner", locked_until, started, follow=True)[0]


def running(records: DynamoDBRecords) -> None:
    claimed(records, job("one", "first"))
    records.settle("one", "owner", OUTCOME)


def ended(records: DynamoDBRecords) -> None:
    running(records)
    records.unfollow("one")


def ended_but_still_in_the_lock(records: DynamoDBRecords) -> None:
    running(records)
    boto3.client("dynamodb").update_item(
        TableName="idempotency", Key={"id": {"S": "one"}}, UpdateExpression="REMOVE openJob, checkAt, follower"
    )


def being_started(records: DynamoDBRecords) -> None:
    claimed(records, job("one", "first"))


def in_doubt(records: DynamoDBRecords) -> None:
    claimed(records, job("one", "first"), seconds=-60)


def nothing(records: DynamoDBRecords) -> None:
    """Store nothing."""


@pytest.mark.parametrize(
    "before",
    [nothing, running, ended, ended_but_still_in_the_lock, being_started, in_doubt],
    ids=lambda one: one.__name__,
)
@pytest.mark.parametrize(
    "claim",
    [
        job("one", "first"),
        job("two", "first"),
        job("two", "second", minutes=1),
        job("two", "second", minutes=-1),
        job("two", "second", minutes=-1, event_type="TENANT_DEPROVISIONING"),
        replace(job("two", "second"), tenant_id="t2", slot=None),
        replace(job("two", "second"), tenant_id=None, slot=None),
        replace(job("two", "second"), tenant_id="t2"),
    ],
    ids=[
        "the same run",
        "same operation",
        "later",
        "earlier",
        "earlier of another type",
        "other tenant",
        "no tenant",
        "a slot",
    ],
)
def test_a_claim_is_foreseen(
    records: DynamoDBRecords, before: Callable[[DynamoDBRecords], None], claim: StartedJob
) -> None:
    before(records)
    settings = Settings(idempotency_table="idempotency", aws_region=REGION)
    table = LedgerTable(Account(settings=settings, clients=Clients()))
    foreseen = outcome(ReadOnlyRecords(records, table, locks_tenants=True), claim)

    assert foreseen == outcome(records, claim)


def outcome(records: DynamoDBRecords | ReadOnlyRecords, claim: StartedJob) -> object:
    """Claim a run; return what came of it."""
    locked_until = milliseconds(clock.now() + timedelta(seconds=60))
    try:
        is_mine, before = records.claim(claim.run_id, "another", locked_until, claim, follow=True)
    except Overtaken:
        return "overtaken"
    except Unavailable as error:
        return error.waits_for
    return is_mine, before and before.owner
