"""A minimal hand-written handler: reads the tier, stores the record and starts the build, without any protection."""

import json
import os
from typing import Any

import boto3

dynamodb: Any = boto3.client("dynamodb")
codebuild: Any = boto3.client("codebuild")


def lambda_handler(event: Any, context: Any) -> dict[str, str]:
    detail = event["detail"]
    key = {"tier": {"S": detail["planConfig"]["tier"]}}
    tier = dynamodb.get_item(TableName=os.environ["TIER_DETAILS_TABLE"], Key=key)["Item"]
    record = {"tenantId": {"S": detail["tenant"]["id"]}, "detail": {"S": json.dumps(detail)}}
    dynamodb.put_item(TableName=os.environ["DATA_STORE_TABLE"], Item=record)
    given = detail["builderConfig"]["config"]["environmentOverride"]
    variables = [{"name": name, "value": str(value), "type": "PLAINTEXT"} for name, value in given.items()]
    started = codebuild.start_build(projectName=tier["jobName"]["S"], environmentVariablesOverride=variables)
    return {"id": started["build"]["id"]}
