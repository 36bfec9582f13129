"""Transforms the template with the SAM translator, and creates the stack in an emulated account."""

import io
import json
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from tests.support.emulated import filled

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
STACK = "orchestrator"
NOT_IN_MOTO = frozenset(
    {
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::Dashboard",
        "AWS::Lambda::Alias",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::SQS::QueuePolicy",
        "AWS::Scheduler::Schedule",
    }
)
_CODE = {"Bucket": "artifacts", "Key": "orchestrator.zip"}


def transformed() -> dict[str, Any]:
    """Return the template without SAM's own types."""
    made: dict[str, Any] = json.loads(_transformed())
    return made


@cache
def _transformed() -> str:
    template = yaml_parse(TEMPLATE.read_text())
    # The value that `sam deploy` sets after uploading the artifact.
    template["Resources"]["OrchestratorFunction"]["Properties"]["CodeUri"] = dict(_CODE)
    translator = Translator({}, Parser(), [], boto3.Session(region_name="eu-west-1"))
    return json.dumps(translator.translate(template, {}))


def for_moto(template: dict[str, Any]) -> dict[str, Any]:
    """Remove what moto's CloudFormation does not create, and use the function in place of its alias."""
    alias = {"Ref": "OrchestratorFunctionAliaslive"}
    text = json.dumps(template).replace(json.dumps(alias), json.dumps({"Fn::GetAtt": ["OrchestratorFunction", "Arn"]}))
    made: dict[str, Any] = json.loads(text)
    resources = made["Resources"]
    made["Resources"] = {name: body for name, body in resources.items() if body["Type"] not in NOT_IN_MOTO}
    del made["Outputs"]["DashboardUrl"]  # it names the dashboard, and moto cannot describe a stack with such an output
    return made


def deployed(parameters: Mapping[str, str]) -> dict[str, str]:
    """Create the stack; return the physical names of its resources, by logical id."""
    return filled(("stack", frozenset(parameters.items())), lambda: _deploy(parameters))


def _deploy(parameters: Mapping[str, str]) -> dict[str, str]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        code.writestr("orchestrator/handler.py", "def lambda_handler(event, context): return None")
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=_CODE["Bucket"], CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(**_CODE, Body=archive.getvalue())
    template = for_moto(transformed())
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(
        StackName=STACK,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    resources = cloudformation.list_stack_resources(StackName=STACK)["StackResourceSummaries"]
    return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}
