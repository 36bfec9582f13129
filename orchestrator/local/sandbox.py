"""Fills an emulated AWS and an emulated Jenkins with the data and the jobs that the sample events need.

The data are five tiers and the record of one tenant.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.action import Outcome, OutcomeStatus
from orchestrator.aws import items
from orchestrator.aws.clients import Clients
from orchestrator.aws.errors import aws_errors
from orchestrator.event import EventType, Start
from orchestrator.job import StartedJob
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.ledger.record import BY_TENANT, OPEN_JOBS, WAITING, milliseconds
from orchestrator.local.control_plane import ControlPlane
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.settings import Settings
from orchestrator.stores.tiers import JOB_ATTRIBUTES
from orchestrator.timing import clock
from orchestrator.timing.clock import written

if TYPE_CHECKING:
    from types_boto3_codebuild import CodeBuildClient
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_stepfunctions import SFNClient

_MACHINES = "arn:aws:states:us-east-1:123456789012:stateMachine:"
TIERS: Mapping[str, Mapping[str, Any]] = {
    "BASIC": {
        "jobName": "basic-tenant-provisioning",
        "jobDeprovisions": True,
        "AWS_REGION": "us-east-1",
        "instanceSize": "small",
    },
    "STANDARD": {
        "jobName": "standard-tenant-provisioning",
        "deploymentJobName": "standard-tenant-deployment",
        "deprovisioningJobName": "standard-tenant-deprovisioning",
        "AWS_REGION": "us-east-1",
        "instanceSize": "medium",
    },
    "PREMIUM": {
        "jobName": "premium-tenant-provisioning",
        "deprovisioningJobName": "premium-tenant-deprovisioning",
        "AWS_REGION": "us-east-1",
        "instanceSize": "large",
        "tokenExpirationSeconds": 3600,
    },
    "ENTERPRISE": {
        "jobName": "tenants/enterprise-provisioning",
        "deploymentJobName": "tenants/enterprise-deployment",
        "deprovisioningJobName": "tenants/enterprise-deprovisioning",
        "builder": "JENKINS",
        "instanceSize": "xlarge",
    },
    "DEDICATED": {
        "jobName": f"{_MACHINES}dedicated-tenant-provisioning",
        "deprovisioningJobName": f"{_MACHINES}dedicated-tenant-deprovisioning",
        "builder": "STEP_FUNCTIONS",
        "instanceSize": "xlarge",
    },
}
CALLBACK_SECRET = "example-callback-secret"  # noqa: S105 (the one in the sample events)
CALLBACK_CONTEXT = "example-callback-context"
TENANT: Mapping[str, Any] = {
    "tenantId": "4b1f6c0e-3c1d-4a58-9a55-7d9f0e6a2c11",
    "tenant": {
        "id": "4b1f6c0e-3c1d-4a58-9a55-7d9f0e6a2c11",
        "name": "Acme Robotics",
        "key": "acme",
        "status": 1,
        "domains": ["acme.example.com"],
    },
    "planConfig": {"tier": "PREMIUM", "sizeConfig": {"INSTANCE_COUNT": 3, "STORAGE_GB": 250}},
    "builderConfig": {
        "type": "CODE_BUILD",
        "config": {
            "environmentOverride": {
                "INSTANCE_COUNT": 3,
                "STORAGE_GB": 250,
                "secret": CALLBACK_SECRET,
                "context": CALLBACK_CONTEXT,
            }
        },
    },
}
"""The tenant record of the one tenant in the sample events, as it is after the tenant has been provisioned."""

_KEPT = ["job", "outcome", "state", "owner", "firstOwner", "lockedUntil", "expiration"]
LEDGER_INDEXES: Mapping[str, tuple[str, str, Sequence[str]]] = {
    OPEN_JOBS: ("openJob", "checkAt", _KEPT),
    BY_TENANT: ("tenantId", "since", [*_KEPT, "ending"]),
    WAITING: ("waitingFor", "waitingSince", [*_KEPT, "receipt", "queue"]),
}
"""The indexes of the ledger's table. The file template.yaml defines the same ones.

Each index's name is mapped to its partition key, its sort key and its projected attributes.
"""

JENKINS_SECRET = "orchestrator-local-jenkins"  # noqa: S105 (a secret's name)
_JENKINS_USER = "orchestrator"
_JENKINS_TOKEN = "an-api-token-of-no-worth"  # noqa: S105 (only the embedded server accepts it)
_JENKINS_PARAMETERS = (
    "tier",
    "tenant",
    "secret",
    "context",
    "ORCHESTRATOR_RUN_ID",
    "ORCHESTRATOR_EVENT_ID",
    "ORCHESTRATOR_EVENT_TYPE",
    "ORCHESTRATOR_TENANT_ID",
)


def fill(jobs: Sequence[str] = ()) -> None:
    """Create the AWS resources that the sample events need: tables, queues, CodeBuild projects, and a secret.

    The names of the tables and queues are read from the settings in the environment. A table or queue without a name in
    the settings is not created. A new table of tier details gets the items in `TIERS`, and a new table of tenant
    records gets the item `TENANT`. Tables and projects that exist already are not changed.

    The secret contains the credentials for the Jenkins server that the function `jenkins` creates. If the secret exists
    already, its value is replaced.

    Args:
        jobs: Names of CodeBuild projects to create besides those of the tiers. Names with a slash, which CodeBuild does
            not allow, and ARNs of state machines are ignored.

    Raises:
        ConfigurationError: A setting is invalid, or AWS or its emulator refused a request.
        Unavailable: AWS or its emulator does not answer.
    """
    settings = Settings.from_environment()
    clients = Clients()
    dynamodb = clients.get("dynamodb", settings.dynamo_db_region or settings.aws_region)
    codebuild = clients.get("codebuild", settings.code_build_region or settings.aws_region)
    with aws_errors("the sandbox could not be set up"):
        if settings.data_store_table is not None and _create_table(dynamodb, settings.data_store_table, "tenantId"):
            dynamodb.put_item(TableName=settings.data_store_table, Item=items.to_item(TENANT))
        if settings.idempotency_table is not None:
            _create_table(dynamodb, settings.idempotency_table, "id", LEDGER_INDEXES)
        if settings.tier_details_table is not None and _create_table(dynamodb, settings.tier_details_table, "tier"):
            for tier, details in TIERS.items():
                item = items.to_item({"tier": tier, **details})
                dynamodb.put_item(TableName=settings.tier_details_table, Item=item)
        for name in (*_tier_jobs(), *jobs):
            if "/" not in name and not _is_state_machine(name):
                create_project(codebuild, name)
        _create_secret(clients.get("secretsmanager", settings.aws_region))
        for url in filter(None, (settings.waiting_queue_url, settings.failure_queue_url)):
            clients.get("sqs", settings.aws_region).create_queue(QueueName=url.rpartition("/")[2])


def leave_jobs_open() -> None:
    """Store two unfinished runs in the table that `IDEMPOTENCY_TABLE` names, because two sample events need them.

    The event `events/scheduled-sweep.json` makes the function check runs that are due for a check. The first run is
    due. The event `events/codebuild-build-state-change.json` reports that the second run has ended.

    The runs do not lock their tenant, so no sample event has to wait until the runs have ended.

    Call `fill` first, because the table and the CodeBuild project must exist. If `IDEMPOTENCY_TABLE` is not set,
    nothing is stored.
    """
    settings = Settings.from_environment()
    if settings.idempotency_table is None:
        return
    clients = Clients()
    dynamodb = clients.get("dynamodb", settings.dynamo_db_region or settings.aws_region)
    codebuild = clients.get("codebuild", settings.code_build_region or settings.aws_region)
    records = DynamoDBRecords(
        settings.idempotency_table,
        partial(clients.get, "dynamodb", settings.dynamo_db_region or settings.aws_region),
        timedelta(days=30),
        locks_tenants=False,
    )
    name = TIERS["PREMIUM"]["jobName"]
    with aws_errors("the sandbox could not be set up"):
        build = codebuild.start_build(projectName=name)["build"]["id"]
        _leave_open(records, name, "5d2a7e90c4b14f6f9a3e8d1b7c6f0e42", build)
        due = {":due": {"S": written(clock.now() - timedelta(minutes=1))}}
        dynamodb.update_item(
            TableName=settings.idempotency_table,
            Key={"id": {"S": "5d2a7e90c4b14f6f9a3e8d1b7c6f0e42"}},
            UpdateExpression="SET checkAt = :due",
            ExpressionAttributeValues=due,
        )
        _leave_open(records, name, "0b6f4c1de2a94f3b8d7c5e6a9f102b3c", f"{name}:8f14e45f-ceea-467f-a0e6-1a2b3c4d5e6f")


def _leave_open(records: DynamoDBRecords, name: str, run_id: str, build: str) -> None:
    since = clock.now() - timedelta(hours=1)
    event_id = "e332226e-c72e-5ab5-b887-c2e9c12df241"
    job = StartedJob(
        builder="CODE_BUILD",
        name=name,
        run_id=run_id,
        since=since,
        event_id=event_id,
        event_type=EventType.TENANT_PROVISIONING,
        tenant_id=TENANT["tenantId"],
        start=Start(event_id=event_id, at=since),
    )
    records.claim(run_id, "sandbox", milliseconds(since), job, follow=True)
    outcome = Outcome(action="StartJob", status=OutcomeStatus.STARTED, builder=job.builder, name=name, id=build)
    records.settle(run_id, "sandbox", outcome)


def jenkins(jobs: Sequence[str] = ()) -> JenkinsServer:
    """Create an emulated Jenkins server with the jobs of the sample tiers. The caller starts the server.

    The function `fill` stores the server's credentials in a secret. The constant `JENKINS_SECRET` is the secret's name.

    Args:
        jobs: Names of jobs to create besides those of the sample tiers. ARNs of state machines are ignored.
    """
    server = JenkinsServer(users={_JENKINS_USER: _JENKINS_TOKEN}, now=clock.now().timestamp())
    for name in (*_tier_jobs(), *jobs):
        if not _is_state_machine(name):
            server.add_job(name, _JENKINS_PARAMETERS)
    return server


def state_machines(jobs: Sequence[str] = ()) -> list[str]:
    """Return the ARNs of the state machines among the jobs of the sample tiers and `jobs`."""
    return [name for name in (*_tier_jobs(), *jobs) if _is_state_machine(name)]


def create_state_machines(jobs: Sequence[str] = ()) -> None:
    """Create, in an AWS emulator, the state machines that `state_machines` lists, each in the region of its ARN.

    The emulator creates them in its own account, whatever account the ARNs name. They have these ARNs only if the
    accounts are the same.

    Raises:
        ConfigurationError: The emulator refused a request.
        Unavailable: The emulator does not answer.
    """
    clients = Clients()
    with aws_errors("the sandbox could not be set up"):
        for arn in state_machines(jobs):
            client: SFNClient = clients.get("stepfunctions", arn.split(":")[3])
            client.create_state_machine(
                name=arn.rpartition(":")[2],
                definition='{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}',
                roleArn="arn:aws:iam::123456789012:role/service-role/step-functions",
            )


def _is_state_machine(name: str) -> bool:
    return ":stateMachine:" in name


def _tier_jobs() -> list[str]:
    return [details[name] for details in TIERS.values() for name in JOB_ATTRIBUTES.values() if name in details]


def control_plane() -> ControlPlane:
    """Create an emulated control plane. The caller must start it.

    A real control plane refuses further webhooks for a tenant whose provisioning has ended. This control plane accepts
    any number of webhooks for a tenant, because all sample events have the same tenant.
    """
    return ControlPlane(CALLBACK_SECRET, CALLBACK_CONTEXT, settles=False)


def _create_secret(secrets: "SecretsManagerClient") -> None:
    content = json.dumps({"username": _JENKINS_USER, "token": _JENKINS_TOKEN})
    try:
        secrets.create_secret(Name=JENKINS_SECRET, SecretString=content)
    except secrets.exceptions.ResourceExistsException:
        secrets.put_secret_value(SecretId=JENKINS_SECRET, SecretString=content)


def _create_table(
    dynamodb: "DynamoDBClient", name: str, key: str, indexes: Mapping[str, tuple[str, str, Sequence[str]]] | None = None
) -> bool:
    indexes = indexes or {}
    keys = {key, *(name for first, second, _ in indexes.values() for name in (first, second))}
    made: Any = [
        {
            "IndexName": index,
            "KeySchema": [
                {"AttributeName": first, "KeyType": "HASH"},
                {"AttributeName": second, "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(kept)},
        }
        for index, (first, second, kept) in indexes.items()
    ]
    try:
        dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in sorted(keys)],
            BillingMode="PAY_PER_REQUEST",
            **({"GlobalSecondaryIndexes": made} if made else {}),
        )
    except dynamodb.exceptions.ResourceInUseException:
        return False
    return True


def create_project(codebuild: "CodeBuildClient", name: str) -> None:
    """Create a CodeBuild project, unless it exists already."""
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
