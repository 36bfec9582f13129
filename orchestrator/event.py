"""Defines the event that consumers receive. Its form does not depend on whether EventBridge or SQS delivered it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic

from typing_extensions import TypeVar

DetailT_co = TypeVar("DetailT_co", covariant=True, default=Mapping[str, Any])


class EventType(StrEnum):
    """The event types of a tenant's lifecycle.

    A consumer may handle other event types, too. Their names are plain texts, not members of this enum.
    """

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
    """The event that began an operation. Later events of the operation refer to it.

    An operation is an event with all that follows from it, such as a provisioning and the deployment after it.

    Attributes:
        event_id: The event's id.
        at: The event's time. If the sender's clock is ahead, so that the event's time is in the future, `at` is the
            time of the event's delivery instead.
    """

    event_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnding:
    """What an event reports about the ending of a run.

    Attributes:
        run_id: The run's id in the ledger.
        succeeded: Whether the run succeeded.
    """

    run_id: str
    succeeded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How a queue delivered an event.

    Attributes:
        consumers: Names of the consumers that the event is for. If the tuple is empty, the event is for all consumers
            of its type.
        has_waited: Whether the event was delivered before. This is true if the queue's message has been received more
            than once, or if this function sent the message to let the event wait for its job.
        comes_back: Whether this Lambda function schedules a retry of the message if the event's job cannot be started
            yet. Always false if `is_last` is true.
        is_last: Whether this delivery counts as the last one, because the message is too old to wait any longer. Always
            false if `FAILURE_QUEUE_URL` is not set.
    """

    consumers: tuple[str, ...] = ()
    has_waited: bool = False
    comes_back: bool = False
    is_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Generic[DetailT_co]):
    """An event, as a consumer receives it. In tests of consumers, `Event(type=..., detail=...)` is enough.

    If a consumer's parameter is annotated `Event[SomeModel]`, the detail is converted to that model and validated. If
    the annotation is plain `Event`, the detail is a mapping. The detail may be secret and is not in `repr`.

    Attributes:
        type: The event's type, for example a member of `EventType`. EventBridge calls the type `detail-type`.
        detail: The event's data.
        id: The event's id. It is the same on every redelivery and replay.
        source: The sender, for example `aws.codebuild`.
        time: When the event happened.
        account: The AWS account that the event comes from.
        region: The AWS region that the event comes from.
        resources: ARNs of the AWS resources that the event is about. The list is often empty. If this package published
            the event, the list contains URNs instead, which the package uses to recognize its own events.
        replay_name: Name of the archive replay that sent the event again. If a custom event bus replayed the event, it
            is `custom event bus`. For a live event, it is `None`.
        redrive: A text that identifies a redelivery that somebody requested: a replay, a message that was sent again
            from the failure queue, or a record from Lambda's failure destination. `None` for the first delivery and for
            AWS's own retries.
        start: The event that began the operation to which this event belongs. `start` is known for an event about a run
            in the ledger, and for an event that the function recognizes as its own (see `PublishEvent.source`). For any
            other event, `start` is `None`.
        published_by: Identity of the action by which this function published the event; `None` if the function does
            not recognize the event as its own.
        is_own_failure: Whether this function published this event because a consumer failed.
        run_ending: The ending that the event reports; `None` if it reports no ending, or contains no run id.
        delivery: How a queue delivered the event; `None` if the event did not come from a queue.
    """

    type: str
    detail: DetailT_co = field(repr=False)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    source: str = ""
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    account: str = ""
    region: str = ""
    resources: Sequence[str] = ()
    replay_name: str | None = None
    redrive: str | None = None
    start: Start | None = None
    published_by: str | None = None
    is_own_failure: bool = False
    run_ending: RunEnding | None = None
    delivery: Delivery | None = None
