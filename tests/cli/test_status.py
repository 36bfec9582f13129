"""A tenant's story, from the record and the ledger of a deployed stack."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from orchestrator.timing import clock
from tests.cli.conftest import SECRETS, TENANT_ID, Command, Deployment
from tests.support.events import sample
from tests.template.stack import STACK


def steps(story: Any) -> list[str]:
    return [step["step"] for step in story["steps"]]


def ended(stack: Deployment, event_type: str, **detail: Any) -> Any:
    """Send the event in which the tenant's one run reports its own ending."""
    (run_id,) = stack.runs()
    return stack.send_sample(event_type, ORCHESTRATOR_RUN_ID=run_id, CODEBUILD_BUILD_ID=stack.build(run_id), **detail)


def test_a_provisioning_is_an_event_and_a_job_with_its_link(stack: Deployment, on_stack: Command) -> None:
    answer = stack.send(sample("tenant-provisioning"))

    story = on_stack("status", TENANT_ID, "--json").json

    assert steps(story) == ["event", "job", "status"]
    event, job, status = story["steps"]
    assert (event["eventType"], event["eventId"]) == ("TENANT_PROVISIONING", answer["eventId"])
    assert (job["name"], job["status"]) == ("premium-tenant-provisioning", "running")
    assert job["link"] == answer["consumers"][0]["outcomes"][1]["link"]
    assert job["link"] in on_stack("status", TENANT_ID).out
    assert status["status"] == "PROVISIONING"


def test_an_ending_is_followed_by_what_it_led_to(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))
    ended(stack, "tenant-provisioning-success")

    story = on_stack("status", TENANT_ID, "--json").json

    assert steps(story) == ["event", "job", "ending", "event", "status"]
    assert story["steps"][2]["status"] == "SUCCESS"
    assert story["steps"][3]["eventType"] == "TENANT_DEPLOYMENT"


def test_a_webhook_is_shown_with_its_host_and_status(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))
    ended(stack, "tenant-provisioning-failure")

    story = on_stack("status", TENANT_ID, "--json").json

    (webhook,) = [step for step in story["steps"] if step["step"] == "webhook"]
    assert (webhook["status"], webhook["host"]) == ("sent", "127.0.0.1")
    assert len(stack.plane.requests) == 1


def test_a_webhook_that_was_not_sent_is_shown_with_the_reason(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))
    stack.put("TenantRecordsTable", {"tenantId": TENANT_ID, "status": "PROVISIONING", "statusWebhook": "no address"})

    out = on_stack("status", TENANT_ID).out

    assert "webhook  not accepted: no address" in out


def test_a_second_event_of_a_busy_tenant_is_shown_to_wait_for_the_first(stack: Deployment, on_stack: Command) -> None:
    first = stack.send(sample("tenant-provisioning"))
    stack.send(sample("tenant-deprovisioning"))

    wait = on_stack("status", TENANT_ID, "--json").json["steps"][-1]

    assert wait == {"at": None, "step": "wait", "reason": "tenant busy", "heldBy": first["eventId"]}
    assert f"wait     for a job of event {first['eventId']}: tenant busy" in on_stack("status", TENANT_ID).out


def test_a_job_of_which_nobody_knows_whether_it_started_is_in_doubt(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))
    (run_id,) = stack.runs()
    stack.record(run_id, outcome=None, state="claimed", lockedUntil=1)

    job = on_stack("status", TENANT_ID, "--json").json["steps"][1]

    assert (job["status"], job["at"]) == ("in doubt", None)


def test_a_step_has_the_time_at_which_it_was_stored(
    stack: Deployment, on_stack: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = (datetime.now(UTC) + timedelta(minutes=7)).replace(microsecond=0)
    event = sample("tenant-provisioning")
    monkeypatch.setattr(clock, "now", lambda: later)
    stack.send(event)

    story = on_stack("status", TENANT_ID, "--json").json

    (job,) = [step for step in story["steps"] if step["step"] == "job"]
    assert datetime.fromisoformat(job["at"]) == later


def test_the_story_is_told_line_by_line(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))

    lines = on_stack("status", TENANT_ID).out.splitlines()

    assert lines[0].startswith(f"tenant {TENANT_ID}: PROVISIONING since 20")
    assert lines[0].endswith(", tier PREMIUM")
    assert [line[26:33].strip() for line in lines[1:]] == ["event", "job", "status"]


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_secrets_and_details_are_not_shown(stack: Deployment, on_stack: Command, form: list[str]) -> None:
    stack.send(sample("tenant-provisioning"))

    result = on_stack("status", TENANT_ID, *form)

    assert not [secret for secret in SECRETS if secret in result.out + result.err]


def test_an_attribute_that_is_not_about_the_status_is_not_shown(stack: Deployment, on_stack: Command) -> None:
    stack.put("TenantRecordsTable", {"tenantId": TENANT_ID, "status": "DEPLOYED", "other": "do-not-tell"})

    assert on_stack("status", TENANT_ID, "--json").json["record"] == {"tenantId": TENANT_ID, "status": "DEPLOYED"}


def test_a_text_of_the_record_cannot_move_the_cursor(stack: Deployment, on_stack: Command) -> None:
    stack.put("TenantRecordsTable", {"tenantId": TENANT_ID, "status": "X", "statusReason": "a\x1b[2Jb"})

    assert "a\\x1b[2Jb" in on_stack("status", TENANT_ID).out


def test_a_tenant_that_nobody_knows_is_an_error(stack: Deployment, on_stack: Command) -> None:
    result = on_stack("status", "nobody")

    assert (result.code, result.out) == (1, "")
    assert result.err == (
        f"orchestrator: UnknownTenant: tenant 'nobody' has no record and no job in stack {STACK} in eu-west-1; "
        "check its id, and whether its events are among `orchestrator failures`\n"
    )


def test_reading_changes_nothing(stack: Deployment, on_stack: Command) -> None:
    stack.send(sample("tenant-provisioning"))
    before = contents(stack)

    on_stack("status", TENANT_ID)

    assert contents(stack) == before


def contents(stack: Deployment) -> str:
    dynamodb = boto3.client("dynamodb")
    tables = ("TierDetailsTable", "TenantRecordsTable", "IdempotencyTable")
    found = [dynamodb.scan(TableName=stack.account.names[table])["Items"] for table in tables]
    return json.dumps(found, default=str, sort_keys=True)
