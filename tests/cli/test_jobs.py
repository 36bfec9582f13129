"""The jobs that are open, waiting, in doubt or overdue."""

from datetime import timedelta
from typing import Any

import boto3
import pytest

from orchestrator.timing import clock
from orchestrator.timing.clock import written
from tests.cli.conftest import SECRETS, TENANT_ID, Command, Deployment
from tests.support.events import sample


def test_a_job_that_runs_is_open_and_has_its_link(stack: Deployment, on_stack: Command) -> None:
    answer = stack.send(sample("tenant-provisioning"))

    (job,) = on_stack("jobs", "--json").json["jobs"]

    assert (job["states"], job["name"], job["tenantId"]) == (["open"], "premium-tenant-provisioning", TENANT_ID)
    assert job["link"] == answer["consumers"][0]["outcomes"][1]["link"]
    assert job["link"] in on_stack("jobs").out


def test_a_job_without_an_outcome_is_in_doubt(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))
    (run_id,) = stack.runs()
    stack.record(run_id, outcome=None, state="claimed", lockedUntil=1)

    (job,) = on_stack("jobs", "--json").json["jobs"]

    assert (job["states"], job["status"]) == (["in doubt"], "in doubt")


def test_a_job_that_is_being_started_at_this_moment_is_named_so(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))
    (run_id,) = stack.runs()
    stack.record(run_id, outcome=None, state="claimed")

    (job,) = on_stack("jobs", "--json").json["jobs"]

    assert (job["states"], job["status"]) == (["in doubt"], "being started")


def test_a_job_whose_ending_is_known_is_in_no_doubt(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))
    (run_id,) = stack.runs()
    stack.record(run_id, outcome=None, ending="SUCCESS", state="done")

    (job,) = on_stack("jobs", "--json").json["jobs"]

    assert (job["states"], job["status"]) == (["open"], "SUCCESS")


@pytest.mark.parametrize(("age", "states"), [(23, ["open"]), (25, ["open", "overdue"])])
def test_a_job_is_overdue_after_a_day(stack: Deployment, on_stack: Command, age: int, states: list[str]) -> None:
    stack.send(sample("tenant-provisioning", time=written(clock.now() - timedelta(hours=age))))

    (job,) = on_stack("jobs", "--json").json["jobs"]

    assert job["states"] == states


def test_a_job_that_has_ended_is_not_listed(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))
    (run_id,) = stack.runs()
    stack.record(run_id, openJob=None, checkAt=None)

    assert on_stack("jobs").out.splitlines()[0] == "no job is open"


def test_a_tenant_whose_event_waits_is_listed_with_the_reason(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))
    stack.send(sample("tenant-deprovisioning"))

    found = on_stack("jobs", "--json").json

    (waiting,) = found["waiting"]["tenants"]
    assert (waiting["tenantId"], waiting["waitingFor"]) == (TENANT_ID, "tenant busy")
    assert len(found["jobs"]) == 1


def test_a_tenant_whose_event_does_not_wait_is_not_listed(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))

    assert on_stack("jobs", "--json").json["waiting"]["tenants"] == []


def test_messages_that_wait_are_counted_and_not_received(
    stack: Deployment, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="waiting")["QueueUrl"]  # moto takes messages from the stack's queue at once
    monkeypatch.setenv("IDEMPOTENCY_TABLE", stack.account.names["IdempotencyTable"])
    monkeypatch.setenv("FAILURE_QUEUE_URL", stack.account.names["FailureQueue"])
    monkeypatch.setenv("WAITING_QUEUE_URL", url)
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    sqs.receive_message(QueueUrl=url, VisibilityTimeout=3600)
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    sqs.send_message(QueueUrl=url, MessageBody="{}", DelaySeconds=75)

    result = command("jobs", "--aws")

    assert "about 1 messages to be tried, 2 at work or waiting for their next try" in result.out
    assert "which events they hold cannot be seen without receiving them" in result.out
    assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1


def test_a_record_of_another_version_is_named_and_hides_no_other(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))
    stack.put("IdempotencyTable", {"id": "strange", "openJob": "open", "checkAt": "2026-01-01T00:00:00.000Z"})

    result = on_stack("jobs")

    assert "premium-tenant-provisioning" in result.out
    assert "record strange cannot be read" in result.err


def test_more_jobs_than_one_request_may_name_are_all_listed(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))
    copy_job(stack, 120)

    assert len(on_stack("jobs", "--json").json["jobs"]) == 121


def copy_job(stack: Deployment, number: int) -> None:
    dynamodb: Any = boto3.client("dynamodb")
    table = stack.account.names["IdempotencyTable"]
    (run_id,) = stack.runs()
    item = dynamodb.get_item(TableName=table, Key={"id": {"S": run_id}})["Item"]
    for place in range(number):
        dynamodb.put_item(TableName=table, Item={**item, "id": {"S": f"copy-{place}"}})


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_secrets_and_details_are_not_shown(stack: Deployment, on_stack: Command, form: list[str]) -> None:
    stack.send(sample("tenant-provisioning"))
    stack.send(sample("tenant-deprovisioning"))

    result = on_stack("jobs", *form)

    assert not [secret for secret in SECRETS if secret in result.out + result.err]
