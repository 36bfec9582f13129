"""Checks a deployed stack: `python -m tests.smoke STACK`, or `make smoke STACK=…`.

It reads the stack's resources and sends five harmless events: the built-in consumers only run a sweep, as they do every
five minutes anyway.
"""

import argparse
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, ProfileNotFound

from orchestrator.cli.stack import describe
from orchestrator.errors import ConfigurationError

EVENTS = Path(__file__).parents[2] / "events"
UNHANDLED = {"detail-type": "ORCHESTRATOR_SMOKE_TEST", "source": "orchestrator.smoke", "resources": [], "detail": {}}
ID_PREFIX = "smoke-"
"""Prefix of the ids of this script's events, which distinguishes them from the schedule's."""
RUNBOOK = "see orchestrator/OPERATIONS.md, When an alarm goes off"
POLL_SECONDS = 5.0
_LEVELS = ("INFO", "WARNING", "ERROR")
_RECENT = timedelta(minutes=15)
_CLOCK_DIFFERENCE = timedelta(minutes=5)
_CONFIG = Config(read_timeout=90)  # the function may take 60 seconds


class Failed(Exception):
    """A check failed; the message says what was found and the remedy."""


class Skipped(Exception):
    """A check was skipped; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The stack's description by CloudFormation; `resources` are types and names by logical id."""

    client: Callable[[str], Any]
    name: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    resources: Mapping[str, tuple[str, str]]

    @property
    def is_buffered(self) -> bool:
        return self.parameters["Buffered"] == "true"

    def named(self, logical_id: str) -> str:
        if logical_id not in self.resources:
            raise Failed("not in the stack; deploy this version of the template")
        return self.resources[logical_id][1]

    def logs(self, level: str) -> bool:
        return _LEVELS.index(level) >= _LEVELS.index(self.parameters["LogLevel"])


def find_stack(client: Callable[[str], Any], name: str) -> Stack:
    cloudformation = client("cloudformation")
    try:
        found = describe(cloudformation, name)
    except ConfigurationError as error:
        raise Failed(str(error)) from None
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
    resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
    return Stack(
        client=client,
        name=found.name,
        parameters=found.parameters,
        outputs=found.outputs,
        resources={r["LogicalResourceId"]: (r["ResourceType"], r.get("PhysicalResourceId", "")) for r in resources},
    )


def check_rule(stack: Stack, rule: str, bus: str) -> str:
    if rule == "BuildStateRule" and stack.parameters["PublishBuildEndings"] == "false":
        raise Skipped("PublishBuildEndings is false")
    events = stack.client("events")
    name = stack.named(rule).rpartition("|")[2]  # CloudFormation's name is BUS|RULE, except on the bus default
    state = events.describe_rule(Name=name, EventBusName=bus)["State"]
    if state != "ENABLED":
        raise Failed(f"{state}; aws events enable-rule --name {name} --event-bus-name {bus}")
    targets = [target["Arn"] for target in events.list_targets_by_rule(Rule=name, EventBusName=bus)["Targets"]]
    output = "WaitingQueueArn" if rule == "StartRule" and stack.is_buffered else "FunctionArn"
    return f"enabled on bus {bus}, {_target(stack, targets, output)}"


def check_waiting_queue(stack: Stack) -> str:
    uuid = stack.named("WaitingQueueMapping")
    state = stack.client("lambda").get_event_source_mapping(UUID=uuid)["State"]
    if state != "Enabled":
        raise Failed(f"the function does not take from it: {state}; enable the event source mapping {uuid}")
    return "the function takes from it"


def check_schedule(stack: Stack) -> str:
    schedule = stack.client("scheduler").get_schedule(Name=stack.named("SweepSchedule"))
    if schedule["State"] != "ENABLED":
        raise Failed(f"{schedule['State']}; enable it in the console of EventBridge Scheduler")
    return f"enabled, {_target(stack, [schedule['Target']['Arn']], 'FunctionArn')}"


def _target(stack: Stack, targets: Sequence[str], output: str) -> str:
    if stack.outputs[output] not in targets:
        raise Failed(f"does not target {output} but {', '.join(targets) or 'nothing'}; deploy the stack again")
    return f"targets {stack.outputs[output].partition(':function:')[2] or stack.outputs[output].rpartition(':')[2]}"


def check_last_sweep(stack: Stack) -> str:
    """Check that the schedule has run a sweep; this must run before the script causes one.

    The metric is written at every log level, but also counts the sweeps of earlier runs of this script. At the level
    INFO, the log must therefore contain a sweep whose id is not this script's.
    """
    now = datetime.now(UTC)
    points = stack.client("cloudwatch").get_metric_statistics(
        Namespace="Orchestrator",
        MetricName="RunsWithoutEnding",
        Dimensions=[{"Name": "service", "Value": stack.name}],
        StartTime=now - _RECENT,
        EndTime=now,
        Period=60,
        Statistics=["SampleCount"],
    )["Datapoints"]
    remedy = (
        "if the stack is new, run this again in ten minutes; else look at the function's log, and at the messages in "
        "SweepDeadLetterQueueUrl"
    )
    if not points:
        raise Failed(f"RunsWithoutEnding has no data of the last 15 minutes; {remedy}")
    if stack.logs("INFO"):
        lines = log_lines(stack, '{ $.event_type = "Scheduled Event" }', now - _RECENT)
        ids = [line["correlation_id"] for line in lines if line["event_type"] == "Scheduled Event"]
        if all(event_id.startswith(ID_PREFIX) for event_id in ids):
            raise Failed(f"the log of the last 15 minutes has none but those of this script; {remedy}")
    return f"counted in RunsWithoutEnding at {max(point['Timestamp'] for point in points):%H:%M} UTC"


def check_alarms(stack: Stack) -> str:
    alarms = {
        name: logical
        for logical, (resource_type, name) in stack.resources.items()
        if resource_type == "AWS::CloudWatch::Alarm"
    }
    found = stack.client("cloudwatch").describe_alarms(AlarmNames=list(alarms))["MetricAlarms"]
    if len(found) < len(alarms):
        raise Failed(f"{len(alarms) - len(found)} of {len(alarms)} are gone; deploy the stack again")
    states: dict[str, list[str]] = {}
    for alarm in found:
        states.setdefault(alarm["StateValue"], []).append(alarms[alarm["AlarmName"]])
    if "ALARM" in states:
        raise Failed(f"{', '.join(states['ALARM'])} in ALARM; {RUNBOOK}")
    return ", ".join(f"{len(names)} {state}" for state, names in sorted(states.items(), reverse=True))


def check_failure_queue(stack: Stack) -> str:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    queue = stack.outputs["FailureQueueUrl"]
    counts = stack.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    available, hidden = (int(counts[name]) for name in names)
    if available or hidden:
        raise Failed(f"{available} available, {hidden} hidden or in flight; {RUNBOOK}")
    return "empty"


def log_lines(stack: Stack, pattern: str, since: datetime) -> list[dict[str, Any]]:
    """Return the events' log lines that match a filter pattern for JSON; lines of plain text never match."""
    pages = stack.client("logs").get_paginator("filter_log_events")
    request = {"logGroupName": stack.named("OrchestratorLogGroup"), "startTime": int(since.timestamp() * 1000)}
    lines = [
        json.loads(event["message"])
        for page in pages.paginate(**request, filterPattern=pattern)
        for event in page["events"]
    ]
    return [line for line in lines if "correlation_id" in line]


@dataclass
class Events:
    """Sends one harmless event of each form, and looks for their log lines.

    Attributes:
        sent: The events that were sent: names by id.
        logged: The ids of the events that are logged at the stack's LogLevel.
    """

    stack: Stack
    sent: dict[str, str] = field(default_factory=dict)
    logged: set[str] = field(default_factory=set)

    def direct(self) -> str:
        event = _event("scheduled-sweep", **UNHANDLED)
        answer = self._answer("direct event", event, event, "WARNING")
        if answer["consumers"]:
            raise Failed(f"taken by {', '.join(consumer['name'] for consumer in answer['consumers'])}")
        return "no consumer takes it, as it should be"

    def batch(self) -> str:
        event = _event("scheduled-sweep", **UNHANDLED)
        # If the function fails to handle a message of the failure queue, it changes no queue.
        record = {**_sample("sqs-batch")["Records"][0], "eventSourceARN": self.stack.outputs["FailureQueueArn"]}
        answer = self._answer("SQS batch", event, {"Records": [record | {"body": json.dumps(event)}]}, "WARNING")
        if answer != {"batchItemFailures": []}:
            raise Failed("its message was not handled; see README, When something goes wrong")
        return "batchItemFailures is empty"

    def scheduled(self) -> str:
        event = _event("scheduled-sweep")
        answer = self._answer("scheduled event", event, event, "INFO")
        outcomes = [outcome for consumer in answer["consumers"] for outcome in consumer["outcomes"]]
        for outcome in outcomes:
            if outcome["status"] == "swept" and "reason" not in outcome:
                return f"swept, {outcome['checked']} jobs checked, {outcome['published']} reported"
        raise Failed(f"no sweep; {'; '.join(o['reason'] for o in outcomes if 'reason' in o) or 'no consumer takes it'}")

    def build(self) -> str:
        detail = {"build-status": "SUCCEEDED", "project-name": "smoke-test", "build-id": "build/smoke-test:1"}
        event = _event("codebuild-build-state-change", detail=detail)
        answer = self._answer("end of a build", event, event, "INFO")
        if {"name": "publish_build_ending", "outcomes": []} not in answer["consumers"]:
            raise Failed("publish_build_ending did not leave alone a build that the function has not started")
        return "publish_build_ending leaves a build alone that the function has not started"

    def queued(self, is_working: bool) -> str:
        """Send an event as StartRule does: to the waiting queue, or to Lambda's own queue."""
        if not is_working:
            raise Skipped("the function failed, so it would end in the failure queue")
        event = _event("scheduled-sweep", **UNHANDLED)
        if self.stack.is_buffered:
            queue = self.stack.outputs["WaitingQueueUrl"]
            self.stack.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(event))
        else:
            self._invoke(event, InvocationType="Event")
        self._note("queued event", event, "WARNING")
        return "sent to the waiting queue" if self.stack.is_buffered else "sent as an asynchronous invocation"

    def log(self, since: datetime, patience: float) -> str:
        """Wait for a log line of each event."""
        if not self.logged:
            raise Skipped("LogLevel leaves no line of an event that goes well" if self.sent else "no event was sent")
        pattern = f"{{ {' || '.join(f'($.correlation_id = {json.dumps(event_id)})' for event_id in self.sent)} }}"
        until = time.monotonic() + patience
        while True:
            lines = [line for line in log_lines(self.stack, pattern, since) if line["correlation_id"] in self.sent]
            missing = self.logged - {line["correlation_id"] for line in lines}
            if not missing or time.monotonic() >= until:
                break
            time.sleep(POLL_SECONDS)
        errors = [line for line in lines if line["level"] == "ERROR"]
        if errors:
            names = ", ".join(f"{line.get('error', 'error')} of {self.sent[line['correlation_id']]}" for line in errors)
            raise Failed(f"{names}; see README, When something goes wrong")
        if missing:
            names = ", ".join(self.sent[event_id] for event_id in self.sent if event_id in missing)
            raise Failed(f"no line of {names} after {patience:g} seconds; --patience waits longer")
        services = sorted({line["service"] for line in lines} - {self.stack.name})
        if services:
            raise Failed(f"service is {', '.join(services)}, but alarms and dashboard look for {self.stack.name}")
        return f"a line of each of {len(self.logged)} events, with service = {self.stack.name}, and no error"

    def _answer(self, name: str, event: Mapping[str, Any], payload: Any, level: str) -> Any:
        response = self._invoke(payload)
        self._note(name, event, level)
        answer = json.loads(response["Payload"].read())
        if "FunctionError" in response:
            raise Failed(f"{answer.get('errorType')}; see README, When something goes wrong")
        return answer

    def _invoke(self, payload: Any, **how: str) -> Any:
        function = self.stack.outputs["FunctionArn"]
        return self.stack.client("lambda").invoke(FunctionName=function, Payload=json.dumps(payload), **how)

    def _note(self, name: str, event: Mapping[str, Any], level: str) -> None:
        self.sent[event["id"]] = name
        if self.stack.logs(level):
            self.logged.add(event["id"])


def _event(name: str, **changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {**_sample(name), "id": f"{ID_PREFIX}{uuid.uuid4()}", "time": now, **changes}


def _sample(name: str) -> dict[str, Any]:
    sample: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    return sample


def passes(name: str, check: Callable[[], str]) -> bool:
    """Run a check and print its result; a failure does not stop the other checks."""
    try:
        status, seen = "ok", check()
    except Skipped as reason:
        status, seen = "skipped", str(reason)
    except (Failed, ClientError, BotoCoreError) as error:
        status, seen = "FAILED", explained(error)
    print(f"{status:7} {name}: {seen}", flush=True)
    return status != "FAILED"


def explained(error: Exception) -> str:
    if isinstance(error, NoCredentialsError | ProfileNotFound):
        return f"{error}; set AWS_PROFILE"
    if isinstance(error, NoRegionError):
        return f"{error}; set AWS_REGION"
    if not isinstance(error, ClientError):
        return str(error)
    code = error.response["Error"]["Code"]
    remedy = "; your credentials need that permission" if "AccessDenied" in code else ""
    return f"{error.operation_name} was answered with {code}{remedy}"


def run(stack: Stack, patience: float) -> Iterator[bool]:
    yield passes("StartRule", partial(check_rule, stack, "StartRule", stack.outputs["EventBus"]))
    yield passes("EndingRule", partial(check_rule, stack, "EndingRule", stack.outputs["EventBus"]))
    yield passes("BuildStateRule", partial(check_rule, stack, "BuildStateRule", "default"))
    if stack.parameters.get("SbtControlPlaneSource"):
        yield passes("SbtRule", partial(check_rule, stack, "SbtRule", stack.outputs["EventBus"]))
    yield passes("waiting queue", partial(check_waiting_queue, stack))
    yield passes("SweepSchedule", partial(check_schedule, stack))
    yield passes("last sweep", partial(check_last_sweep, stack))
    yield passes("alarms", partial(check_alarms, stack))
    yield passes("failure queue", partial(check_failure_queue, stack))
    events, since = Events(stack), datetime.now(UTC) - _CLOCK_DIFFERENCE
    takes_events, takes_batches = passes("direct event", events.direct), passes("SQS batch", events.batch)
    yield from (takes_events, takes_batches)
    yield passes("scheduled event", events.scheduled)
    yield passes("end of a build", events.build)
    yield passes("queued event", partial(events.queued, takes_events and takes_batches))
    yield passes("log", partial(events.log, since, patience))
    yield passes("failure queue afterwards", partial(check_failure_queue, stack))


def main(arguments: Sequence[str] | None = None, session: boto3.Session | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.smoke", description=__doc__)
    parser.add_argument("stack", help="name of the stack")
    parser.add_argument(
        "--patience", type=float, default=60.0, metavar="SECONDS", help="how long to wait for log lines"
    )
    given = parser.parse_args(arguments)
    try:
        session = session or boto3.Session(region_name=os.environ.get("AWS_REGION"))  # boto3 ignores AWS_REGION
        make: Any = session.client  # only the services that the package uses have type stubs
        client = cache(partial(make, config=_CONFIG))
        account = client("sts").get_caller_identity()["Account"]
        print(f"account {account}, region {session.region_name}, stack {given.stack}")
        stack = find_stack(client, given.stack)
    except (Failed, ClientError, BotoCoreError) as error:
        print(f"FAILED  stack: {explained(error)}")
        return 1
    print(f"ok      stack: {'buffered' if stack.is_buffered else 'direct'} mode")
    failed = list(run(stack, given.patience)).count(False)
    print(f"FAILED: {failed}" if failed else "all is well")
    return 1 if failed else 0
