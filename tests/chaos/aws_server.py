"""Emulates the parts of DynamoDB, Secrets Manager, EventBridge and SQS that a chaos run uses."""

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from orchestrator.aws.items import to_item
from orchestrator.local import sandbox
from orchestrator.local.http_server import Answer, Request
from tests.chaos.dynamodb import ConditionFailed, DynamoDB, Index, Table, TransactionCanceled
from tests.chaos.expressions import Unsupported

Publish: TypeAlias = Callable[[Mapping[str, Any]], None]
Send: TypeAlias = Callable[[Mapping[str, Any]], None]

IDEMPOTENCY_TABLE = "idempotency"
TENANTS_TABLE = "tenants"
TIERS_TABLE = "tiers"
WAITING_QUEUE = "waiting"
JENKINS_TOKEN = "a-token-of-no-worth"
TIERS = {tier: details for tier, details in sandbox.TIERS.items() if "builder" not in details}


class AwsServer:
    """Answers AWS JSON requests.

    Attributes:
        dynamodb: The tables.
    """

    def __init__(self, entry_fails: Callable[[], bool]) -> None:
        """Start with empty tables.

        Args:
            entry_fails: Called for each entry of PutEvents; true makes EventBridge refuse it.
        """
        self.dynamodb = DynamoDB(
            {
                IDEMPOTENCY_TABLE: Table("id", {name: Index(*keys) for name, keys in sandbox.LEDGER_INDEXES.items()}),
                TENANTS_TABLE: Table("tenantId", {}),
                TIERS_TABLE: Table("tier", {}),
            }
        )
        self._entry_fails = entry_fails

    def add_tiers(self, control_plane: str) -> None:
        """Store the tiers: the first with the webhook's address, the others with the control plane's host (a URL)."""
        for number, (tier, details) in enumerate(TIERS.items()):
            address = {"CONTROL_PLANE_HOST": control_plane} if number else {"API_ENDPOINT": f"{control_plane}/webhook"}
            item: Any = to_item({**details, **address, "tier": tier})
            self.dynamodb.tables[TIERS_TABLE][tier] = item

    def respond(self, request: Request, caller: str, publish: Publish, send: Send) -> Answer:
        """Answer a request.

        Args:
            request: The request.
            caller: Access key id of the sender.
            publish: Called with each accepted event, in the form in which a rule delivers it.
            send: Called with each message for the waiting queue, as the record in which Lambda delivers it.

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
                except TransactionCanceled as canceled:
                    return failure("TransactionCanceledException", more={"CancellationReasons": canceled.reasons})
            case "secretsmanager", "GetSecretValue":
                # Each child has its own Jenkins user, so that its requests can be identified.
                secret = json.dumps({"username": caller, "token": JENKINS_TOKEN})
                name = body["SecretId"]
                arn = f"arn:aws:secretsmanager:eu-west-1:123456789012:secret:{name}"
                return _json({"ARN": arn, "Name": name, "SecretString": secret})
            case "AWSEvents", "PutEvents":
                return self._put_events(body["Entries"], publish)
            case "AmazonSQS", "SendMessage":
                if body["QueueUrl"].endswith(WAITING_QUEUE):
                    send(_record(body))
                return _json({"MessageId": str(uuid.uuid4()), "MD5OfMessageBody": _md5(body["MessageBody"])})
            case "AmazonSQS", "ChangeMessageVisibility":
                return _json({})
            case "AmazonSQS", "ChangeMessageVisibilityBatch":
                return _json({"Successful": [{"Id": entry["Id"]} for entry in body["Entries"]], "Failed": []})
        raise Unsupported(f"{service} {operation}")

    def _put_events(self, entries: list[dict[str, Any]], publish: Publish) -> Answer:
        results = []
        for entry in entries:
            if self._entry_fails():
                results.append({"ErrorCode": "InternalFailure", "ErrorMessage": "not taken"})
                continue
            event = _event(entry)
            publish(event)
            results.append({"EventId": event["id"]})
        failed = sum("ErrorCode" in result for result in results)
        return _json({"FailedEntryCount": failed, "Entries": results})


def _event(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an entry to the event that a rule delivers; EventBridge has times in whole seconds."""
    happened = datetime.fromtimestamp(int(entry.get("Time", time.time())), UTC)
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": entry["DetailType"],
        "source": entry["Source"],
        "account": "123456789012",
        "time": happened.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": "eu-west-1",
        "resources": entry["Resources"],
        "detail": json.loads(entry["Detail"]),
    }


def _record(message: Mapping[str, Any]) -> dict[str, Any]:
    attributes = message["MessageAttributes"].items()
    return {
        "messageId": str(uuid.uuid4()),
        "receiptHandle": "handle",
        "body": message["MessageBody"],
        "attributes": {"SentTimestamp": str(round(time.time() * 1000)), "ApproximateReceiveCount": "1"},
        "messageAttributes": {
            name: {"stringValue": value["StringValue"], "dataType": "String"} for name, value in attributes
        },
        "md5OfBody": _md5(message["MessageBody"]),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:eu-west-1:123456789012:{WAITING_QUEUE}",
        "awsRegion": "eu-west-1",
    }


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def failure(code: str, status: int = 400, more: Mapping[str, Any] | None = None) -> Answer:
    """Build the answer with which AWS refuses a request."""
    return _json({"__type": code, "message": "refused", **(more or {})}, status)


def _json(body: Mapping[str, Any], status: int = 200) -> Answer:
    return Answer(status, json.dumps(body), {"Content-Type": "application/x-amz-json-1.1"})
