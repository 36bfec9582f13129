"""What is mutated: the sample events with secrets planted in them, in every envelope that the handler takes."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.mutations.tree import Array, Embedded, Literal, Node, Object, at, name_of, put, slots, tree_of, written
from tests.support.aws import REGION
from tests.support.events import EVENTS, failed_invocation, undelivered, with_metadata

MARK = "LEAKED"
"""Part of every planted secret."""
SECRET, CONTEXT = f"{MARK}-callback-secret", f"{MARK}-callback-context"
_PLANTED = {
    "secret": SECRET,
    "context": CONTEXT,
    "firstName": f"{MARK}-Zo\u00eb",
    "lastName": f"{MARK}-M\u00fcller",
    "email": f"{MARK}@acme.example.com",
    "address": f"1 {MARK} Street",
    "city": f"{MARK}field",
    "zip": f"{MARK}-62701",
    "theme": f"{MARK}-dark",
    "CLIENT_SECRET": f"{MARK}-client-secret",
    "CLIENT_ID": f"{MARK}-client",
    "API_ENDPOINT": f"https://control-plane.example.com/webhook?token={MARK}",
    "USER_CALLBACK_ENDPOINT": f"https://control-plane.example.com/users/callback?token={MARK}",
    "APP_PLANE_REDIRECT_URL": f"https://acme.example.com/?token={MARK}",
}
# Names, ids and the like, which errors and logs show. A mutation may have put a secret there; then it is none.
_SHOWN = frozenset(
    {
        *("id", "detail-type", "source", "account", "region", "resources", "replay-name", "time", "version"),
        *("tier", "type", "name", "jobName", "tenantId", "tenantRegistrationId", "builder", "reason", "status", "key"),
        *("CODEBUILD_BUILD_ID", "BUILD_URL", "JOB_NAME", "build-id", "build-status", "project-name", "current-phase"),
        *("executionArn", "stateMachineArn", "error", "messageId", "eventSourceARN", "awsRegion", "stringValue"),
        *("aws:EventId", "ORCHESTRATOR_RUN_ID", "ORCHESTRATOR_EVENT_ID", "ORCHESTRATOR_EVENT_TYPE"),
        *("ORCHESTRATOR_TENANT_ID", "receiptHandle", "attributes", "messageAttributes", "eventSource"),
    }
)


def sample(name: str, **changes: Any) -> dict[str, Any]:
    """Read a sample event, with its own time."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    return {**event, **changes}


def files() -> Iterator[tuple[str, Any]]:
    """Yield every file in events/ with its name."""
    for file in sorted(EVENTS.glob("*.json")):
        yield file.stem, json.loads(file.read_text(encoding="utf-8"))


def enveloped(name: str, event: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield an EventBridge event in every form in which it may reach the handler."""
    other = sample("scheduled-sweep", **{"id": "other", "detail-type": "OTHER"})  # no consumer takes it
    record = failed_invocation(event)
    connector = {"EventType": _attribute(event["detail-type"])}
    ids = {"EventId": _attribute(event["id"]), "EventTime": _attribute(event["time"])}
    waits = {"OrchestratorConsumers": _attribute('["start_provisioning_job", "sbt_onboarding"]')}
    again = {"ErrorCode": _attribute("ConfigurationError"), "ErrorMessage": _attribute("\u2026")}
    yield name, event
    yield f"{name}, replayed", {**event, "replay-name": "replay-1"}
    yield f"{name}, in an array", [event, other]
    yield f"{name}, with metadata", [with_metadata(event), with_metadata(event, **{"aws:DeliveryType": "REPLAY"})]
    yield f"{name}, in a record", record
    yield f"{name}, in a record of an array", {**record, "requestPayload": [with_metadata(event), other]}
    yield f"{name}, in a message", _batch(_message(event))
    yield f"{name}, of the connector", _batch(_message(event["detail"], connector))
    yield f"{name}, of the connector again", _batch(_message(event["detail"], {**connector, **ids, **again}, tries=3))
    yield f"{name}, waiting", _batch(_message(event, waits, queue="orchestrator-waiting", tries=4))
    yield f"{name}, at its last try", _batch(_message(event, waits, queue="orchestrator-waiting", sent="1577836800000"))
    yield (
        f"{name}, in a batch",
        _batch(*(_message(one, number=place) for place, one in enumerate((event, other, record)))),
    )
    yield f"{name}, in a FIFO batch", _batch(*(_fifo(one, place) for place, one in enumerate((event, other))))
    yield f"{name}, of the failure queue", _batch(_message(event, again, queue="orchestrator-failures", tries=3))


def not_delivered() -> tuple[str, Any]:
    """Return the record of events that a custom event bus could not deliver."""
    return "undelivered", undelivered(sample("tenant-provisioning"))


def planted(value: Any) -> Node:
    """Convert an event to a tree with secrets in it."""
    tree = tree_of(value)
    for slot in list(slots(tree)):
        node, name = at(slot), name_of(slot)
        if name == "value" and isinstance(slot[0], Object):  # {"name": "secret", "value": "…"}, as CodeBuild has it
            name = next((given for key, given in slot[0].members if key == "name" and isinstance(given, str)), name)
        if isinstance(node, str) and name in _PLANTED:
            put(slot, _PLANTED[name])
        elif isinstance(node, Object) and name in ("detail", "environmentOverride"):
            node.members.append(("NOTE", f"{MARK}-note"))
    return tree


def without_shown_secrets(node: Node, name: str = "") -> Node:
    """Take planted secrets out of the places whose values errors and logs show on purpose."""
    match node:
        case Object():
            members = [(_plain(key), without_shown_secrets(member, key)) for key, member in node.members]
            return Object(members)
        case Array():
            return Array([without_shown_secrets(member, name) for member in node.members])
        case Embedded() if name in _SHOWN:
            return _plain(written(node.value))
        case Embedded():
            return Embedded(without_shown_secrets(node.value, name))
        case str() if name in _SHOWN:
            return _plain(node)
        case Literal() | str():
            return node


def _plain(text: str) -> str:
    lowered = text.lower()
    while MARK.lower() in lowered:
        start = lowered.index(MARK.lower())
        text = text[:start] + "plain" + text[start + len(MARK) :]
        lowered = text.lower()
    return text


def _attribute(text: str) -> dict[str, Any]:
    return {"stringValue": text, "stringListValues": [], "binaryListValues": [], "dataType": "String"}


def _batch(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"Records": list(messages)}


def _message(
    body: Any,
    attributes: Mapping[str, Any] | None = None,
    *,
    number: int = 0,
    queue: str = "tenant-events",
    tries: int = 1,
    sent: str = "4102444800000",
) -> dict[str, Any]:
    return {
        "messageId": f"059f36b4-87a3-44ab-83d2-66197583{number:04}",
        "receiptHandle": "AQEBexample",
        "body": json.dumps(body),
        "attributes": {"ApproximateReceiveCount": str(tries), "SentTimestamp": sent},
        "messageAttributes": dict(attributes or {}),
        "md5OfBody": "b7a9e1c0d4f3a2b1c0d9e8f7a6b5c4d3",
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{queue}",
        "awsRegion": REGION,
    }


def _fifo(body: Any, number: int) -> dict[str, Any]:
    message = _message(body, number=number, queue="tenant-events.fifo", tries=3)
    message["attributes"]["MessageGroupId"] = "tenant-1"
    return message
