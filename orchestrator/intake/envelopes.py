"""Takes events out of their envelopes: arrays, metadata of a custom event bus, and records of failed invocations.

Two services put events into envelopes:

- An EventBridge custom event bus sends Lambda an array of events, unless the subscriber's `MaxBatchSize` is 1. With the
  transformer `WITH_METADATA`, each event is in the field `Data`, and its metadata is in the field `SystemMetadata`
  (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-custom-bus-addressing.html).
- Lambda's failure destination receives a record of the failed invocation, which contains the invocation's payload
  (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """An event, taken out of the envelope in which AWS wraps some events. Nothing in it has been validated.

    Attributes:
        event: The part that should be an EventBridge event. Without an envelope, it is the whole payload.
        metadata: The custom event bus's `SystemMetadata`; empty if there is none.
        has_failed: Whether the event was in the record of a failed invocation.
    """

    event: Any
    metadata: dict[str, Any]
    has_failed: bool

    @property
    def is_replay(self) -> bool:
        """Whether the event comes from a replay of the custom event bus."""
        return self.metadata.get("aws:DeliveryType") == "REPLAY"

    @property
    def event_id(self) -> Any:
        """The event's id according to `metadata`. If `metadata` has no id, the `id` in the event itself."""
        own = self.event.get("id") if isinstance(self.event, dict) else None
        return self.metadata.get("aws:EventId", own)


def is_record(payload: object) -> TypeGuard[dict[str, Any]]:
    """Whether a payload is Lambda's record of a failed invocation."""
    return isinstance(payload, dict) and "requestContext" in payload and "requestPayload" in payload


def is_undelivered(payload: object) -> TypeGuard[dict[str, Any]]:
    """Whether a payload is the record that a custom event bus writes when it cannot deliver events.

    The record has only the events' ids, not the events
    (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-custom-bus-retry.html).
    """
    return isinstance(payload, dict) and "subscriberArn" in payload and isinstance(payload.get("failedMessages"), list)


def members(payload: Any) -> Sequence[Any] | None:
    """Split a payload that contains an array of events into payloads that contain one event each.

    If the array is in the record of a failed invocation, each returned payload is such a record, too.

    Returns:
        The payloads. `None` if there is no array, or if the array is empty.
    """
    inner = _without_records(payload)
    if not isinstance(inner, list) or not inner:
        return None
    return [{**payload, "requestPayload": member} for member in inner] if is_record(payload) else inner


def opened(payload: Any) -> Content:
    """Take the event out of a payload that contains one event."""
    event, metadata = _without_records(payload), {}
    if isinstance(event, dict) and "Data" in event and isinstance(event.get("SystemMetadata"), dict):
        event, metadata = event["Data"], event["SystemMetadata"]
    return Content(event=event, metadata=metadata, has_failed=is_record(payload))


def _without_records(payload: Any) -> Any:
    while is_record(payload):  # the record of a redrive that failed contains the record that was sent
        payload = payload["requestPayload"]
    return payload
