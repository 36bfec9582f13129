"""The canonical event that consumers receive, whatever brought it here."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic

from typing_extensions import TypeVar

DetailT = TypeVar("DetailT", default=Mapping[str, Any])


class EventType(StrEnum):
    """The event types of a tenant's life; any other text is a type, too."""

    TENANT_PROVISIONING = "TENANT_PROVISIONING"
    TENANT_PROVISIONING_SUCCESS = "TENANT_PROVISIONING_SUCCESS"
    TENANT_PROVISIONING_FAILURE = "TENANT_PROVISIONING_FAILURE"
    TENANT_DEPLOYMENT = "TENANT_DEPLOYMENT"
    TENANT_DEPLOYMENT_SUCCESS = "TENANT_DEPLOYMENT_SUCCESS"
    TENANT_DEPLOYMENT_FAILURE = "TENANT_DEPLOYMENT_FAILURE"
    TENANT_DEPROVISIONING = "TENANT_DEPROVISIONING"
    TENANT_DEPROVISIONING_SUCCESS = "TENANT_DEPROVISIONING_SUCCESS"
    TENANT_DEPROVISIONING_FAILURE = "TENANT_DEPROVISIONING_FAILURE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The event with which something began that later events belong to: the provisioning of a tenant, for example.

    Attributes:
        event_id: Its id.
        at: When it happened, as its first delivery knew it.
    """

    event_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Generic[DetailT]):
    """One event; a test of a consumer makes one of a type and a detail alone.

    Annotate a consumer's parameter `Event[SomeModel]` to get the detail validated into that model, or plain
    `Event` to get the mapping as it came. The detail may hold secrets: it is left out of `repr`.

    Attributes:
        type: What happened, as in `EventType`: EventBridge's `detail-type`.
        detail: What happened, in full.
        id: Unique name of the event; the same on every redelivery and replay.
        source: Who says so.
        time: When it happened.
        account: AWS account that the event comes from.
        region: AWS region that the event comes from.
        resources: ARNs of what the event is about, often none.
        replay_name: Name of the archive replay that sent the event again; `None` for a live event.
        redrive: What brought the event again because somebody wanted that: the archive replay, or the message or record
            out of the failure queue; `None` for its first delivery and what AWS repeats by itself.
        start: The event that this one follows from, where it is about the ending of a run of this function or was
            published by the function; else `None`.
        is_own_failure: Whether this function published it because a consumer failed, so that its job was not started.
    """

    type: str
    detail: DetailT = field(repr=False)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    source: str = ""
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    account: str = ""
    region: str = ""
    resources: Sequence[str] = ()
    replay_name: str | None = None
    redrive: str | None = None
    start: Start | None = None
    is_own_failure: bool = False
