"""Finds the settings that affect how an event would be handled."""

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.cli.explanation.knowledge import NEVER_KEPT
from orchestrator.cli.explanation.values import without_path
from orchestrator.cli.rehearsal.run import Rehearsal
from orchestrator.settings import Settings

_OF_BUILDERS: Mapping[str, tuple[str, ...]] = {"CODE_BUILD": ("CODE_BUILD_REGION",), "JENKINS": ("JENKINS_URL",)}
_OF_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "SaveTenant": ("DATA_STORE_TABLE",),
    "UpdateTenant": ("DATA_STORE_TABLE",),
    "PublishEvent": ("EVENT_BUS_NAME", "EVENT_BUS_AWS_REGION"),
    "PublishEnding": ("IDEMPOTENCY_TABLE", "EVENT_BUS_NAME", "EVENT_BUS_AWS_REGION"),
    "SweepRuns": ("IDEMPOTENCY_TABLE", "EVENT_BUS_NAME", "EVENT_BUS_AWS_REGION"),
    "SendCallback": ("CALLBACK_ALLOWED_HOSTS", "CALLBACK_URL"),
}


def that_mattered(rehearsal: Rehearsal, explanation: Mapping[str, Any], settings: Settings) -> dict[str, str | None]:
    """Return the settings that affect how an event would be handled, by name, in the order of `Settings`.

    These are the settings that the event's consumers have read, and the settings that are used to read tiers and tenant
    records for the consumers, to check the event, to perform its actions, and to let it wait or fail. A setting that is
    not set has its default value, which may be `None`. Of a queue's URL, only the queue's name is returned, and of any
    other URL, only scheme, host and port.

    Args:
        rehearsal: The rehearsal of the event.
        explanation: The explanation of the event, with at least the keys `isAboutRun` and `consumers`.
        settings: The handler's settings.
    """
    found = {"REQUIRE_RUN_ID", "IDEMPOTENCY_TABLE"} if explanation["isAboutRun"] else set()
    found |= {"FAILURE_QUEUE_URL"} if rehearsal.received.delivery is not None else set()
    for watched in rehearsal.watched:
        found |= {name.upper() for name in watched.settings}
        found |= {"DATA_STORE_TABLE"} if watched.records else set()
        found |= {"TIER_DETAILS_TABLE"} if watched.tiers else set()
    for consumer in explanation["consumers"]:
        for action in consumer["actions"]:
            found.update(_of_action(action))
        if consumer.get("publishesFailure"):
            found.update(_OF_ACTIONS["PublishEvent"])
        if consumer.get("waitsFor") is not None:
            found |= {"WAITING_QUEUE_URL", "FAILURE_QUEUE_URL"}
    fields = [name for name in Settings.model_fields if name.upper() in found]
    return {name.upper(): _shown(name, getattr(settings, name)) for name in fields}


def _of_action(action: Mapping[str, Any]) -> Iterable[str]:
    yield from _OF_ACTIONS.get(action["action"], ())
    if action.get("ledger", {}).get("state", NEVER_KEPT) != NEVER_KEPT:
        yield "IDEMPOTENCY_TABLE"
    if action["action"] == "StartJob":
        yield from _OF_BUILDERS.get(action["builder"] or "", ())
        if action.get("builderFrom") == "DEFAULT_BUILDER":
            yield "DEFAULT_BUILDER"
        if action.get("followedBy") and action.get("tenantId"):
            yield "TENANT_SERIALIZATION"


def _shown(name: str, value: Any) -> str | None:
    if value is None or value == ():
        return None
    if name.endswith("_queue_url"):
        return str(value).rpartition("/")[2]
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, tuple) else without_path(str(value))
