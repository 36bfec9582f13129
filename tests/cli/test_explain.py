"""What would become of an event, and why."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore import handlers

from orchestrator import (
    Application,
    Ended,
    EndingEvent,
    Event,
    InvalidEvent,
    Registry,
    StartJob,
    create_handler,
)
from orchestrator.cli.explanation import explain, text
from orchestrator.cli.load import load_application
from orchestrator.cli.rehearsal.guard import Guard, WouldWrite
from orchestrator.intake.eventbridge import BUS_REPLAY
from orchestrator.lifecycle import endings
from orchestrator.local import environment
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.messages import sent_now
from orchestrator.local.recorder import jenkins_variables, recorded
from orchestrator.timing import clock
from orchestrator.timing.clock import written
from tests.cli.conftest import SECRETS, TENANT_ID, Command, Deployment, Result
from tests.smoke.account import client
from tests.support.aws import Requests, published
from tests.support.endings import as_report
from tests.support.events import EVENTS, as_event, changed, invoke, sample, state_change, with_metadata
from tests.support.messages import connector_record, record
from tests.template.stack import STACK

OWN = """
import boto3
from orchestrator import Event, PublishEvent, Registry, SendCallback, StartJob, create_handler
from orchestrator.action import FromAnswer

registry = Registry()

@registry.consumer("TENANT_SUSPENDED", when=lambda event: event.detail["tier"] == "PREMIUM")
async def suspend(event: Event) -> StartJob:
    return StartJob(name="own", variables={"password": 9, "size": "large", "count": 3, "phone": 491701234567})

@registry.consumer("TENANT_SUSPENDED", when=lambda event: event.detail["tier"] == "BASIC")
def lock(event: Event) -> StartJob:
    return StartJob(name="own")

@registry.consumer("TENANT_ASKED")
def ask(event: Event) -> list:
    first = SendCallback(url="https://a.example.com/x", body={}, secret="do-not-tell", keeps=["id"])
    then = SendCallback(url="https://a.example.com/do-not-tell", body={"id": FromAnswer("id")}, secret="do-not-tell")
    return [first, then, PublishEvent(type="TENANT_SUSPENDED", detail={"a": "do-not-tell"}, source="mine")]

@registry.consumer("TENANT_BROKEN")
def broken(event: Event) -> None:
    raise KeyError("do-not-tell")

@registry.consumer("TENANT_WRITING")
def writing(event: Event) -> None:
    boto3.client("sqs").create_queue(QueueName="q")

@registry.consumer("TENANT_IDLE")
def idle(event: Event) -> None:
    return None

lambda_handler = create_handler(registry)
"""


@pytest.fixture(autouse=True)
def _fresh_handler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    for module in ("orchestrator.handler", "own"):
        monkeypatch.delitem(sys.modules, module, raising=False)


@pytest.fixture
def explained(command: Command, tmp_path: Path) -> Callable[..., Result]:
    """Explain an event: by default, against the emulation."""

    def run(event: Any, *options: str) -> Result:
        file = tmp_path / "event.json"
        file.write_text(json.dumps(event))
        return command("explain", *options, str(file))

    return run


@pytest.fixture
def on_stack(explained: Callable[..., Result]) -> Callable[..., Any]:
    """Explain an event against the stack; returns the JSON."""

    def run(event: Any) -> Any:
        result = explained(event, "--stack", STACK, "--json")
        assert (result.code, result.err) == (0, "")
        return result.json

    return run


@pytest.fixture
def own(tmp_path: Path, explained: Callable[..., Result]) -> Callable[..., Result]:
    """Explain an event to a handler of somebody's own."""
    (tmp_path / "own.py").write_text(OWN)

    def run(event_type: str, *options: str, **detail: Any) -> Result:
        event = {**sample("tenant-provisioning"), "detail-type": event_type, "detail": detail}
        return explained(event, "--handler", "own:lambda_handler", *options)

    return run


def actions(found: Any) -> list[Any]:
    (consumer,) = found["consumers"]
    listed: list[Any] = consumer["actions"]
    return listed


# The text


def test_a_provisioning_is_explained_in_about_thirty_lines(explained: Callable[..., Result]) -> None:
    result = explained(sample("tenant-provisioning"))

    lines = result.out.splitlines()
    assert (result.code, result.err) == (0, "")
    assert len(lines) < 35
    assert max(map(len, lines)) <= 120
    assert "start_provisioning_job takes it: it takes every event of this type" in lines
    assert "  tier PREMIUM: named by the event, its details are from table tier-details" in lines
    assert "  1. would save the tenant record: status PROVISIONING and 5 more attributes" in lines
    job = "CODE_BUILD job premium-tenant-provisioning (jobName of tier PREMIUM; build system from the event)"
    assert f"  2. would start {job}" in lines
    assert "     when the run has ended: TENANT_PROVISIONING_SUCCESS or TENANT_PROVISIONING_FAILURE" in lines
    assert any(line.split() == ["instanceSize", "large", "tier"] for line in lines)
    assert any(line.split() == ["INSTANCE_COUNT", "3", "event"] for line in lines)
    assert any(line.split() == ["secret", "…", "event"] for line in lines)
    assert lines[-1] == "the event would be handled"


def test_several_events_have_headings(command: Command) -> None:
    files = [str(EVENTS / "tenant-provisioning.json"), str(EVENTS / "tenant-deployment.json")]

    out = command("explain", *files).out

    assert [line for line in out.splitlines() if line.startswith("==")] == [f"== {file}" for file in files]


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_secrets_and_details_are_not_shown(command: Command, form: list[str]) -> None:
    result = command("explain", *form, str(EVENTS))

    assert (result.code, result.err) == (0, "")
    for secret in (*SECRETS, "acme.example.com", "Müller", "1 Example Street"):
        assert secret not in result.out


def test_a_value_is_shown_only_if_it_is_a_number_or_of_the_tier(own: Callable[..., Result]) -> None:
    (job,) = [one for one in own("TENANT_SUSPENDED", "--json", tier="PREMIUM").json["consumers"] if one["takes"]]

    shown = {one["name"]: (one["value"], one["from"]) for one in job["actions"][0]["variables"]}
    assert shown["password"] == (None, "consumer")
    assert shown["size"] == (None, "consumer")
    assert shown["phone"] == (None, "consumer")
    assert shown["count"] == ("3", "consumer")
    assert shown["ORCHESTRATOR_EVENT_TYPE"] == ("TENANT_SUSPENDED", "function")


def test_an_address_in_a_tier_is_shown_without_its_path(stack: Deployment, on_stack: Callable[..., Any]) -> None:
    tier = {
        "tier": "PREMIUM",
        "jobName": "premium-tenant-provisioning",
        "HOOK": "https://a.example.com/do-not-tell?x=1",
    }
    stack.put("TierDetailsTable", tier)

    start = actions(on_stack(sample("tenant-provisioning")))[1]

    assert [one["value"] for one in start["variables"] if one["name"] == "HOOK"] == ["https://a.example.com/…"]


# Which consumers take it


def test_each_condition_is_said_to_be_true_or_false(own: Callable[..., Result]) -> None:
    lines = own("TENANT_SUSPENDED", tier="PREMIUM").out.splitlines()

    assert "suspend takes it: its condition event.detail['tier'] == 'PREMIUM' is true" in lines
    assert "lock does not take it: its condition event.detail['tier'] == 'BASIC' is false" in lines


def test_a_condition_that_fails_is_named_without_its_data(own: Callable[..., Result]) -> None:
    result = own("TENANT_SUSPENDED")

    assert "suspend fails before it decides: its condition failed, ConsumerFailed: " in result.out
    assert "raised KeyError in <lambda>, own.py line 8" in " ".join(result.out.split())
    assert "the event would fail" in result.out


def test_an_event_that_no_condition_admits_is_not_taken(own: Callable[..., Result]) -> None:
    assert own("TENANT_SUSPENDED", tier="GOLD").out.splitlines()[-1].startswith("no consumer takes the event")


def test_a_type_without_a_consumer_is_told_from_the_known_ones(explained: Callable[..., Result]) -> None:
    out = explained(sample("tenant-provisioning", **{"detail-type": "TENANT_UNKNOWN"})).out

    assert "no consumer is registered for this type; registered are: TENANT_PROVISIONING," in out
    assert out.splitlines()[-1].startswith("no consumer takes the event")


def test_a_sweep_is_said_to_check_and_to_publish_once(explained: Callable[..., Result]) -> None:
    out = explained(sample("scheduled-sweep")).out

    assert "  1. would check the runs that are due (1), and publish 1 of their endings" in out.splitlines()


def test_a_consumer_that_raises_is_named_with_its_line_and_without_its_text(own: Callable[..., Result]) -> None:
    out = own("TENANT_BROKEN").out

    assert "broken takes it: it takes every event of this type" in out
    assert "  it would fail: ConsumerFailed: consumer 'broken' raised KeyError in broken, own.py line 24;" in out
    assert "do-not-tell" not in out


def test_a_consumer_that_decides_on_nothing_is_said_to_do_nothing(own: Callable[..., Result]) -> None:
    assert "  it would do nothing" in own("TENANT_IDLE").out.splitlines()


def test_a_registry_can_be_explained_as_well(own: Callable[..., Result], explained: Callable[..., Result]) -> None:
    event = {**sample("tenant-provisioning"), "detail-type": "TENANT_IDLE", "detail": {}}

    assert own("TENANT_IDLE").out == explained(event, "--handler", "own:registry").out


# What it would do


def test_callbacks_and_events_are_listed_in_order(own: Callable[..., Result]) -> None:
    result = own("TENANT_ASKED", "--json")

    assert [(one["action"], one["outcome"]) for one in actions(result.json)] == [
        ("SendCallback", "sent"),
        ("SendCallback", "sent"),
        ("PublishEvent", "published"),
    ]
    assert [one["host"] for one in result.json["callbacks"]] == ["a.example.com"] * 2
    (event,) = result.json["published"]
    assert (event["eventType"], event["detail"], event["takenBy"]) == ("TENANT_SUSPENDED", ["a"], ["suspend", "lock"])
    assert "do-not-tell" not in result.out


def test_a_refused_action_ends_it_before_anything_is_done(stack: Deployment, on_stack: Callable[..., Any]) -> None:
    stack.put("TierDetailsTable", {"tier": "PREMIUM", "jobName": "not a name!"})

    found = on_stack(sample("tenant-provisioning"))

    save, start = actions(found)
    assert (save["outcome"], start["outcome"], start["error"]) == ("not reached", "fails", "JobRejected")
    assert found["verdict"] == "fails"
    assert [event["eventType"] for event in found["published"]] == ["TENANT_PROVISIONING_FAILURE"]


def test_an_unknown_tier_is_the_consumers_failure(explained: Callable[..., Result]) -> None:
    out = explained(changed(sample("tenant-provisioning"), "detail.planConfig.tier", "GOLD")).out

    assert "it would fail: ConfigurationError: tier 'GOLD' is not in table tier-details" in out
    assert "  the function would publish TENANT_PROVISIONING_FAILURE with this reason" in out.splitlines()


def test_the_settings_that_mattered_are_named(explained: Callable[..., Result]) -> None:
    settings = explained(sample("tenant-provisioning-failure"), "--json").json["settings"]

    assert settings["DATA_STORE_TABLE"] == "tenant-records"
    assert settings["CALLBACK_ALLOWED_HOSTS"] == ".example.com"
    assert settings["REQUIRE_RUN_ID"] == "false"
    assert settings["CALLBACK_URL"] is None
    assert "JENKINS_URL" not in settings
    assert "DEPROVISIONING_WEBHOOK_TYPE" not in settings


def test_a_setting_that_only_a_consumer_reads_is_named(explained: Callable[..., Result]) -> None:
    assert (
        "DEPROVISIONING_WEBHOOK_TYPE" in explained(sample("tenant-deprovisioning-success"), "--json").json["settings"]
    )


# A declared ending


def order(ended: Ended) -> dict[str, Any]:
    return {"order": ended.kept["order"]}


FROZEN = EndingEvent(success="Tenant frozen", failure="Freezing failed", source="own", detail=order, keeps=["order"])


@pytest.fixture
def freezer(codebuild: CodeBuildServer) -> Application:
    registry = Registry()
    registry.include(endings.registry)

    @registry.consumer("Freeze tenant", ending=FROZEN)
    def freeze(event: Event) -> StartJob:
        return StartJob(name="premium-tenant-provisioning")

    @registry.consumer("Tenant frozen")
    def note(event: Event) -> None:
        return None

    return create_handler(registry)


FREEZE = sample(
    "tenant-provisioning", **{"detail-type": "Freeze tenant", "detail": {"tenantId": TENANT_ID, "order": "o-1"}}
)


def test_the_declared_types_are_what_follows_from_a_job(freezer: Application) -> None:
    (found,) = explain(freezer, FREEZE)

    assert actions(found)[0]["followedBy"] == ["Tenant frozen", "Freezing failed"]
    assert "     when the run has ended: Tenant frozen or Freezing failed" in text.lines(found)


def test_a_failure_to_start_the_job_is_explained_as_the_declared_event(freezer: Application) -> None:
    freezer.registry.remove("freeze")

    @freezer.registry.consumer("Freeze tenant", ending=FROZEN)
    def freeze(event: Event) -> StartJob:
        raise InvalidEvent("no tenant")

    (found,) = explain(freezer, FREEZE)

    assert found["consumers"][0]["publishesFailure"] == {"eventType": "Freezing failed", "outcome": "published"}
    assert [(one["eventType"], one["source"]) for one in found["published"]] == [("Freezing failed", "own")]


def test_a_declared_ending_is_explained_as_it_happens(
    freezer: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    invoke(freezer, FREEZE)
    codebuild.finish(codebuild.builds[0])
    change = state_change(codebuild.builds[0])

    (found,) = explain(freezer, change)
    invoke(freezer, change)
    (entry,) = published(aws)
    (then,) = explain(freezer, as_event(entry))

    (foreseen,) = found["published"]
    assert (foreseen["eventType"], foreseen["source"]) == (entry["DetailType"], entry["Source"])
    assert (foreseen["detail"], foreseen["takenBy"]) == (sorted(json.loads(entry["Detail"])), ["note"])
    assert (then["verdict"], then["isAboutRun"], then["run"]["isKnown"]) == ("handled", True, True)
    assert then["operation"] == FREEZE["id"]


# Events that are refused or ignored


def test_an_invalid_event_is_refused_in_one_line(explained: Callable[..., Result]) -> None:
    result = explained({"detail": 7})

    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "the function would refuse this event: InvalidEvent: event: detail is a number; it must be a JSON object\n"
    )


def test_a_detail_that_does_not_fit_is_the_consumers_failure(explained: Callable[..., Result]) -> None:
    out = explained(changed(sample("tenant-provisioning"), "detail.tenant", ...)).out

    assert "start_provisioning_job fails before it decides: InvalidEvent: " in out


def test_a_file_that_cannot_be_read_is_an_error_in_one_line(command: Command, tmp_path: Path) -> None:
    result = command("explain", "missing.json")

    assert (result.code, result.out) == (1, "")
    assert result.err == "orchestrator: missing.json: InvalidEvent: cannot be read: No such file or directory\n"


def test_an_ending_of_a_run_that_is_not_ours_is_ignored(stack: Deployment, on_stack: Callable[..., Any]) -> None:
    event = sample("tenant-provisioning-success")

    found = on_stack(changed(event, "detail.ORCHESTRATOR_RUN_ID", "f" * 32))

    assert (found["verdict"], found["reason"]) == ("ignored", "the ledger has no record of that run")
    assert found["run"] == {"runId": "f" * 32, "isKnown": False}


def test_an_ending_of_our_run_is_believed(stack: Deployment, on_stack: Callable[..., Any]) -> None:
    started = stack.send(sample("tenant-provisioning"))
    (run_id,) = stack.runs()
    event = changed(sample("tenant-provisioning-success"), "detail.ORCHESTRATOR_RUN_ID", run_id)
    event = changed(event, "detail.CODEBUILD_BUILD_ID", stack.build(run_id))

    found = on_stack(event)

    assert (found["run"]["isKnown"], found["run"]["eventId"]) == (True, started["eventId"])
    assert found["operation"] == started["eventId"]
    assert [one["eventType"] for one in found["published"]] == ["TENANT_DEPLOYMENT"]


# What is known already


def test_a_job_that_was_started_is_not_started_again(stack: Deployment, on_stack: Callable[..., Any]) -> None:
    event = sample("tenant-provisioning")
    answer = stack.send(event)

    save, start = actions(on_stack(event))

    assert (save["outcome"], save["reason"]) == ("skipped", "an earlier delivery of this event wrote the record")
    assert start["outcome"] == "already started"
    assert (start["ledger"]["state"], start["ledger"]["run"]) == ("done", "running")
    assert start["ledger"]["link"] == answer["consumers"][0]["outcomes"][1]["link"]


def test_a_job_that_another_delivery_is_starting_is_left_to_it(stack: Deployment, on_stack: Callable[..., Any]) -> None:
    event = sample("tenant-provisioning")
    stack.send(event)
    (run_id,) = stack.runs()
    stack.record(run_id, outcome=None, state="claimed")

    found = on_stack(event)

    start = actions(found)[1]
    assert (start["ledger"]["state"], start["outcome"], start["error"]) == ("being performed", "fails", "Unavailable")
    assert "another delivery of the event is performing it" in start["reason"]


def test_a_job_in_doubt_is_searched_for(stack: Deployment, on_stack: Callable[..., Any]) -> None:
    event = sample("tenant-provisioning")
    stack.send(event)
    (run_id,) = stack.runs()
    stack.record(run_id, outcome=None, state="claimed", lockedUntil=1)

    start = actions(on_stack(event))[1]

    assert start["ledger"]["state"] == "in doubt"
    assert start["outcome"] == "started"  # moto's CodeBuild keeps no variables, so no run is found


def test_a_run_that_a_search_finds_is_not_started_again(
    handler: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    event = sample("tenant-provisioning")
    invoke(handler, event)
    (item,) = boto3.client("dynamodb").scan(TableName="idempotency", IndexName="open-jobs")["Items"]
    dynamodb: Any = boto3.client("dynamodb")
    dynamodb.update_item(
        TableName="idempotency",
        Key={"id": item["id"]},
        UpdateExpression="SET #state = :claimed, lockedUntil = :past REMOVE outcome",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":claimed": {"S": "claimed"}, ":past": {"N": "1"}},
    )

    (found,) = explain(handler, event)

    assert actions(found)[1]["outcome"] == "already started"
    assert len(codebuild.builds) == 1


def test_a_job_waits_for_that_of_another_event(stack: Deployment, on_stack: Callable[..., Any]) -> None:
    first = stack.send(sample("tenant-provisioning"))

    found = on_stack(sample("tenant-deprovisioning"))

    assert found["verdict"] == "waits"
    assert found["tenantLock"]["operation"] == first["eventId"]
    assert [run["name"] for run in found["tenantLock"]["runs"]] == ["premium-tenant-provisioning"]
    assert (actions(found)[1]["outcome"], actions(found)[1]["reason"]) == ("waiting", "tenant busy")


def test_the_text_says_what_a_busy_tenant_is_busy_with(stack: Deployment, explained: Callable[..., Result]) -> None:
    first = stack.send(sample("tenant-provisioning"))["eventId"]

    lines = explained(sample("tenant-deprovisioning"), "--stack", STACK).out.splitlines()

    job = f"CODE_BUILD job premium-tenant-provisioning, running, for TENANT_PROVISIONING {first}"
    assert f"  locked by a job of event {first}: {job}" in lines
    assert lines[-1] == "the event would wait in its queue, and be tried again"


def test_without_a_waiting_queue_a_busy_tenants_event_fails(
    stack: Deployment, explained: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.send(sample("tenant-provisioning"))
    for setting, resource in (
        ("IDEMPOTENCY_TABLE", "IdempotencyTable"),
        ("DATA_STORE_TABLE", "TenantRecordsTable"),
        ("TIER_DETAILS_TABLE", "TierDetailsTable"),
    ):
        monkeypatch.setenv(setting, stack.account.names[resource])

    found = explained(sample("tenant-deprovisioning"), "--aws", "--json").json

    assert (found["verdict"], actions(found)[1]["error"]) == ("fails", "Unavailable")
    assert found["settings"]["WAITING_QUEUE_URL"] is None


def test_an_event_that_waits_already_is_said_to(stack: Deployment, on_stack: Callable[..., Any]) -> None:
    stack.send(sample("tenant-provisioning"))
    waiting = sample("tenant-deprovisioning")
    stack.send(waiting)

    found = on_stack(waiting)

    assert actions(found)[1]["ledger"] == {"state": "waiting", "for": "tenant busy"}
    assert found["tenant"]["waitingFor"] == "tenant busy"


def test_an_event_before_the_tenants_present_operation_is_superseded(
    stack: Deployment, on_stack: Callable[..., Any]
) -> None:
    stack.send(sample("tenant-provisioning"))
    late = sample("tenant-provisioning", id="late", time=written(clock.now() - timedelta(hours=2)))

    save, start = actions(on_stack(late))

    assert (save["outcome"], start["outcome"]) == ("superseded", "not reached")
    assert save["reason"] == "a later event began another operation for the tenant"


def test_a_record_of_another_version_is_named(stack: Deployment, on_stack: Callable[..., Any]) -> None:
    event = sample("tenant-provisioning")
    stack.send(event)
    (run_id,) = stack.runs()
    stack.record(run_id, state="of another version")

    found = on_stack({**event, "time": written(clock.now())})

    assert actions(found)[1]["ledger"]["state"] == "unreadable"
    assert (found["verdict"], actions(found)[1]["error"]) == ("fails", "Unavailable")


def test_a_tenant_id_that_no_table_can_hold_is_the_consumers_failure(
    stack: Deployment, on_stack: Callable[..., Any]
) -> None:
    found = on_stack(changed(sample("tenant-provisioning"), "detail.tenant.id", "x" * 3000))

    assert (found["verdict"], actions(found)[0]["error"]) == ("fails", "InvalidEvent")


def test_a_published_failure_is_raised_again(stack: Deployment, on_stack: Callable[..., Any]) -> None:
    event = changed(sample("tenant-provisioning"), "detail.planConfig.tier", "GOLD")
    event["time"] = written(clock.now() - timedelta(minutes=2))
    stack.send(event)

    (consumer,) = on_stack(event)["consumers"]

    assert (consumer["takes"], consumer["error"]) == (False, "ConfigurationError")
    assert consumer["publishesFailure"]["outcome"] == "already published"


# How it is delivered


def test_an_event_older_than_the_ledgers_records_is_searched_for(
    stack: Deployment, explained: Callable[..., Result]
) -> None:
    old = sample("tenant-provisioning", time=written(clock.now() - timedelta(days=40)))

    lines = explained(old, "--stack", STACK).out.splitlines()

    assert "  40 days old, so it may be a repeat: the ledger is asked what was done before" in lines
    assert any("older than the ledger keeps its records" in line for line in lines)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"replay-name": "after-the-outage"}, "sent again by the replay after-the-outage"),
        ({"replay-name": BUS_REPLAY}, "sent again by a replay of a custom event bus"),
        ({"time": "2100-01-01T00:00:00Z"}, "its time is in the future"),
    ],
    ids=["replay", "replay of a bus", "future"],
)
def test_how_an_event_comes_is_noted(explained: Callable[..., Result], change: dict[str, str], note: str) -> None:
    assert note in explained(sample("tenant-provisioning", **change)).out


def test_a_record_of_a_failed_invocation_counts_as_sent_again(explained: Callable[..., Result]) -> None:
    wrapped = {"requestContext": {"condition": "RetriesExhausted"}, "requestPayload": sample("tenant-provisioning")}

    assert "sent again by a person" in explained(wrapped).out


def test_each_message_of_a_batch_is_explained(explained: Callable[..., Result]) -> None:
    batch = [
        record(sample("tenant-provisioning"), 1),
        connector_record("TENANT_PROVISIONING", sample("tenant-provisioning-subscription")["detail"], 2),
        record("not JSON", 3),
    ]

    result = explained({"Records": batch}, "--json")

    found = [json.loads(line) for line in result.out.splitlines()]
    assert [one["messageId"] for one in found] == ["message-1", "message-2", "message-3"]
    assert [one["verdict"] for one in found] == ["handled", "handled", "refused"]
    assert "message message-3, delivered for the first time" in explained({"Records": batch}).out


def test_each_event_of_an_array_is_explained(explained: Callable[..., Result]) -> None:
    array = [with_metadata(sample("tenant-provisioning")), {}, sample("tenant-deployment")]

    result = explained(array, "--json")

    found = [json.loads(line) for line in result.out.splitlines()]
    assert [(one["place"], one["of"]) for one in found] == [(1, 3), (2, 3), (3, 3)]
    assert [one["verdict"] for one in found] == ["handled", "refused", "handled"]
    assert "InvalidEvent: event 2 of 3: " in explained(array).out
    assert "array, event 3 of 3" in explained(array).out.splitlines()


def test_each_event_of_an_array_in_a_message_is_explained(explained: Callable[..., Result]) -> None:
    batch = [
        record([sample("tenant-provisioning"), sample("tenant-deployment")], 1),
        record(sample("tenant-deprovisioning"), 2),
    ]

    found = [json.loads(line) for line in explained({"Records": batch}, "--json").out.splitlines()]

    assert [(one["messageId"], one.get("place"), one["eventType"]) for one in found] == [
        ("message-1", 1, "TENANT_PROVISIONING"),
        ("message-1", 2, "TENANT_DEPLOYMENT"),
        ("message-2", None, "TENANT_DEPROVISIONING"),
    ]


def test_a_message_that_waited_goes_only_to_its_consumers(explained: Callable[..., Result]) -> None:
    names = {"stringValue": '["start_provisioning_job", "gone"]', "dataType": "String"}
    message = record(sample("tenant-provisioning"), messageAttributes={"OrchestratorConsumers": names})

    found = explained({"Records": [message]}, "--json").json

    assert found["onlyFor"] == ["start_provisioning_job", "gone"]
    assert [(one["name"], one.get("error")) for one in found["consumers"]] == [
        ("start_provisioning_job", None),
        ("gone", "ConfigurationError"),
    ]


def test_the_last_try_of_a_message_is_noted(explained: Callable[..., Result]) -> None:
    sent = str(int((clock.now() - timedelta(days=13, hours=1)).timestamp() * 1000))
    attributes = {"SentTimestamp": sent, "ApproximateReceiveCount": "300"}
    message = record(sample("tenant-provisioning"), attributes=attributes)

    assert "it has waited for 13 days, so this is its last try" in explained({"Records": [message]}).out


# What is explained is what happens


@pytest.mark.parametrize("name", sorted(file.stem for file in EVENTS.glob("*.json") if file.stem != "sqs-batch"))
def test_the_handler_does_what_was_explained(name: str) -> None:
    event = sent_now(json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8")))
    with recorded() as recording, environment.embedded() as surroundings:
        handler = load_application("orchestrator.handler:lambda_handler")
        recording.clear()

        found = explain(handler, event)
        assert (recording.published, surroundings.control_plane.requests, recording.variables) == ([], [], {})
        answer = invoke(handler, event)

    consumers = [consumer for one in found for consumer in one["consumers"]]
    called = [consumer for one in answer.get("events", [answer]) for consumer in one["consumers"]]
    expected = [(one["name"], outcomes(one["actions"])) for one in consumers if one["takes"]]
    assert expected == [(one["name"], outcomes(one["outcomes"])) for one in called]
    types = [one["eventType"] for explanation in found for one in explanation["published"]]
    assert types == [entry["DetailType"] for entry in recording.published]
    hosts = [one["host"] for explanation in found for one in explanation["callbacks"]]
    assert hosts == [request.headers["Host"] for request in surroundings.control_plane.requests]
    sent = {**recording.variables, **jenkins_variables(surroundings.jenkins)}
    described = {
        one["runId"]: {variable["name"] for variable in one["variables"]}
        for consumer in consumers
        for one in consumer["actions"]
        if one["action"] == "StartJob"
    }
    assert described == {run_id: set(variables) for run_id, variables in sent.items()}


def test_a_whole_life_goes_as_explained(handler: Application, codebuild: CodeBuildServer, aws: Requests) -> None:
    event = sample("tenant-provisioning")
    for _ in range(2):
        (found,) = explain(handler, event)
        assert outcomes(actions(found)) == outcomes(invoke(handler, event)["consumers"][0]["outcomes"])
    report = as_report(codebuild, codebuild.builds[-1], "TENANT_PROVISIONING_SUCCESS")
    for _ in range(2):
        (found,) = explain(handler, report)
        assert outcomes(actions(found)) == outcomes(invoke(handler, report)["consumers"][0]["outcomes"])


def outcomes(listed: Any) -> list[str]:
    return [one.get("outcome") or str(one["status"]) for one in listed]


# It only reads

READS = {
    "BatchGetBuilds",
    "BatchGetItem",
    "DescribeStacks",
    "GetFunctionConfiguration",
    "GetItem",
    "GetSecretValue",
    "ListBuildsForProject",
    "Query",
}


@pytest.fixture
def operations() -> Iterator[list[str]]:
    """Record the operations of every AWS request."""
    sent: list[str] = []

    def note(model: Any, **_: Any) -> None:
        sent.append(model.name)

    handlers.BUILTIN_HANDLERS.append(("before-call", note))
    try:
        yield sent
    finally:
        handlers.BUILTIN_HANDLERS.remove(("before-call", note))


@pytest.mark.parametrize("is_stack", [True, False], ids=["stack", "aws"])
def test_nothing_is_written(
    operations: list[str],
    stack: Deployment,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_stack: bool,
) -> None:
    provisioning = sample("tenant-provisioning")
    stack.send(provisioning)
    (run_id,) = stack.runs()
    stack.record(run_id, checkAt="2026-01-01T00:00:00.000Z")
    stack.put("IdempotencyTable", {"id": "strange", "openJob": "open", "checkAt": "2026-01-01T00:00:00.000Z"})
    function = boto3.client("lambda").get_function_configuration(
        FunctionName=stack.account.names["OrchestratorFunction"]
    )
    if not is_stack:
        for name, value in function["Environment"]["Variables"].items():
            monkeypatch.setenv(name, value)
    own_report = changed(sample("tenant-provisioning-failure"), "detail.ORCHESTRATOR_RUN_ID", run_id)
    files = [str(EVENTS)]
    for place, event in enumerate((provisioning, changed(own_report, "detail.CODEBUILD_BUILD_ID", ...))):
        files.append(str(tmp_path / f"{place}.json"))
        Path(files[-1]).write_text(json.dumps(event))
    before = contents(stack)
    operations.clear()

    result = command("explain", *(["--stack", STACK] if is_stack else ["--aws"]), "--json", *files)

    made = set(operations)
    assert (result.code, result.err) == (0, "")
    assert made >= {"BatchGetItem", "GetItem", "Query"}
    assert made <= READS
    assert contents(stack) == before
    assert stack.plane.requests == []


def contents(stack: Deployment) -> str:
    """Return everything in the stack's tables and queues, and the builds."""
    dynamodb, sqs, codebuild = map(client, ("dynamodb", "sqs", "codebuild"))
    tables = ("TierDetailsTable", "TenantRecordsTable", "IdempotencyTable")
    found: list[Any] = [dynamodb.scan(TableName=stack.account.names[table])["Items"] for table in tables]
    for queue in ("FailureQueue", "WaitingQueue"):
        url = stack.account.names[queue]
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found.append(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"])
    return json.dumps([*found, codebuild.list_builds()["ids"]], default=str, sort_keys=True)


def test_a_consumer_that_writes_itself_cannot_be_explained(own: Callable[..., Result]) -> None:
    result = own("TENANT_WRITING")

    assert (result.code, result.out) == (1, "")
    assert result.err.endswith(
        "ConfigurationError: the event cannot be explained: a consumer or builder of this handler would itself request "
        "sqs:CreateQueue, and this command only reads\n"
    )


@pytest.mark.parametrize(
    ("service", "operation", "is_refused"),
    [
        ("sso-oidc", "CreateToken", False),
        ("signin", "CreateOAuth2Token", False),
        ("sts", "AssumeRoleWithWebIdentity", False),
        ("license-manager", "CreateToken", True),
        ("signin", "PutResourcePermissionStatement", True),
    ],
)
def test_only_a_login_may_be_renewed(service: Any, operation: str, is_refused: bool) -> None:
    model = boto3.client(service, "eu-west-1").meta.service_model.operation_model(operation)

    with pytest.raises(WouldWrite) if is_refused else nullcontext():
        Guard().refuse_writing(model)


def test_a_missing_permission_is_that_of_the_person(
    stack: Deployment, explained: Callable[..., Result], denied: None
) -> None:
    result = explained(sample("tenant-provisioning"), "--stack", STACK)

    assert (result.code, result.out) == (1, "")
    assert result.err.endswith(
        "ConfigurationError: the event cannot be explained: AWS answered AccessDeniedException; allow GetItem to your "
        "role\n"
    )


@pytest.fixture
def denied() -> Iterator[None]:
    """Deny GetItem to this process."""
    answer = {"Error": {"Code": "AccessDeniedException", "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 400}}

    def deny(**_: Any) -> Any:
        return SimpleNamespace(status_code=400), answer

    entry = ("before-call.dynamodb.GetItem", deny)
    handlers.BUILTIN_HANDLERS.append(entry)
    try:
        yield
    finally:
        handlers.BUILTIN_HANDLERS.remove(entry)


def test_the_tenant_is_shown_by_its_status_only(stack: Deployment, on_stack: Callable[..., Any]) -> None:
    stack.put("TenantRecordsTable", {"tenantId": TENANT_ID, "status": "DEPLOYED", "other": "do-not-tell"})

    assert on_stack(sample("tenant-deprovisioning"))["tenant"] == {
        "tenantId": TENANT_ID,
        "hasRecord": True,
        "status": "DEPLOYED",
    }
