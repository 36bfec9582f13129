"""An AWS inside this process, which answers the SDK without a network and refuses what AWS would refuse.

It can be put back to a state that it had, which makes each event's world the same.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from botocore import handlers
from botocore.awsrequest import AWSResponse, HeadersDict

from orchestrator.local import sandbox
from tests.chaos.dynamodb import ConditionFailed, DynamoDB, Index, Table, TransactionCanceled
from tests.chaos.expressions import Item
from tests.mutations import limits

REGION = "us-east-1"
ACCOUNT = "123456789012"
LEDGER, TENANTS, TIERS = "ledger", "tenants", "tiers"
FAILURES = "orchestrator-failures"
QUEUES = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}"
TOKEN = "an-api-token-of-no-worth"
JENKINS_USER = "orchestrator"

_KEYS = {LEDGER: "id", TENANTS: "tenantId", TIERS: "tier"}
_INDEXED = {
    LEDGER: tuple(name for first, second, _ in sandbox.LEDGER_INDEXES.values() for name in (first, second)),
    TENANTS: (),
    TIERS: (),
}
_JOBS = [value for tier in sandbox.TIERS.values() for name, value in tier.items() if name.lower().endswith("jobname")]

_READING = ("GetItem", "Query")

Body: TypeAlias = dict[str, Any]


class Refused(Exception):
    """AWS answers with this error code."""

    def __init__(self, code: str, message: str = "refused", **more: Any) -> None:
        super().__init__(code)
        self.answer = {"__type": code, "message": message, **more}


class Aws:
    """The emulated AWS.

    Attributes:
        builds: Every CodeBuild build, in the form that CodeBuild returns.
        executions: Every Step Functions execution, in the form that DescribeExecution returns.
        surprises: What AWS would not have accepted since the last `restore`.
        requests: How many requests came since the last `restore`, by operation.
    """

    def __init__(self) -> None:
        self.builds: list[Body] = []
        self.executions: list[Body] = []
        self.surprises: list[str] = []
        self.requests: dict[str, int] = {}
        self.now = 0.0
        self._lock = threading.RLock()
        self._dynamodb = DynamoDB(
            {
                LEDGER: Table("id", {name: Index(*keys) for name, keys in sandbox.LEDGER_INDEXES.items()}),
                TENANTS: Table("tenantId", {}),
                TIERS: Table("tier", {}),
            }
        )
        self._saved: tuple[dict[str, dict[str, Item]], int, int] | None = None
        self._operations: Mapping[str, Callable[[Body], Body]] = {
            "GetSecretValue": self._secret,
            "PutEvents": self._put_events,
            "SendMessage": self._send,
            "ChangeMessageVisibility": lambda body: {},
            "ChangeMessageVisibilityBatch": self._hide,
            "StartBuild": self._start_build,
            "BatchGetBuilds": lambda body: {"builds": [one for one in self.builds if one["id"] in set(body["ids"])]},
            "ListBuildsForProject": self._list_builds,
            "StartExecution": self._start_execution,
            "DescribeExecution": self._describe_execution,
            "DescribeStateMachine": lambda body: {
                "stateMachineArn": body["stateMachineArn"],
                "type": "STANDARD",
                "status": "ACTIVE",
            },
        }

    @property
    def tables(self) -> dict[str, dict[str, Item]]:
        """The items of each table, by key."""
        return self._dynamodb.tables

    def save(self) -> None:
        """Remember the present state for `restore`."""
        tables = {name: dict(items) for name, items in self.tables.items()}
        self._saved = (tables, len(self.builds), len(self.executions))

    def restore(self) -> None:
        """Go back to the state that was saved, and forget the surprises."""
        assert self._saved is not None
        tables, builds, executions = self._saved
        for name, items in tables.items():
            self.tables[name] = dict(items)
        del self.builds[builds:], self.executions[executions:]
        self.surprises.clear()
        self.requests.clear()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Answer every request of AWS clients that are created within the `with` block."""
        entry = ("before-send", self._respond)
        handlers.BUILTIN_HANDLERS.insert(0, entry)
        try:
            yield
        finally:
            handlers.BUILTIN_HANDLERS.remove(entry)

    def _respond(self, request: Any, **_: Any) -> AWSResponse:
        operation = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
        status, answer = 200, Body()
        with self._lock:
            self.requests[operation] = self.requests.get(operation, 0) + 1
            try:
                body = limits.strictly(request.body)
                perform = self._operations.get(operation)
                answer = self._use_table(operation, body) if perform is None else perform(body)
            except Refused as refused:
                status, answer = 400, refused.answer
            except Exception as error:
                self.surprises.append(f"{operation}: {type(error).__name__}: {error}")
                status, answer = 400, {"__type": "ValidationException", "message": "refused"}
        headers: Any = HeadersDict({"Content-Type": "application/x-amz-json-1.0"})
        response = AWSResponse(request.url, status, headers, None)
        response._content = json.dumps(answer).encode()  # type: ignore[attr-defined]  # what `content` reads
        return response

    def _check(self, operation: str, faults: Iterator[str]) -> None:
        found = list(faults)
        if found:
            self.surprises.append(f"{operation}: {'; '.join(found)}")
            raise Refused("ValidationException")

    def _use_table(self, operation: str, body: Body) -> Body:
        before = {} if operation in _READING else {name: dict(items) for name, items in self.tables.items()}
        try:
            answer = self._dynamodb.perform(operation, body)
        except ConditionFailed as failed:
            more: Body = {} if failed.item is None else {"Item": failed.item}
            raise Refused("ConditionalCheckFailedException", **more) from None
        except TransactionCanceled as canceled:
            raise Refused("TransactionCanceledException", CancellationReasons=canceled.reasons) from None
        for name, items in before.items():
            for key, item in self.tables[name].items():
                if item is not items.get(key):
                    self._check_item(operation, name, item, items)
        return answer

    def _check_item(self, operation: str, table: str, item: Item, before: dict[str, Item]) -> None:
        try:
            if limits.is_too_large(item):
                # Only DynamoDB can say whether the present record and a change of it are too large together.
                if operation != "UpdateItem" or table != TENANTS:
                    self.surprises.append(f"{operation}: the item of {table} is too large")
                raise Refused("ValidationException", "Item size has exceeded the maximum allowed size")
            self._check(operation, limits.of_item(item, _KEYS[table], _INDEXED[table]))
        except Refused:
            self.tables[table] = before
            raise

    def _secret(self, body: Body) -> Body:
        secret = json.dumps({"username": JENKINS_USER, "token": TOKEN})
        arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:jenkins"
        return {"ARN": arn, "Name": body["SecretId"], "SecretString": secret}

    def _put_events(self, body: Body) -> Body:
        self._check("PutEvents", limits.of_events(body["Entries"]))
        return {"FailedEntryCount": 0, "Entries": [{"EventId": str(place)} for place, _ in enumerate(body["Entries"])]}

    def _send(self, body: Body) -> Body:
        self._check("SendMessage", limits.of_message(body))
        if limits.has_refused_characters(body):
            # The failure queue gets a body that is not JSON as it is, and only SQS decides about its characters.
            if not body["QueueUrl"].endswith(FAILURES):
                self.surprises.append("SendMessage: the message has characters that SQS refuses")
            raise Refused("InvalidMessageContents")
        return {"MessageId": "sent", "MD5OfMessageBody": "0" * 32}

    def _hide(self, body: Body) -> Body:
        self._check("ChangeMessageVisibilityBatch", limits.of_visibility(body["Entries"]))
        return {"Successful": [{"Id": entry["Id"]} for entry in body["Entries"]], "Failed": []}

    def _start_build(self, body: Body) -> Body:
        self._check("StartBuild", limits.of_build(body))
        project = body["projectName"]
        if project not in _JOBS:
            raise Refused("ResourceNotFoundException")
        name = f"{project}:8f14e45f-ceea-467f-a0e6-{len(self.builds):012}"
        build = {
            "id": name,
            "arn": f"arn:aws:codebuild:{REGION}:{ACCOUNT}:build/{name}",
            "projectName": project,
            "buildStatus": "IN_PROGRESS",
            "startTime": self.now,
            "environment": {"environmentVariables": body["environmentVariablesOverride"]},
        }
        self.builds.append(build)
        return {"build": build}

    def _list_builds(self, body: Body) -> Body:
        if body["projectName"] not in _JOBS:
            raise Refused("ResourceNotFoundException")
        return {"ids": [one["id"] for one in reversed(self.builds) if one["projectName"] == body["projectName"]]}

    def _start_execution(self, body: Body) -> Body:
        self._check("StartExecution", limits.of_execution(body))
        machine = body["stateMachineArn"]
        if machine not in _JOBS:
            raise Refused("StateMachineDoesNotExist")
        arn = f"{machine.replace(':stateMachine:', ':execution:')}:{body['name']}"
        execution = {
            "executionArn": arn,
            "stateMachineArn": machine,
            "name": body["name"],
            "status": "RUNNING",
            "startDate": self.now,
            "input": body["input"],
        }
        self.executions.append(execution)
        return {"executionArn": arn, "startDate": self.now}

    def _describe_execution(self, body: Body) -> Body:
        found = [one for one in self.executions if one["executionArn"] == body["executionArn"]]
        if not found:
            raise Refused("ExecutionDoesNotExist")
        return found[0]
