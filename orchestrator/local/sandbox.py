"""The small world that samples run in: three tiers, their CodeBuild projects, and the tables."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator import aws
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from types_boto3_codebuild import CodeBuildClient
    from types_boto3_dynamodb import DynamoDBClient

TIERS: Mapping[str, Mapping[str, Any]] = {
    "BASIC": {"jobName": "basic-tenant-provisioning", "AWS_REGION": "us-east-1", "instanceSize": "small"},
    "STANDARD": {"jobName": "standard-tenant-provisioning", "AWS_REGION": "us-east-1", "instanceSize": "medium"},
    "PREMIUM": {
        "jobName": "premium-tenant-provisioning",
        "AWS_REGION": "us-east-1",
        "instanceSize": "large",
        "tokenExpirationSeconds": 3600,
    },
}


def fill() -> None:
    """Create the tables and projects that are not there yet, and put the tiers into a new tier table.

    Raises:
        Unavailable: AWS, or what stands for it, does not answer.
    """
    settings = Settings.from_environment()
    clients = aws.Clients()
    dynamodb = clients.get("dynamodb", settings.dynamo_db_region or settings.aws_region)
    codebuild = clients.get("codebuild", settings.code_build_region or settings.aws_region)
    with aws.errors("the sandbox could not be set up"):
        if settings.data_store_table is not None:
            _create_table(dynamodb, settings.data_store_table, "tenantId")
        if settings.tier_details_table is not None and _create_table(dynamodb, settings.tier_details_table, "tier"):
            for tier, details in TIERS.items():
                item = aws.to_item({"tier": tier, **details})
                dynamodb.put_item(TableName=settings.tier_details_table, Item=item)
        for details in TIERS.values():
            _create_project(codebuild, details["jobName"])


def _create_table(dynamodb: "DynamoDBClient", name: str, key: str) -> bool:
    try:
        dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    except dynamodb.exceptions.ResourceInUseException:
        return False
    return True


def _create_project(codebuild: "CodeBuildClient", name: str) -> None:
    try:
        codebuild.create_project(
            name=name,
            source={"type": "S3", "location": "example-bucket/build.zip"},
            artifacts={"type": "NO_ARTIFACTS"},
            environment={
                "type": "LINUX_CONTAINER",
                "image": "aws/codebuild/standard:7.0",
                "computeType": "BUILD_GENERAL1_SMALL",
            },
            serviceRole="arn:aws:iam::123456789012:role/service-role/codebuild",
        )
    except codebuild.exceptions.ResourceAlreadyExistsException:
        return
