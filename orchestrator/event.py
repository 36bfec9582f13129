"""The event that consumers receive, in the same form from EventBridge and from SQS."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic

from typing_extensions import TypeVar

DetailT = TypeVar("DetailT", default=Mapping[str, Any])


class EventType(StrEnum):
    """The event types of a tenant's lifecycle; consumers may also use any other text as a type."""

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
    """The event that began an operation, such as a tenant's provisioning; later events of the operation refer to it.

    Attributes:
        event_id: The event's id.
        at: The event's time, or the time of its delivery if the sender's clock is ahead.
    """

    event_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Generic[DetailT]):
    """An event. In tests of consumers, `Event(type=..., detail=...)` is enough.

    Annotate a consumer's parameter `Event[SomeModel]` to get the detail validated into that model, or plain `Event` to
    get it as a mapping. The detail may be secret and is not in `repr`.

    Attributes:
        type: The event's type, for example one of `EventType`: EventBridge's `detail-type`.
        detail: The event's data.
        id: The event's id, the same on every redelivery and replay.
        source: The sender, for example `aws.codebuild`.
        time: When the event happened.
        account: The AWS account that the event comes from.
        region: The AWS region that the event comes from.
        resources: ARNs that the event is about, often none.
        replay_name: Name of the archive replay that sent the event again; `None` for a live event.
        redrive: Identifies a redelivery that someone requested: an archive replay, a message that comes from the
            failure queue, or a record of Lambda's failure destination. `None` for the first delivery and for AWS's own
            retries.
        start: The event that began the operation. It is known if this event is about the ending of a run in the
            ledger, or if this function published this event; otherwise, it is `None`.
        is_own_failure: Whether this function published the event because a consumer failed before it started its job.
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
