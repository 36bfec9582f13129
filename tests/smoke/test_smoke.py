"""The smoke script, against an emulated account in which the stack is deployed.

moto ignores filter patterns for JSON and returns every log line, so the tests check the pattern in the request.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ConfigurationError
from tests.smoke import checks
from tests.smoke.account import Account, client, deployed_account
from tests.template.stack import STACK

ROOT = Path(__file__).parents[2]
BUFFERED = {"Buffered": "true", "CreateEventBus": "true", "EventBusName": "saas"}
CHECKS = [
    "stack",
    "StartRule",
    "EndingRule",
    "BuildStateRule",
    "waiting queue",
    "SweepSchedule",
    "last sweep",
    "alarms",
    "failure queue",
    "direct event",
    "SQS batch",
    "scheduled event",
    "end of a build",
    "queued event",
    "log",
    "failure queue afterwards",
]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of the script: its exit code and the lines that it printed."""

    code: int
    lines: list[str]

    def with_status(self, status: str) -> list[str]:
        return [line[8:].partition(":")[0] for line in self.lines if line[:8].strip() == status]

    def of(self, check: str) -> str:
        (line,) = [line for line in self.lines if line[8:].partition(":")[0] == check]
        return line


Check = Callable[[], Result]


@pytest.fixture
def parameters(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """The stack's parameters; `deployed_with` sets others."""
    given: Mapping[str, str] = getattr(request, "param", {})
    return given


def deployed_with(*parameters: Mapping[str, str], ids: list[str] | None = None) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("parameters", parameters, indirect=True, ids=ids)


@pytest.fixture
def new_account(parameters: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account whose stack has not run a sweep yet."""
    with deployed_account(parameters, monkeypatch) as account:
        yield account


@pytest.fixture
def account(new_account: Account) -> Account:
    new_account.sweep(minutes_ago=5)
    return new_account


@pytest.fixture
def check(new_account: Account, capsys: pytest.CaptureFixture[str]) -> Check:
    def run() -> Result:
        code = checks.main([STACK, "--patience", "0"], new_account.session)
        return Result(code, capsys.readouterr().out.splitlines())

    return run


# The stack works


@deployed_with({}, BUFFERED, ids=["direct", "buffered"])
def test_a_stack_that_works_passes_every_check(account: Account, check: Check) -> None:
    result = check()

    assert (result.with_status("ok"), result.code) == (CHECKS, 0)
    assert result.lines[0] == f"account 123456789012, region eu-west-1, stack {STACK}"
    assert result.lines[-1] == "all is well"


def test_in_direct_mode_the_queued_event_is_an_asynchronous_invocation(account: Account, check: Check) -> None:
    check()

    types = [request.get("InvocationType") for request in account.requested("Invoke")]
    assert types == [None, None, None, None, "Event"]


@deployed_with(BUFFERED)
def test_in_buffered_mode_the_queued_event_is_a_message_in_the_waiting_queue(account: Account, check: Check) -> None:
    check()

    (message,) = account.requested("SendMessage")
    assert message["QueueUrl"] == account.names["WaitingQueue"]
    assert len(account.requested("Invoke")) == 4


@deployed_with({}, BUFFERED, ids=["direct", "buffered"])
def test_it_only_reads_and_sends_events(account: Account, check: Check) -> None:
    check()

    reading = ("Get", "Describe", "List", "Filter")
    others = {operation for operation, _ in account.requests if not operation.startswith(reading)}
    assert others <= {"Invoke", "SendMessage"}
    assert all("AttributeNames" in request for request in account.requested("GetQueueAttributes"))


def test_its_events_leave_nothing_in_any_table(account: Account, check: Check) -> None:
    check()

    dynamodb = client("dynamodb")
    tables = dynamodb.list_tables()["TableNames"]
    assert [dynamodb.scan(TableName=table)["Count"] for table in tables] == [0, 0, 0]


def test_its_events_have_new_ids_in_every_run(account: Account, check: Check) -> None:
    check()
    check()

    events = [event for request in account.requested("Invoke") for event in payload_events(request)]
    ids = {event["id"] for event in events}
    assert len(ids) == len(events) == 10
    assert all(event_id.startswith("smoke-") for event_id in ids)


def payload_events(invoke: Mapping[str, Any]) -> list[dict[str, Any]]:
    payload = json.loads(invoke["Payload"])
    return [json.loads(record["body"]) for record in payload["Records"]] if "Records" in payload else [payload]


def test_the_log_is_searched_for_the_ids_of_its_events(account: Account, check: Check) -> None:
    check()

    ids = [event["id"] for request in account.requested("Invoke") for event in payload_events(request)]
    pattern = account.requested("FilterLogEvents")[-1]["filterPattern"]
    assert pattern == "{ " + " || ".join(f'($.correlation_id = "{event_id}")' for event_id in ids) + " }"
    assert len(pattern) <= 1024  # the limit of CloudWatch Logs


def test_the_log_is_searched_for_sweeps_before_one_is_sent(account: Account, check: Check) -> None:
    check()

    operations = [operation for operation, _ in account.requests]
    search = next(request for operation, request in account.requests if operation == "FilterLogEvents")
    assert search["filterPattern"] == '{ $.event_type = "Scheduled Event" }'
    assert operations.index("GetMetricStatistics") < operations.index("FilterLogEvents") < operations.index("Invoke")


def test_an_alarm_without_data_is_no_failure(account: Account, check: Check) -> None:
    set_alarm(account, "ThrottlesAlarm", "INSUFFICIENT_DATA")

    assert check().of("alarms") == "ok      alarms: 8 OK, 1 INSUFFICIENT_DATA"


def set_alarm(account: Account, alarm: str, state: str) -> None:
    client("cloudwatch").set_alarm_state(AlarmName=account.names[alarm], StateValue=state, StateReason="test")


@deployed_with({"PublishBuildEndings": "false"})
def test_a_rule_that_is_turned_off_by_a_parameter_is_skipped(account: Account, check: Check) -> None:
    result = check()

    assert result.of("BuildStateRule") == "skipped BuildStateRule: PublishBuildEndings is false"
    assert result.code == 0


@deployed_with({"LogLevel": "WARNING"})
def test_at_a_higher_log_level_only_the_lines_of_that_level_are_expected(account: Account, check: Check) -> None:
    result = check()

    assert "a line of each of 3 events" in result.of("log")
    assert result.with_status("ok") == CHECKS


@deployed_with({"LogLevel": "ERROR"})
def test_at_log_level_error_no_line_is_expected(account: Account, check: Check) -> None:
    result = check()

    assert result.with_status("skipped") == ["log"]
    assert result.code == 0


# The stack has a defect


def test_an_alarm_that_is_on_fails_and_is_named(account: Account, check: Check) -> None:
    set_alarm(account, "SweepAlarm", "ALARM")

    result = check()

    assert (
        result.of("alarms")
        == "FAILED  alarms: SweepAlarm in ALARM; see orchestrator/OPERATIONS.md, When an alarm goes off"
    )
    assert (result.with_status("FAILED"), result.code) == (["alarms"], 1)


def test_an_alarm_that_was_deleted_fails(account: Account, check: Check) -> None:
    client("cloudwatch").delete_alarms(AlarmNames=[account.names["SweepAlarm"]])

    assert check().of("alarms") == "FAILED  alarms: 1 of 9 are gone; deploy the stack again"


def test_a_message_in_the_failure_queue_fails_and_is_counted(account: Account, check: Check) -> None:
    client("sqs").send_message(QueueUrl=account.names["FailureQueue"], MessageBody="{}")

    result = check()

    assert result.with_status("FAILED") == ["failure queue", "failure queue afterwards"]
    assert "1 available, 0 hidden or in flight; see orchestrator/OPERATIONS.md, When an alarm goes off" in result.of(
        "failure queue"
    )


def test_a_message_in_flight_counts_too(account: Account, check: Check) -> None:
    client("sqs").send_message(QueueUrl=account.names["FailureQueue"], MessageBody="{}")
    client("sqs").receive_message(QueueUrl=account.names["FailureQueue"], VisibilityTimeout=300)

    assert "0 available, 1 hidden" in check().of("failure queue")


def test_a_message_that_arrives_during_the_checks_is_counted(account: Account, check: Check) -> None:
    works = account.handler

    def fails_another_event(event: Any, context: Any) -> Any:
        client("sqs").send_message(QueueUrl=account.names["FailureQueue"], MessageBody="{}")
        return works(event, context)

    account.handler = fails_another_event

    assert check().with_status("FAILED") == ["failure queue afterwards"]


@pytest.mark.parametrize("rule", ["StartRule", "EndingRule", "BuildStateRule"])
def test_a_rule_that_is_disabled_fails(account: Account, check: Check, rule: str) -> None:
    client("events").disable_rule(Name=account.names[rule])

    result = check()

    name = account.names[rule]
    assert result.of(rule).endswith(f"DISABLED; aws events enable-rule --name {name} --event-bus-name default")
    assert result.with_status("FAILED") == [rule]


@pytest.mark.parametrize("rule", ["StartRule", "EndingRule", "BuildStateRule"])
def test_a_rule_that_targets_something_else_fails(account: Account, check: Check, rule: str) -> None:
    other = {"Id": "orchestrator", "Arn": "arn:aws:lambda:eu-west-1:123456789012:function:other"}
    client("events").put_targets(Rule=account.names[rule], Targets=[other])

    assert f"does not target FunctionArn but {other['Arn']}" in check().of(rule)


@deployed_with(BUFFERED)
def test_in_buffered_mode_only_the_start_rule_targets_the_waiting_queue(account: Account, check: Check) -> None:
    result = check()

    queue, function = account.names["WaitingQueue"].rpartition("/")[2], account.names["OrchestratorFunction"]
    assert result.of("StartRule") == f"ok      StartRule: enabled on bus saas, targets {queue}"
    assert result.of("EndingRule") == f"ok      EndingRule: enabled on bus saas, targets {function}"
    assert result.of("BuildStateRule") == f"ok      BuildStateRule: enabled on bus default, targets {function}"


@deployed_with({"SbtControlPlaneSource": "sbt.control.plane"})
def test_the_rule_for_sbt_is_checked_where_there_is_one(account: Account, check: Check) -> None:
    function = account.names["OrchestratorFunction"]

    assert check().of("SbtRule") == f"ok      SbtRule: enabled on bus default, targets {function}"


def test_a_waiting_queue_from_which_the_function_takes_nothing_fails(account: Account, check: Check) -> None:
    mapping = account.names["WaitingQueueMapping"]
    client("lambda").update_event_source_mapping(UUID=mapping, Enabled=False)

    result = check()

    assert result.of("waiting queue").endswith(f"Disabled; enable the event source mapping {mapping}")
    assert result.with_status("FAILED") == ["waiting queue"]


def test_a_schedule_that_is_disabled_fails(account: Account, check: Check) -> None:
    change_schedule(account, State="DISABLED")

    assert check().with_status("FAILED") == ["SweepSchedule"]


def test_a_schedule_that_targets_something_else_fails(account: Account, check: Check) -> None:
    other = "arn:aws:lambda:eu-west-1:123456789012:function:other"
    change_schedule(account, Target={"Arn": other, "RoleArn": "arn:aws:iam::123456789012:role/sweep"})

    assert f"does not target FunctionArn but {other}" in check().of("SweepSchedule")


def change_schedule(account: Account, **changes: Any) -> None:
    scheduler = client("scheduler")
    names = ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target", "State")
    schedule = scheduler.get_schedule(Name=account.names["SweepSchedule"])
    scheduler.update_schedule(**{name: schedule[name] for name in names} | changes)


def test_a_stack_without_a_sweep_fails(new_account: Account, check: Check) -> None:
    result = check()

    assert result.with_status("FAILED") == ["last sweep"]
    assert "RunsWithoutEnding has no data of the last 15 minutes" in result.of("last sweep")
    assert "if the stack is new, run this again in ten minutes" in result.of("last sweep")


def test_a_sweep_of_twenty_minutes_ago_is_too_old(new_account: Account, check: Check) -> None:
    new_account.sweep(minutes_ago=20)

    assert check().with_status("FAILED") == ["last sweep"]


def test_a_sweep_of_an_earlier_run_of_the_script_does_not_count(new_account: Account, check: Check) -> None:
    new_account.sweep(minutes_ago=5, id="smoke-1")

    result = check()

    assert result.with_status("FAILED") == ["last sweep"]
    assert "none but those of this script" in result.of("last sweep")


@deployed_with({}, BUFFERED, ids=["direct", "buffered"])
def test_a_function_that_raises_fails_and_is_sent_no_event_that_would_reach_the_failure_queue(
    account: Account, check: Check
) -> None:
    def raises(event: Any, context: Any) -> None:
        raise ConfigurationError("a setting is wrong")

    account.handler = raises

    result = check()

    assert result.with_status("FAILED") == ["direct event", "SQS batch", "scheduled event", "end of a build", "log"]
    assert result.of("direct event").endswith("ConfigurationError; see README, When something goes wrong")
    assert result.with_status("skipped") == ["queued event"]
    assert not account.requested("SendMessage")


def test_a_failed_sweep_fails_with_its_reason(account: Account, check: Check) -> None:
    client("dynamodb").delete_table(TableName=account.names["IdempotencyTable"])

    assert "could not be read; it needs the index open-jobs" in check().of("scheduled event")


def test_an_error_in_the_log_of_an_event_fails(account: Account, check: Check) -> None:
    unreadable = {"id": "1", "openJob": "open", "checkAt": "2026-01-01T00:00:00+00:00", "job": "none"}
    item = {name: {"S": value} for name, value in unreadable.items()}
    client("dynamodb").put_item(TableName=account.names["IdempotencyTable"], Item=item)

    result = check()

    assert result.with_status("FAILED") == ["log"]
    assert "error of scheduled event; see README, When something goes wrong" in result.of("log")


def test_a_log_line_that_is_missing_fails(account: Account, check: Check) -> None:
    account.ingests_logs = False

    result = check()

    assert result.with_status("FAILED") == ["log"]
    assert "no line of direct event, SQS batch, scheduled event, end of a build, queued event" in result.of("log")


def test_a_log_line_that_is_late_is_waited_for(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        account.ingest()

    account.ingests_logs = False
    monkeypatch.setattr(time, "sleep", sleep)

    code = checks.main([STACK], account.session)

    assert (code, waits) == (0, [checks.POLL_SECONDS])


def test_log_lines_of_another_service_fail(account: Account, check: Check) -> None:
    account.log_changes = {"service": "someone-else"}

    assert "service is someone-else" in check().of("log")


def test_a_missing_stack_fails_at_once(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    code = checks.main(["no-such-stack"], account.session)

    assert code == 1
    assert (
        "FAILED  stack: stack 'no-such-stack' does not exist; set AWS_PROFILE and AWS_REGION" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("operation", "failed"),
    [
        ("events.DescribeRule", ["StartRule", "EndingRule", "BuildStateRule"]),
        ("lambda.GetEventSourceMapping", ["waiting queue"]),
        ("scheduler.GetSchedule", ["SweepSchedule"]),
        ("cloudwatch.GetMetricStatistics", ["last sweep"]),
        ("cloudwatch.DescribeAlarms", ["alarms"]),
        ("cloudwatch-logs.FilterLogEvents", ["last sweep", "log"]),
        ("sqs.GetQueueAttributes", ["failure queue", "failure queue afterwards"]),
        ("lambda.Invoke", ["direct event", "SQS batch", "scheduled event", "end of a build"]),
    ],
)
def test_a_missing_permission_fails_only_its_own_checks(
    account: Account, check: Check, operation: str, failed: list[str]
) -> None:
    account.refuse(operation)

    result = check()

    assert (result.with_status("FAILED"), result.code) == (failed, 1)
    assert f"{operation.rpartition('.')[2]} was answered with AccessDenied" in result.of(failed[0])


def test_without_permission_to_read_the_stack_the_error_is_one_line(account: Account, check: Check) -> None:
    account.refuse("cloudformation.DescribeStacks")

    result = check()

    assert (result.with_status("FAILED"), result.code) == (["stack"], 1)


def test_without_credentials_the_error_is_one_line(
    account: Account, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    result = check()

    assert (result.lines, result.code) == (["FAILED  stack: Unable to locate credentials; set AWS_PROFILE"], 1)


# Command line


def test_the_region_comes_from_aws_region(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")

    checks.main([STACK])

    assert (
        f"region eu-central-1, stack {STACK}\nFAILED  stack: stack '{STACK}' does not exist" in capsys.readouterr().out
    )


def test_make_requires_the_stack() -> None:
    done = subprocess.run(["make", "smoke", "STACK="], cwd=ROOT, capture_output=True, check=False, text=True)  # noqa: S607

    assert done.returncode != 0
    assert "STACK is not set: make smoke STACK=" in done.stderr
    assert len(done.stderr.splitlines()) == 1
