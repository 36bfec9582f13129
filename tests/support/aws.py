"""Reads the requests sent to the emulated AWS, and the data stored there."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import boto3
from botocore import handlers

from orchestrator.aws.items import from_item, plain
from orchestrator.builders.jenkins.credentials import Credentials
from orchestrator.local import sandbox

REGION = "eu-west-1"
ACCOUNT_ID = "123456789012"  # moto's default


class Requests(list[tuple[str, dict[str, Any]]]):
    """The requests sent, in order: operation and decoded body."""

    def of(self, operation: str) -> list[dict[str, Any]]:
        return [body for name, body in self if name == operation]

    @property
    def operations(self) -> list[str]:
        return [name for name, _ in self]

    @property
    def besides_reports(self) -> list[str]:
        """The operations, without those that publish a failure, and without those of the ledger."""
        own = ("PutEvents", "TransactWriteItems")
        return [name for name, body in self if name not in own and body.get("TableName") != "idempotency"]


@contextmanager
def recorded() -> Iterator[Requests]:
    """Record every AWS request of a JSON protocol (not those of S3 and CloudFormation) as the SDK sends it."""
    sent = Requests()

    def record(request: Any, **_: Any) -> None:
        target = request.headers.get("X-Amz-Target", b"").decode()
        if target:
            sent.append((target.rpartition(".")[2], json.loads(request.body)))

    entry = ("before-send", record)
    handlers.BUILTIN_HANDLERS.insert(0, entry)
    try:
        yield sent
    finally:
        handlers.BUILTIN_HANDLERS.remove(entry)


def stored(tenant_id: str = sandbox.TENANT["tenantId"]) -> dict[str, Any]:
    """Read a tenant record from the emulated table."""
    item = boto3.client("dynamodb").get_item(TableName="tenants", Key={"tenantId": {"S": tenant_id}}).get("Item")
    record: dict[str, Any] = plain(from_item(item or {}))
    return record


def published(aws: Requests) -> list[dict[str, Any]]:
    """Return the published EventBridge entries, in order."""
    return [entry for request in aws.of("PutEvents") for entry in request["Entries"]]


def no_pause(seconds: float) -> None:
    """Replace `time.sleep`."""


class Secrets:
    """Replaces the Secrets Manager client; its secret holds the credentials of the tests' Jenkins."""

    USERS: ClassVar[dict[str, str]] = {"admin": "s3cret-token"}

    def __init__(self, secret: str | bytes = json.dumps({"username": "admin", "token": "s3cret-token"})) -> None:
        self.secret = secret
        self.reads: list[str] = []

    @property
    def credentials(self) -> Credentials:
        client: Any = self
        return Credentials("jenkins", lambda: client)

    def get_secret_value(self, SecretId: str) -> dict[str, str | bytes]:  # noqa: N803 (the SDK's name)
        self.reads.append(SecretId)
        return {"SecretString" if isinstance(self.secret, str) else "SecretBinary": self.secret}


def variables(start_build: Mapping[str, Any]) -> dict[str, str]:
    """Read the variables of a StartBuild request."""
    sent = start_build["environmentVariablesOverride"]
    assert all(set(variable) == {"name", "value", "type"} for variable in sent)
    assert {variable["type"] for variable in sent} == {"PLAINTEXT"}
    return {variable["name"]: variable["value"] for variable in sent}
