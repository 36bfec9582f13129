"""The AWS of a chaos run, all but CodeBuild: DynamoDB, Secrets Manager and EventBridge, as far as they are used."""

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.local import sandbox
from orchestrator.local.http_server import Answer, Request
from tests.chaos.dynamodb import ConditionFailed, DynamoDB, Unsupported

IDEMPOTENCY_TABLE = "idempotency"
TENANTS_TABLE = "tenants"
TIERS_TABLE = "tiers"
JENKINS_TOKEN = "a-token-of-no-worth"
TIERS = {tier: details for tier, details in sandbox.TIERS.items() if "builder" not in details}


class AwsServer:
    """Answers AWS JSON requests.

    Attributes:
        dynamodb: The tables.
        published: The entries that EventBridge took.
    """

    def __init__(self, entry_fails: Callable[[], bool]) -> None:
        """Start with the tiers and nothing else.

        Args:
            entry_fails: Says of each entry of PutEvents whether EventBridge is not to take it.
        """
        self.dynamodb = DynamoDB({IDEMPOTENCY_TABLE: "id", TENANTS_TABLE: "tenantId", TIERS_TABLE: "tier"})
        self.dynamodb.tables[TIERS_TABLE].update(
            {tier: {"tier": {"S": tier}, "jobName": {"S": details["jobName"]}} for tier, details in TIERS.items()}
        )
        self.published: list[dict[str, Any]] = []
        self._entry_fails = entry_fails

    def respond(self, request: Request, caller: str) -> Answer:
        """Answer a request.

        Args:
            request: The request.
            caller: Access key id of who sent it.

        Raises:
            Unsupported: The request asks for something that is not emulated.
        """
        service, _, operation = request.headers["X-Amz-Target"].rpartition(".")
        body = json.loads(request.body)
        match service, operation:
            case "DynamoDB_20120810", _:
                try:
                    return _json(self.dynamodb.perform(operation, body))
                except ConditionFailed as error:
                    item = {} if error.item is None else {"Item": error.item}
                    return failure("ConditionalCheckFailedException", more=item)
            case "secretsmanager", "GetSecretValue":
                # Each child has a Jenkins user of its own, so that its requests can be told from the others'.
                secret = json.dumps({"username": caller, "token": JENKINS_TOKEN})
                name = body["SecretId"]
                arn = f"arn:aws:secretsmanager:eu-west-1:123456789012:secret:{name}"
                return _json({"ARN": arn, "Name": name, "SecretString": secret})
            case "AWSEvents", "PutEvents":
                return self._put_events(body["Entries"])
        raise Unsupported(f"{service} {operation}")

    def _put_events(self, entries: list[dict[str, Any]]) -> Answer:
        results = []
        for entry in entries:
            if self._entry_fails():
                results.append({"ErrorCode": "InternalFailure", "ErrorMessage": "not taken"})
            else:
                self.published.append(entry)
                results.append({"EventId": str(uuid.uuid4())})
        failed = sum("ErrorCode" in result for result in results)
        return _json({"FailedEntryCount": failed, "Entries": results})


def failure(code: str, status: int = 400, more: Mapping[str, Any] | None = None) -> Answer:
    """Make the answer by which AWS refuses a request."""
    return _json({"__type": code, "message": "refused", **(more or {})}, status)


def _json(body: Mapping[str, Any], status: int = 200) -> Answer:
    return Answer(status, json.dumps(body), {"Content-Type": "application/x-amz-json-1.1"})
