"""Emulates the parts of DynamoDB, Secrets Manager, EventBridge and SQS that a chaos run uses."""

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
from tests.chaos.sqs import NotInFlight, Queue, md5

Publish: TypeAlias = Callable[[Mapping[str, Any]], None]

IDEMPOTENCY_TABLE = "idempotency"
TENANTS_TABLE = "tenants"
TIERS_TABLE = "tiers"
WAITING_QUEUE, FAILURE_QUEUE = "waiting", "failures"
JENKINS_TOKEN = "a-token-of-no-worth"
TIERS = {tier: details for tier, details in sandbox.TIERS.items() if "builder" not in details}
# How many jobs of a tier may run at the same time: in all, and for one event type apart from those.
LIMITS: Mapping[str, tuple[int, Mapping[str, int]]] = {
    "BASIC": (2, {}),
    "STANDARD": (1, {"TENANT_DEPLOYMENT": 2}),
    "PREMIUM": (3, {"TENANT_DEPROVISIONING": 1}),
}
# A received message is hidden for longer than an invocation may take, as AWS requires of a function's queue.
_VISIBILITY_SECONDS = 4.0
# An index shows a change after up to this time.
_INDEX_LAG_SECONDS = 0.5


class AwsServer:
    """Answers AWS JSON requests.

    Attributes:
        dynamodb: The tables.
        waiting: The waiting queue.
        failed: The bodies of the messages in the failure queue.
    """

    def __init__(self, entry_fails: Callable[[], bool], scale: float = 1.0) -> None:
        """Start with empty tables and queues.

        Args:
            entry_fails: Called for each entry of PutEvents; true makes EventBridge refuse it.
            scale: Factor for the durations of this emulation, which are written for invocations of three seconds.
        """
        self.waiting = Queue(WAITING_QUEUE, _VISIBILITY_SECONDS * scale)
        self.failed: list[str] = []
        self.dynamodb = DynamoDB(
            {
                IDEMPOTENCY_TABLE: Table("id", {name: Index(*keys) for name, keys in sandbox.LEDGER_INDEXES.items()}),
                TENANTS_TABLE: Table("tenantId", {}),
                TIERS_TABLE: Table("tier", {}),
            },
            lag=_INDEX_LAG_SECONDS * scale,
        )
        self._entry_fails = entry_fails

    def add_tiers(self, control_plane: str, room: int) -> None:
        """Store the tiers: the first with the webhook's address, the others with the control plane's host.

        Args:
            control_plane: The URL of the control plane's host.
            room: Factor for the limits of the tiers; 0 removes them.
        """
        for number, (tier, details) in enumerate(TIERS.items()):
            address = {"CONTROL_PLANE_HOST": control_plane} if number else {"API_ENDPOINT": f"{control_plane}/webhook"}
            item: Any = to_item({**details, **address, **_limits(tier, room), "tier": tier})
            self.dynamodb.tables[TIERS_TABLE][tier] = item

    def respond(self, request: Request, caller: str, publish: Publish) -> Answer:
        """Answer a request.

        Args:
            request: The request.
            caller: Access key id of the sender.
            publish: Called with each accepted event, in the form in which a rule delivers it.

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
            case "AmazonSQS", _:
                return self._sqs(operation, body)
        raise Unsupported(f"{service} {operation}")

    def _sqs(self, operation: str, body: Mapping[str, Any]) -> Answer:
        match operation:
            case "SendMessage" if body["QueueUrl"].endswith(WAITING_QUEUE):
                sent = self.waiting.send(body["MessageBody"], body["MessageAttributes"], body.get("DelaySeconds", 0))
                return _json({"MessageId": sent.id, "MD5OfMessageBody": md5(sent.body)})
            case "SendMessage":
                self.failed.append(body["MessageBody"])
                return _json({"MessageId": str(uuid.uuid4()), "MD5OfMessageBody": md5(body["MessageBody"])})
            case "ChangeMessageVisibility":
                try:
                    self.waiting.change_visibility(body["ReceiptHandle"], body["VisibilityTimeout"])
                except NotInFlight:
                    return failure("com.amazonaws.sqs#MessageNotInflight")
                return _json({})
            case "ChangeMessageVisibilityBatch":
                return _json(self._change_visibilities(body["Entries"]))
        raise Unsupported(f"AmazonSQS {operation}")

    def _change_visibilities(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        successful, failed = [], []
        for entry in entries:
            try:
                self.waiting.change_visibility(entry["ReceiptHandle"], entry["VisibilityTimeout"])
                successful.append({"Id": entry["Id"]})
            except NotInFlight:
                failed.append({"Id": entry["Id"], "SenderFault": True, "Code": "MessageNotInflight"})
        return {"Successful": successful, "Failed": failed}

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


def _limits(tier: str, room: int) -> dict[str, Any]:
    of_tier, by_type = LIMITS[tier]
    limits = {"maxConcurrent": of_tier * room, "maxConcurrentByType": {name: n * room for name, n in by_type.items()}}
    return limits if room else {}


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


def failure(code: str, status: int = 400, more: Mapping[str, Any] | None = None) -> Answer:
    """Build the answer with which AWS refuses a request."""
    return _json({"__type": code, "message": "refused", **(more or {})}, status)


def _json(body: Mapping[str, Any], status: int = 200) -> Answer:
    return Answer(status, json.dumps(body), {"Content-Type": "application/x-amz-json-1.1"})
