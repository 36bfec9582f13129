"""The stack: transformed, linted, checked for wildcards, and created as far as moto can."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import pytest
from moto import mock_aws

from orchestrator import EventType, PublishEvent, Settings
from orchestrator.intake.redelivery import FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, MAX_AGE_SECONDS
from orchestrator.ledger.record import BY_TENANT, OPEN_JOBS, WAITING
from orchestrator.lifecycle import provisioning
from orchestrator.local import sandbox
from orchestrator.local.messages import status_change
from orchestrator.run import OWN_SOURCE
from orchestrator.sbt import registry as sbt
from tests.support.events import state_change
from tests.template.stack import NOT_IN_MOTO, STACK, TEMPLATE, deployed, transformed

# The statements that allow a resource with a *; the template gives the reason for each.
PLACE = "${AWS::Region}:${AWS::AccountId}"
WILDCARDS = {
    ("WriteTraces", "*"),
    ("AttachToTheVpc", "*"),
    ("StartAndFindBuilds", f"arn:${{AWS::Partition}}:codebuild:{PLACE}:project/${{CodeBuildProjectPrefix}}*"),
    ("StartAndFindExecutions", f"arn:${{AWS::Partition}}:states:{PLACE}:stateMachine:${{StateMachinePrefix}}*"),
    ("StartAndFindExecutions", f"arn:${{AWS::Partition}}:states:{PLACE}:execution:${{StateMachinePrefix}}*"),
}
STARTS = ["TENANT_PROVISIONING", "TENANT_DEPLOYMENT", "TENANT_DEPROVISIONING"]
ENDINGS = [f"{start}_{ending}" for start in STARTS for ending in ("SUCCESS", "FAILURE")]
RULES = ["StartRule", "EndingRule", "BuildStateRule", "SbtRule"]
DEPLOYING = TEMPLATE.parent / "orchestrator" / "DEPLOYING.md"
BUFFERED = {"Buffered": "true", "CreateEventBus": "true", "EventBusName": "saas", "QueueMaximumConcurrency": "25"}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return transformed()


def test_the_transformed_template_has_no_lint_errors(template: dict[str, Any]) -> None:
    from cfnlint.api import lint  # takes seconds to import

    assert [str(match) for match in lint(json.dumps(template), regions=["eu-west-1"])] == []


def resources(template: Mapping[str, Any], resource_type: str) -> list[dict[str, Any]]:
    return [body["Properties"] for body in template["Resources"].values() if body["Type"] == resource_type]


def statements(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every policy statement, at any depth."""
    if isinstance(value, dict):
        if "Effect" in value and "Action" in value:
            yield value
        for member in value.values():
            yield from statements(member)
    elif isinstance(value, list):
        for member in value:
            yield from statements(member)


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from texts(member)


def test_no_permission_is_wider_than_necessary(template: dict[str, Any]) -> None:
    found = [statement for role in template["Resources"].values() for statement in statements(role)]
    granted = [statement for statement in found if statement["Effect"] == "Allow"]
    allowed = [statement for statement in granted if "Principal" not in statement]

    assert len(allowed) > 10
    assert [text for statement in granted for text in texts(statement["Action"]) if "*" in text] == []
    wide = {(statement["Sid"], text) for statement in allowed for text in texts(statement["Resource"]) if "*" in text}
    assert wide == WILDCARDS


def test_only_the_function_role_has_managed_policies_from_a_parameter(template: dict[str, Any]) -> None:
    managed = {
        name: body["Properties"]["ManagedPolicyArns"]
        for name, body in template["Resources"].items()
        if "ManagedPolicyArns" in body["Properties"]
    }

    assert managed == {
        "FunctionRole": {"Fn::If": ["HasExtraPolicies", {"Ref": "ExtraPolicyArns"}, {"Ref": "AWS::NoValue"}]}
    }
    assert template["Parameters"]["ExtraPolicyArns"]["Default"] == ""
    joined = {"Fn::Join": ["", {"Ref": "ExtraPolicyArns"}]}
    assert template["Conditions"]["HasExtraPolicies"] == {"Fn::Not": [{"Fn::Equals": [joined, ""]}]}


def queue_policies(template: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the statements of each queue's policy, by the queue's name."""
    found = {}
    for policy in resources(template, "AWS::SQS::QueuePolicy"):
        (queue,) = policy["Queues"]
        found[queue["Ref"]] = policy["PolicyDocument"]["Statement"]
    return found


def test_every_queue_refuses_requests_without_tls(template: dict[str, Any]) -> None:
    policies = queue_policies(template)

    queues = {name for name, body in template["Resources"].items() if body["Type"] == "AWS::SQS::Queue"}
    assert policies.keys() == queues
    for queue, found in policies.items():
        (denial,) = [statement for statement in statements(found) if statement["Effect"] == "Deny"]
        assert denial == {
            "Sid": "DemandTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": {"Fn::GetAtt": [queue, "Arn"]},
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }


def senders(statement: Mapping[str, Any], queue: str) -> list[str]:
    """Return the rules from which EventBridge may send to a queue."""
    assert statement["Effect"] == "Allow"
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Resource"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert statement["Condition"].keys() == {"ArnEquals"}
    assert statement["Condition"]["ArnEquals"].keys() == {"aws:SourceArn"}
    arns = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
    return [arn["Fn::If"][1]["Fn::GetAtt"][0] if "Fn::If" in arn else arn["Fn::GetAtt"][0] for arn in arns]


def test_every_rule_may_send_undelivered_events_to_the_failure_queue(template: dict[str, Any]) -> None:
    (_, statement) = queue_policies(template)["FailureQueue"]

    assert senders(statement, "FailureQueue") == RULES


def test_only_the_start_rule_may_send_to_the_waiting_queue(template: dict[str, Any]) -> None:
    (_, statement) = queue_policies(template)["WaitingQueue"]

    assert senders(statement, "WaitingQueue") == ["StartRule"]


def test_no_rule_may_send_to_the_queue_of_the_schedule(template: dict[str, Any]) -> None:
    """The schedule sends there with its role."""
    assert [statement["Effect"] for statement in queue_policies(template)["SweepDeadLetterQueue"]] == ["Deny"]


def test_the_function_sends_to_two_queues_and_takes_from_one(template: dict[str, Any]) -> None:
    policies = template["Resources"]["FunctionRole"]["Properties"]["Policies"]
    waiting, failure = ({"Fn::GetAtt": [queue, "Arn"]} for queue in ("WaitingQueue", "FailureQueue"))
    found = [one for one in statements(policies) if any(text.startswith("sqs:") for text in texts(one["Action"]))]

    assert [(one["Action"], one["Resource"]) for one in found] == [
        ("sqs:SendMessage", [waiting, failure]),
        (["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"], waiting),
    ]
    assert all(one in policies[0]["PolicyDocument"]["Statement"] for one in found)  # in both modes


def test_the_waiting_queue_is_there_in_both_modes(template: dict[str, Any]) -> None:
    queue = ("WaitingQueue", "WaitingQueuePolicy", "WaitingQueueMapping", "WaitingQueueAgeAlarm", "EventsWaitingAlarm")
    conditions = {name: template["Resources"][name].get("Condition") for name in queue}

    assert conditions == dict.fromkeys(queue)
    assert {"WaitingQueueUrl", "WaitingQueueArn"} <= template["Outputs"].keys()
    assert not [output for output in template["Outputs"].values() if "Condition" in output]


def test_the_queues_policies_name_every_rule(template: dict[str, Any]) -> None:
    rules = [name for name, body in template["Resources"].items() if body["Type"] == "AWS::Events::Rule"]

    assert rules == RULES


def test_resources_with_data_are_retained(template: dict[str, Any]) -> None:
    keepers = {
        name: body
        for name, body in template["Resources"].items()
        if body["Type"] in ("AWS::DynamoDB::Table", "AWS::SQS::Queue")
    }
    assert keepers.pop("SweepDeadLetterQueue")["DeletionPolicy"] == "Delete"  # it never has an event of a tenant

    assert len(keepers) == 5
    assert {(body["DeletionPolicy"], body["UpdateReplacePolicy"]) for body in keepers.values()} == {
        ("Retain", "Retain")
    }


def test_stored_data_is_encrypted(template: dict[str, Any]) -> None:
    tables, queues = resources(template, "AWS::DynamoDB::Table"), resources(template, "AWS::SQS::Queue")

    assert (len(tables), len(queues)) == (3, 3)
    assert all(table["SSESpecification"]["SSEEnabled"] for table in tables)
    # SQS allows only one form of encryption at a time.
    assert [queue["SqsManagedSseEnabled"] for queue in queues] == [{"Fn::If": ["HasKmsKey", False, True]}] * 3


KEY = {"Fn::If": ["HasKmsKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}


def test_a_custom_key_encrypts_tables_queues_logs_and_environment(template: dict[str, Any]) -> None:
    tables = [table["SSESpecification"]["KMSMasterKeyId"] for table in resources(template, "AWS::DynamoDB::Table")]
    queues = [queue["KmsMasterKeyId"] for queue in resources(template, "AWS::SQS::Queue")]
    groups = [group["KmsKeyId"] for group in resources(template, "AWS::Logs::LogGroup")]
    functions = [function["KmsKeyArn"] for function in resources(template, "AWS::Lambda::Function")]

    assert (tables, queues, groups, functions) == ([KEY] * 3, [KEY] * 3, [KEY], [KEY])
    types = [table["SSESpecification"]["SSEType"] for table in resources(template, "AWS::DynamoDB::Table")]
    assert types == [{"Fn::If": ["HasKmsKey", "KMS", {"Ref": "AWS::NoValue"}]}] * 3
    assert template["Conditions"]["HasKmsKey"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "KmsKeyArn"}, ""]}]}
    assert template["Parameters"]["KmsKeyArn"]["Default"] == ""


@pytest.mark.parametrize("role", ["FunctionRole", "SweepRole"])
def test_each_role_may_use_only_that_key(template: dict[str, Any], role: str) -> None:
    policies = template["Resources"][role]["Properties"]["Policies"]
    optional = [
        statement["Fn::If"]
        for policy in policies
        for statement in policy["PolicyDocument"]["Statement"]
        if "Fn::If" in statement
    ]

    (allowed,) = [then for condition, then, _ in optional if condition == "HasKmsKey"]
    assert (allowed["Effect"], allowed["Action"]) == ("Allow", ["kms:Decrypt", "kms:GenerateDataKey"])
    assert allowed["Resource"] == {"Ref": "KmsKeyArn"}
    with_kms = [one for one in statements(policies) if any("kms:" in text for text in texts(one["Action"]))]
    assert with_kms == [allowed]


def test_the_queues_use_the_given_key() -> None:
    key = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    with mock_aws():
        names, sqs = deployed({"KmsKeyArn": key}), boto3.client("sqs")
        queues = {
            queue: sqs.get_queue_attributes(QueueUrl=names[queue], AttributeNames=["All"])["Attributes"]
            for queue in ("WaitingQueue", "FailureQueue", "SweepDeadLetterQueue")
        }

    for attributes in queues.values():
        assert (attributes["KmsMasterKeyId"], attributes["SqsManagedSseEnabled"]) == (key, "false")


def test_deploying_has_the_key_policy_for_services_without_a_role(template: dict[str, Any]) -> None:
    (policy,) = re.findall(r"```json\n(\[\n  \{\"Sid\".*?\])\n```", DEPLOYING.read_text(), re.S)
    events, logs = json.loads(policy)

    assert (events["Effect"], events["Principal"]) == ("Allow", {"Service": "events.amazonaws.com"})
    assert events["Action"] == ["kms:GenerateDataKey", "kms:Decrypt"]
    assert "Condition" not in events  # EventBridge passes no source to KMS
    assert (logs["Effect"], logs["Principal"]) == ("Allow", {"Service": "logs.REGION.amazonaws.com"})
    (group,) = resources(template, "AWS::Logs::LogGroup")
    name = group["LogGroupName"]["Fn::Sub"].replace("${AWS::StackName}", "STACK")
    arn = f"arn:aws:logs:REGION:ACCOUNT:log-group:{name}"
    assert logs["Condition"] == {"ArnEquals": {"kms:EncryptionContext:aws:logs:arn": arn}}


def test_every_skipped_checkov_rule_has_a_reason() -> None:
    text = TEMPLATE.read_text()
    answers = dict(re.findall(r"# checkov:skip=(CKV_AWS_\d+):(\S.*)$", text, re.M))

    assert answers.keys() == {"CKV_AWS_115", "CKV_AWS_116"}  # reserved concurrency, a queue of Lambda's own kind
    function = text[text.index("  OrchestratorFunction:") : text.index("  InvokeConfig:")]
    assert function.count("checkov:skip") == len(answers)
    assert "InvokeConfig" in answers["CKV_AWS_116"]


def test_every_parameter_has_a_description_a_default_and_a_group(template: dict[str, Any]) -> None:
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]

    assert sorted(grouped) == sorted(template["Parameters"])
    for name, parameter in template["Parameters"].items():
        assert parameter["Description"], name
        assert "Default" in parameter, name


def test_a_failed_invocation_is_retried_and_then_kept(template: dict[str, Any]) -> None:
    (config,) = resources(template, "AWS::Lambda::EventInvokeConfig")

    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (2, 21600)
    assert config["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["FailureQueue", "Arn"]}
    condition, published, otherwise = config["Qualifier"]["Fn::If"]
    assert (condition, otherwise) == ("UsesSnapStart", "$LATEST")
    arn = "arn:aws:lambda:eu-west-1:123456789012:function:orchestrator:live"
    index, split = published["Fn::Select"]
    assert split == {"Fn::Split": [":", {"Ref": "OrchestratorFunctionAliaslive"}]}
    assert arn.split(":")[index] == "live"


def test_a_changed_parameter_takes_effect_without_a_new_version(template: dict[str, Any]) -> None:
    """An alias would keep the settings of the last published version."""
    alias, uses = "OrchestratorFunctionAliaslive", json.dumps(template).count('"OrchestratorFunctionAliaslive"}')
    either = {
        "Fn::If": ["UsesSnapStart", {"Ref": alias}, {"Fn::GetAtt": ["OrchestratorFunction", "Arn"]}],
    }

    assert uses > 5
    assert json.dumps(template).count(json.dumps(either)) == uses - 1  # and the invocations' configuration
    (version,) = resources(template, "AWS::Lambda::Version")
    assert version["Description"] == {"Ref": "VersionLabel"}


def test_the_schedule_invokes_the_same_function_as_the_rules(template: dict[str, Any]) -> None:
    (schedule,) = resources(template, "AWS::Scheduler::Schedule")

    assert schedule["ScheduleExpression"] == "rate(5 minutes)"
    assert schedule["Target"]["Arn"]["Fn::If"][0] == "UsesSnapStart"
    assert "Name" not in schedule  # a fixed name would prevent a second stack in the account


def test_a_sweep_that_cannot_be_started_is_retried_until_the_next_and_then_kept(template: dict[str, Any]) -> None:
    (schedule,) = resources(template, "AWS::Scheduler::Schedule")
    queue = {"Fn::GetAtt": ["SweepDeadLetterQueue", "Arn"]}

    assert schedule["Target"]["DeadLetterConfig"] == {"Arn": queue}
    assert schedule["Target"]["RetryPolicy"] == {"MaximumEventAgeInSeconds": 5 * 60}  # and 185 tries, the default
    policies = template["Resources"]["SweepRole"]["Properties"]["Policies"]
    allowed = {statement["Sid"]: (statement["Action"], statement["Resource"]) for statement in statements(policies)}
    assert allowed["InvokeTheFunction"] == ("lambda:InvokeFunction", schedule["Target"]["Arn"])
    assert allowed["SendDeadLetters"] == ("sqs:SendMessage", queue)


def test_only_schedules_of_the_account_in_the_sweeps_group_may_assume_its_role(template: dict[str, Any]) -> None:
    (trust,) = template["Resources"]["SweepRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    (schedule,) = resources(template, "AWS::Scheduler::Schedule")

    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    group = "arn:${AWS::Partition}:scheduler:${AWS::Region}:${AWS::AccountId}:schedule-group/default"
    assert trust["Condition"] == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}, "aws:SourceArn": {"Fn::Sub": group}}
    }
    assert "GroupName" not in schedule  # it is therefore in the group `default`


def test_lambda_may_assume_the_functions_role_without_a_condition(template: dict[str, Any]) -> None:
    (trust,) = template["Resources"]["FunctionRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]

    assert trust == {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }


def test_the_alarms_use_metrics_of_the_function(template: dict[str, Any]) -> None:
    alarms = resources(template, "AWS::CloudWatch::Alarm")

    assert {alarm["MetricName"] for alarm in alarms} == {
        "ApproximateNumberOfMessagesVisible",
        "ApproximateAgeOfOldestMessage",
        "Errors",
        "EventsWaitingLong",
        "Throttles",
        "RunsWithoutEnding",
        "SweepFailed",
        "FailedEvents",
    }
    own = [alarm["Dimensions"] for alarm in alarms if alarm["Namespace"] == "Orchestrator"]
    assert own == [[{"Name": "service", "Value": {"Ref": "AWS::StackName"}}]] * 5


def test_an_alarm_goes_off_when_no_sweep_is_counted_for_a_quarter_of_an_hour(template: dict[str, Any]) -> None:
    alarm = template["Resources"]["NoSweepAlarm"]
    properties = alarm["Properties"]

    assert (properties["MetricName"], properties["Statistic"]) == ("RunsWithoutEnding", "SampleCount")
    assert (properties["ComparisonOperator"], properties["Threshold"]) == ("LessThanThreshold", 1)
    assert properties["TreatMissingData"] == "breaching"
    assert properties["Period"] * properties["EvaluationPeriods"] == 15 * 60
    assert "DatapointsToAlarm" not in properties  # all three must lack a sweep: the first sweep ends the alarm
    assert alarm["DependsOn"] == "SweepSchedule"


HEIGHT = 6  # CloudWatch's default for widgets that give none


def test_the_dashboard_is_json_and_its_widgets_do_not_overlap(template: dict[str, Any]) -> None:
    (dashboard,) = resources(template, "AWS::CloudWatch::Dashboard")

    widgets = json.loads(dashboard["DashboardBody"]["Fn::Sub"])["widgets"]
    assert not [w for w in widgets if "height" in w]
    places = {
        (x, y) for w in widgets for x in range(w["x"], w["x"] + w["width"]) for y in range(w["y"], w["y"] + HEIGHT)
    }
    assert len(places) == sum(w["width"] * HEIGHT for w in widgets)  # none overlaps another
    titles = " ".join(w["properties"]["title"] for w in widgets)
    assert all(word in titles for word in ("by type", "by build system", "by reason", "Latency", "Queues"))


def test_the_dashboard_shows_waiting_events_by_reason(template: dict[str, Any]) -> None:
    (dashboard,) = resources(template, "AWS::CloudWatch::Dashboard")
    widgets = json.loads(dashboard["DashboardBody"]["Fn::Sub"])["widgets"]

    (waiting,) = [widget["properties"] for widget in widgets if "waits" in widget["properties"]["title"]]
    ((metric,),) = waiting["metrics"]
    assert "{Orchestrator,reason,service}" in metric["expression"]
    assert 'MetricName="EventsWaiting"' in metric["expression"]


# Created with moto's CloudFormation.


@pytest.fixture(params=[{}, BUFFERED], ids=["direct", "buffered"])
def account(request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """An account with the stack: its parameters, and the physical names of its resources."""
    with mock_aws():
        yield request.param, deployed(request.param)


def targets(names: Mapping[str, str], rule: str, bus: str) -> list[dict[str, Any]]:
    found = boto3.client("events").list_targets_by_rule(Rule=names[rule], EventBusName=bus)["Targets"]
    return [dict(target) for target in found]


def pattern_of(names: Mapping[str, str], rule: str, bus: str) -> dict[str, Any]:
    pattern: dict[str, Any] = json.loads(
        boto3.client("events").describe_rule(Name=names[rule], EventBusName=bus)["EventPattern"]
    )
    return pattern


def test_events_that_start_something_go_to_the_function_or_in_buffered_mode_to_the_waiting_queue(
    account: tuple[dict[str, str], dict[str, str]],
) -> None:
    parameters, names = account
    bus = parameters.get("EventBusName", "default")

    (target,) = targets(names, "StartRule", bus)
    assert pattern_of(names, "StartRule", bus) == {"detail-type": STARTS}
    assert (":sqs:" in target["Arn"]) is bool(parameters)
    assert names["WaitingQueue" if parameters else "OrchestratorFunction"].rpartition("/")[2] in target["Arn"]


def test_endings_and_build_state_changes_go_to_the_function_in_both_modes(
    account: tuple[dict[str, str], dict[str, str]],
) -> None:
    parameters, names = account
    bus = parameters.get("EventBusName", "default")

    assert pattern_of(names, "EndingRule", bus) == {"detail-type": ENDINGS}
    for rule, its_bus in (("EndingRule", bus), ("BuildStateRule", "default")):
        (target,) = targets(names, rule, its_bus)
        assert target["Arn"].endswith(f":function:{names['OrchestratorFunction']}")


def test_what_a_rule_cannot_deliver_goes_to_the_failure_queue(account: tuple[dict[str, str], dict[str, str]]) -> None:
    parameters, names = account
    bus = parameters.get("EventBusName", "default")

    for rule, its_bus in (("StartRule", bus), ("EndingRule", bus), ("BuildStateRule", "default")):
        (target,) = targets(names, rule, its_bus)
        assert names["FailureQueue"].rpartition("/")[2] in target["DeadLetterConfig"]["Arn"]


def test_together_the_rules_pass_on_every_lifecycle_type_once() -> None:
    assert sorted([*STARTS, *ENDINGS]) == sorted(str(event_type) for event_type in EventType)


def test_the_rule_for_builds_matches_only_ended_builds_of_the_function(
    account: tuple[dict[str, str], dict[str, str]],
) -> None:
    _, names = account
    pattern = boto3.client("events").describe_rule(Name=names["BuildStateRule"])["EventPattern"]
    build = {
        "id": "p:1",
        "arn": "arn:aws:codebuild:eu-west-1:123456789012:build/p:1",
        "projectName": "p",
        "buildStatus": "FAILED",
        "environment": {"environmentVariables": [{"name": "X"}, {"name": "ORCHESTRATOR_RUN_ID", "value": "1"}]},
    }

    def matches(variables: list[dict[str, str]], status: str) -> bool:
        event = state_change({**build, "buildStatus": status, "environment": {"environmentVariables": variables}})
        return matched(json.loads(pattern), event)

    ours = [{"name": "X"}, {"name": "ORCHESTRATOR_RUN_ID", "value": "1"}]
    assert matches(ours, "FAILED")
    assert matches(ours, "SUCCEEDED")
    assert not matches(ours, "IN_PROGRESS")
    assert not matches([{"name": "X"}], "FAILED")


@pytest.mark.parametrize("prefix", ["", "tenants-"])
def test_the_rule_for_builds_matches_only_ended_executions_of_state_machines_with_the_prefix(prefix: str) -> None:
    with mock_aws():
        names = deployed({"StateMachinePrefix": prefix})
        pattern = pattern_of(names, "BuildStateRule", "default")

    def matches(machine: str, status: str) -> bool:
        states = "arn:aws:states:eu-west-1:123456789012"
        execution = {
            "executionArn": f"{states}:execution:{machine}:1",
            "stateMachineArn": f"{states}:stateMachine:{machine}",
            "status": status,
        }
        return matched(pattern, status_change(execution))

    assert len(pattern["detail"]["$or"]) == 2  # EventBridge takes a shorter list for the values of a field
    assert [matches("tenants-basic", status) for status in ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")] == [
        bool(prefix)
    ] * 4
    assert not matches("tenants-basic", "RUNNING")
    assert not matches("basic", "SUCCEEDED")


def test_state_machines_may_be_started_only_if_their_prefix_is_given(template: dict[str, Any]) -> None:
    (policy,) = template["Resources"]["FunctionRole"]["Properties"]["Policies"]
    choices = [one["Fn::If"] for one in policy["PolicyDocument"]["Statement"] if "Fn::If" in one]

    ((_, granted, otherwise),) = [one for one in choices if one[0] == "HasStateMachines"]
    assert template["Conditions"]["HasStateMachines"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "StateMachinePrefix"}, ""]}]
    }
    assert granted["Action"] == ["states:DescribeStateMachine", "states:StartExecution", "states:DescribeExecution"]
    assert otherwise == {"Ref": "AWS::NoValue"}


def matched(pattern: Any, event: Any) -> bool:
    """Match as EventBridge does: a list in the event matches if one of its members does."""
    if isinstance(event, list):
        return any(matched(pattern, member) for member in event)
    if isinstance(pattern, dict):
        return isinstance(event, dict) and all(
            any(matched(one, event) for one in wanted) if name == "$or" else matched(wanted, event.get(name, []))
            for name, wanted in pattern.items()
        )
    return any(_matched(one, event) for one in pattern)


def _matched(one: Any, event: Any) -> bool:
    match one:
        case {"prefix": prefix}:
            return bool(event.startswith(prefix))
        case {"suffix": suffix}:
            return bool(event.endswith(suffix))
        case {"exists": True}:
            return True
    return bool(event == one)


SBT_REQUESTS = ("onboardingRequest", "offboardingRequest")
SBT_ANSWERS = ("provisionSuccess", "provisionFailure", "deprovisionSuccess", "deprovisionFailure")


@pytest.mark.parametrize("mode", [{}, BUFFERED], ids=["direct", "buffered"])
def test_with_a_source_of_sbt_a_rule_passes_on_its_requests_and_the_functions_answers(mode: dict[str, str]) -> None:
    with mock_aws():
        names = deployed({**mode, "SbtControlPlaneSource": "sbt.control.plane"})
        bus = mode.get("EventBusName", "default")
        pattern = pattern_of(names, "SbtRule", bus)
        (target,) = targets(names, "SbtRule", bus)

    assert target["Arn"].endswith(f":function:{names['OrchestratorFunction']}")
    assert names["FailureQueue"].rpartition("/")[2] in target["DeadLetterConfig"]["Arn"]

    def passes(event_type: str, source: str, **detail: str) -> bool:
        return matched(pattern, {"detail-type": event_type, "source": source, "detail": detail})

    for prefix in ("sbt_aws_", ""):
        for name in SBT_REQUESTS:
            assert passes(prefix + name, "sbt.control.plane", tenantId="t1")
            assert not passes(prefix + name, "somebody.else", tenantId="t1")
        for name in SBT_ANSWERS:
            assert passes(prefix + name, "any.application.plane", ORCHESTRATOR_EVENT_ID="e1")
            assert not passes(prefix + name, "sbt.application.plane", tenantRegistrationId="of another job")
    assert not passes("sbt_aws_billingSuccess", "sbt.control.plane")


def test_the_rule_for_sbt_passes_on_every_type_that_its_consumers_take() -> None:
    taken = [event_type for consumer in sbt for event_type in consumer.types]

    names = [*SBT_REQUESTS, *SBT_ANSWERS]
    assert sorted(taken) == sorted(prefix + name for prefix in ("sbt_aws_", "") for name in names)


def test_without_a_source_of_sbt_there_is_no_rule_for_it(account: tuple[dict[str, str], dict[str, str]]) -> None:
    assert not [name for name in account[1] if name.startswith("Sbt")]


OWN_SOURCES = [
    OWN_SOURCE,
    PublishEvent(type="TENANT_MOVED", detail={}).source,
    provisioning.SUCCESS_HANDLER,
    "saas.tenant.provisioning.codebuild",
    "saas.tenant.provisioning.jenkins",
    "saas.tenant.provisioning.stepfunctions",
]


def test_with_allowed_sources_the_rules_accept_only_those_and_the_functions_own() -> None:
    given = {"AllowedSources": "my.control.plane,my.billing", "ExtraEventTypes": "TENANT_SUSPENDED"}
    with mock_aws():
        names = deployed(given)
        starts, endings = (pattern_of(names, rule, "default") for rule in ("StartRule", "EndingRule"))

    others = ["my.control", "my.control.plane.2", "somebody.else", "orchestrator.smoke", "saas.control.plane"]
    wanted = ["my.control.plane", "my.billing", *OWN_SOURCES]
    sources = [*wanted, *others]
    for pattern, event_type in (
        (starts, EventType.TENANT_PROVISIONING),
        (starts, "TENANT_SUSPENDED"),
        (endings, EventType.TENANT_PROVISIONING_SUCCESS),
    ):
        assert [one for one in sources if matched(pattern, {"detail-type": event_type, "source": one})] == wanted
        assert not matched(pattern, {"detail-type": "TENANT_MOVED", "source": "my.billing"})
        assert len(pattern["$or"]) == 2  # EventBridge treats an `$or` with fewer members as the name of a field


def test_the_tables_have_the_keys_that_the_function_uses(account: tuple[dict[str, str], dict[str, str]]) -> None:
    _, names = account
    dynamodb = boto3.client("dynamodb")

    def keys(schema: Any) -> list[str]:
        return [key["AttributeName"] for key in schema]

    tables = {name: dynamodb.describe_table(TableName=names[name])["Table"] for name in names if name.endswith("Table")}
    assert {name: keys(table["KeySchema"]) for name, table in tables.items()} == {
        "TierDetailsTable": ["tier"],
        "TenantRecordsTable": ["tenantId"],
        "IdempotencyTable": ["id"],
    }
    indexes = {index["IndexName"]: index for index in tables["IdempotencyTable"]["GlobalSecondaryIndexes"]}
    assert {name: keys(index["KeySchema"]) for name, index in indexes.items()} == {
        OPEN_JOBS: ["openJob", "checkAt"],
        BY_TENANT: ["tenantId", "since"],
        WAITING: ["waitingFor", "waitingSince"],
    }
    for name, index in indexes.items():
        made = sandbox.LEDGER_INDEXES[name]
        assert (*keys(index["KeySchema"]), set(index["Projection"]["NonKeyAttributes"])) == (*made[:2], set(made[2]))


def test_old_ledger_records_expire(template: dict[str, Any]) -> None:
    table = template["Resources"]["IdempotencyTable"]["Properties"]

    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiration", "Enabled": True}


def test_the_waiting_queue_delivers_batches_and_keeps_waiting_events(
    account: tuple[dict[str, str], dict[str, str]],
) -> None:
    parameters, names = account
    (mapping,) = boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert int(mapping["ScalingConfig"]["MaximumConcurrency"]) == (25 if parameters else 10)
    queue = boto3.client("sqs").get_queue_attributes(QueueUrl=names["WaitingQueue"], AttributeNames=["All"])[
        "Attributes"
    ]
    assert mapping["EventSourceArn"] == queue["QueueArn"]
    function = boto3.client("lambda").get_function_configuration(FunctionName=names["OrchestratorFunction"])
    assert int(queue["VisibilityTimeout"]) >= 6 * function["Timeout"]
    redrive = json.loads(queue["RedrivePolicy"])
    # Temporary failures are tried at most this often, so they never go to the failure queue for that.
    hourly = MAX_AGE_SECONDS / (0.75 * LONGEST_WAIT_SECONDS)
    assert hourly + math.log2(LONGEST_WAIT_SECONDS / FIRST_WAIT_SECONDS) < int(redrive["maxReceiveCount"])
    assert int(queue["MessageRetentionPeriod"]) > MAX_AGE_SECONDS
    variables = function["Environment"]["Variables"]
    assert names["FailureQueue"] == variables["FAILURE_QUEUE_URL"]
    assert names["WaitingQueue"] == variables["WAITING_QUEUE_URL"]
    assert names["FailureQueue"].rpartition("/")[2] in redrive["deadLetterTargetArn"]


def test_the_function_gets_only_settings_that_it_reads(
    account: tuple[dict[str, str], dict[str, str]],
) -> None:
    parameters, names = account
    function = boto3.client("lambda").get_function_configuration(FunctionName=names["OrchestratorFunction"])
    variables = function["Environment"]["Variables"]

    # Powertools and glibc read these themselves.
    own = {name: value for name, value in variables.items() if not name.startswith(("POWERTOOLS_", "RES_OPTIONS"))}
    assert own.keys() <= {name.upper() for name in Settings.model_fields}
    settings = Settings.from_environment(own)
    assert settings.tier_details_table == names["TierDetailsTable"]
    assert settings.idempotency_table == names["IdempotencyTable"]
    assert settings.event_bus_name == parameters.get("EventBusName", "default")
    assert variables["POWERTOOLS_SERVICE_NAME"] == STACK


def test_existing_tables_are_used() -> None:
    given = {"TierDetailsTableName": "tiers", "TenantRecordsTableName": "tenants", "IdempotencyTableName": "done"}
    with mock_aws():
        names = deployed(given)
        function = boto3.client("lambda").get_function_configuration(FunctionName=names["OrchestratorFunction"])

    settings = Settings.from_environment(function["Environment"]["Variables"])
    assert not [name for name in names if name.endswith("Table")]
    assert (settings.tier_details_table, settings.data_store_table, settings.idempotency_table) == (*given.values(),)


@pytest.mark.parametrize("mode", [{}, BUFFERED], ids=["direct", "buffered"])
def test_a_custom_handler_gets_its_events(mode: dict[str, str]) -> None:
    given = {
        "Handler": "my_consumers.lambda_handler",
        "ExtraEventTypes": "TENANT_SUSPENDED,TENANT_MOVED",
        "ExtraPolicyArns": "arn:aws:iam::123456789012:policy/machines,arn:aws:iam::123456789012:policy/topics",
        "DefaultBuilder": "STEP_FUNCTIONS",
    }
    with mock_aws():
        names = deployed({**mode, **given})
        function = boto3.client("lambda").get_function_configuration(FunctionName=names["OrchestratorFunction"])
        bus = mode.get("EventBusName", "default")
        pattern = pattern_of(names, "StartRule", bus)

    assert function["Handler"] == given["Handler"]
    assert function["Environment"]["Variables"]["DEFAULT_BUILDER"] == "STEP_FUNCTIONS"
    assert pattern == {"detail-type": [*STARTS, "TENANT_SUSPENDED", "TENANT_MOVED"]}


def test_every_rule_may_invoke_the_function(template: dict[str, Any]) -> None:
    permissions = [body for body in template["Resources"].values() if body["Type"] == "AWS::Lambda::Permission"]

    given = {body["Properties"]["SourceArn"]["Fn::GetAtt"][0]: body.get("Condition") for body in permissions}
    assert given == {"StartRule": None, "EndingRule": None, "BuildStateRule": None, "SbtRule": "HasSbt"}


@pytest.mark.parametrize(
    ("parameter", "value", "is_taken"),
    [
        ("Handler", "my_consumers.lambda_handler", True),
        ("Handler", "my_consumers.app.lambda_handler", True),
        ("Handler", "my_consumers:lambda_handler", False),
        ("Handler", "lambda_handler", False),
        ("DefaultBuilder", "STEP_FUNCTIONS", True),
        ("DefaultBuilder", "Argo/eu-1", True),
        ("DefaultBuilder", "", False),
        ("DefaultBuilder", "two words", False),
        ("StateMachinePrefix", "", True),
        ("StateMachinePrefix", "tenants-", True),
        ("StateMachinePrefix", "*", False),
        ("KmsKeyArn", "", True),
        ("KmsKeyArn", "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab", True),
        ("KmsKeyArn", "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab", True),
        ("KmsKeyArn", "arn:aws:kms:eu-west-1:123456789012:alias/mine", False),  # IAM policies accept no alias
        ("KmsKeyArn", "1234abcd-12ab-34cd-56ef-1234567890ab", False),
    ],
)
def test_parameters_must_match_their_pattern(
    template: dict[str, Any], parameter: str, value: str, is_taken: bool
) -> None:
    assert (re.fullmatch(template["Parameters"][parameter]["AllowedPattern"], value) is not None) is is_taken


def test_every_type_listed_as_missing_from_moto_is_in_the_template(template: dict[str, Any]) -> None:
    types = {body["Type"] for body in template["Resources"].values()}

    assert types & NOT_IN_MOTO == NOT_IN_MOTO
