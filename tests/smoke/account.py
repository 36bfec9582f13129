"""Emulates an account with a deployed and working stack, for the tests of `tests.smoke`.

moto's CloudFormation creates most resources; alarms and the schedule are created through their own APIs. The real
handler runs in this process instead of in Lambda's containers. Its log lines go to the log group and its counts to the
metrics, as on AWS. moto itself takes messages from the waiting queue and invokes the function with them.
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.awslambda.models import LambdaFunction

from orchestrator import Registry, Settings, create_handler
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local.dynamodb import one_request_at_a_time
from orchestrator.local.lambda_context import LocalContext
from tests.support.emulated import filled
from tests.support.events import json_lines, sample
from tests.template.stack import STACK, deployed, transformed


@contextlib.contextmanager
def deployed_account(
    parameters: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Mapping[str, str]], None] = lambda names: None,
) -> Iterator["Account"]:
    """Emulate an account with the stack; `prepare` adds to its resources, whose names it is given."""

    def deploy() -> tuple[dict[str, str], list[dict[str, str]]]:
        names = deployed(parameters)
        prepare(names)
        return names, _added(names)

    with mock_aws(), one_request_at_a_time():
        account = Account(parameters, *filled(("account", frozenset(parameters.items()), prepare), deploy))
        monkeypatch.setattr(LambdaFunction, "_invoke_lambda", lambda _, event: account.invoke(event))
        yield account


class Account:
    """An account whose schedule has not run yet.

    Attributes:
        names: Names of the stack's resources, by logical id.
        session: The session for the script; it corrects moto's answers where they differ from AWS's.
        requests: The session's requests in order: operations and parameters.
        handler: The function; a test may replace it.
        ingests_logs: Whether log lines can be found at once, or only after `ingest`.
        log_changes: Fields to replace in each log line.
    """

    def __init__(
        self, parameters: Mapping[str, str], names: Mapping[str, str], added: Sequence[Mapping[str, str]]
    ) -> None:
        self.parameters = parameters
        self.names = {**names, **{resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in added}}
        self._added = added
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.ingests_logs = True
        self.log_changes: dict[str, str] = {}
        self._written: list[dict[str, Any]] = []
        self.logs, self.metrics = client("logs"), client("cloudwatch")
        registry = Registry()
        registry.include(lifecycle)
        function = client("lambda").get_function_configuration(FunctionName=names["OrchestratorFunction"])
        settings = Settings.from_environment(function["Environment"]["Variables"])
        self.handler: Callable[[Any, Any], Any] = create_handler(registry, settings=settings)
        self.session = boto3.Session()
        self.session.events.register("before-parameter-build", self._record)
        self.session.events.register("after-call.cloudformation.ListStackResources", self._complete)

    def sweep(self, minutes_ago: int, **changes: str) -> None:
        """Invoke the function as the schedule does; `changes` replaces fields of its event."""
        self.invoke(sample("scheduled-sweep", **changes), datetime.now(UTC) - timedelta(minutes=minutes_ago))

    def refuse(self, operation: str) -> None:
        """Remove the session's permission for an operation, such as `scheduler.GetSchedule`."""
        parsed = {"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}, "ResponseMetadata": {}}
        answer = (SimpleNamespace(status_code=403), parsed)
        events: Any = self.session.events  # its type stub has no handlers that return an answer
        events.register(f"before-call.{operation}", lambda **_: answer)

    def requested(self, operation: str) -> list[dict[str, Any]]:
        return [parameters for name, parameters in self.requests if name == operation]

    def invoke(self, event: Any, at: datetime | None = None) -> tuple[str, bool, str]:
        """Run the function; return its answer, whether it is an error, and an empty log, as moto expects."""
        written = io.StringIO()
        try:
            with contextlib.redirect_stdout(written):
                return json.dumps(self.handler(event, LocalContext())), False, ""
        except Exception as error:
            return json.dumps({"errorType": type(error).__name__, "errorMessage": str(error)}), True, ""
        finally:
            for line in json_lines(written.getvalue()):
                self._write(line, at or datetime.now(UTC))

    def ingest(self) -> None:
        """Add the function's log lines to the log group."""
        group = self.names["OrchestratorLogGroup"]
        self.logs.put_log_events(logGroupName=group, logStreamName="environment", logEvents=self._written)
        self._written = []

    def _write(self, line: dict[str, Any], at: datetime) -> None:
        message = json.dumps({**line, **self.log_changes})
        self._written.append({"timestamp": int(at.timestamp() * 1000), "message": message})
        if self.ingests_logs:
            self.ingest()
        for definition in line.get("_aws", {}).get("CloudWatchMetrics", []):
            for metric in definition["Metrics"]:
                data = {
                    "MetricName": metric["Name"],
                    "Timestamp": at,
                    "Dimensions": [{"Name": name, "Value": line[name]} for name in definition["Dimensions"][0]],
                    "Values": line[metric["Name"]],
                    "Counts": [1.0] * len(line[metric["Name"]]),
                }
                self.metrics.put_metric_data(Namespace=definition["Namespace"], MetricData=[data])

    def _record(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.requests.append((model.name, dict(params)))

    def _complete(self, parsed: dict[str, Any], **_: Any) -> None:
        resources = parsed["StackResourceSummaries"]
        resources.extend(self._added)
        if "EventBusName" in self.parameters:  # CloudFormation names such a rule together with its bus; moto does not
            for resource in resources:
                if resource["LogicalResourceId"] in ("StartRule", "EndingRule", "SbtRule"):
                    resource["PhysicalResourceId"] = (
                        f"{self.parameters['EventBusName']}|{resource['PhysicalResourceId']}"
                    )


def _added(names: Mapping[str, str]) -> list[dict[str, str]]:
    """Create what moto's CloudFormation does not; return it as CloudFormation lists it."""
    client("logs").create_log_stream(logGroupName=names["OrchestratorLogGroup"], logStreamName="environment")
    function = client("lambda").get_function_configuration(FunctionName=names["OrchestratorFunction"])
    metrics = client("cloudwatch")
    resources = transformed()["Resources"]
    alarms = [name for name, body in resources.items() if body["Type"] == "AWS::CloudWatch::Alarm"]
    return [
        *[{"LogicalResourceId": name, **_create_alarm(metrics, name)} for name in alarms],
        {"LogicalResourceId": "SweepSchedule", **_create_schedule(function["FunctionArn"])},
    ]


def _create_alarm(metrics: Any, logical_id: str) -> dict[str, str]:
    name = f"{STACK}-{logical_id}"
    metrics.put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/Lambda",
        MetricName="Errors",
        Statistic="Sum",
        Period=300,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
    )
    metrics.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="nothing has failed")
    return {"ResourceType": "AWS::CloudWatch::Alarm", "PhysicalResourceId": name}


def _create_schedule(target: str) -> dict[str, str]:
    client("scheduler").create_schedule(
        Name=f"{STACK}-SweepSchedule",
        ScheduleExpression="rate(5 minutes)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": target, "RoleArn": "arn:aws:iam::123456789012:role/sweep"},
    )
    return {"ResourceType": "AWS::Scheduler::Schedule", "PhysicalResourceId": f"{STACK}-SweepSchedule"}


def client(service: str) -> Any:
    """Return a client as `Any`: only the services that the package uses have type stubs."""
    make: Any = boto3.client
    return make(service)
