"""Publishes events on an EventBridge bus."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.action import Outcome, OutcomeStatus, PublishEvent
from orchestrator.aws.errors import aws_errors
from orchestrator.errors import ConfigurationError, InvalidEvent, Unavailable, shown, stored_name
from orchestrator.event import Start
from orchestrator.ledger.ledger import Claim, Prepared
from orchestrator.run import Origin, marks
from orchestrator.timing import deadline
from orchestrator.values.limits import MAX_ENTRY_BYTES, TOO_MANY_DIGITS, has_too_many_digits, place_of
from orchestrator.values.text import to_json
from orchestrator.values.validation import path_of

if TYPE_CHECKING:
    from types_boto3_events import EventBridgeClient

ATTEMPTS = 3
_PAUSE_SECONDS = 0.2
# How much an event's time adds to its size: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html
_TIME_BYTES = 14
# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
_WORTH_A_RETRY = frozenset({"InternalException", "InternalFailure", "ThrottlingException"})


class EventBus:
    """Publishes events on one bus; performs `PublishEvent`."""

    def __init__(
        self,
        name: str,
        client: "Callable[[], EventBridgeClient]",
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Store the arguments.

        Args:
            name: The bus's name.
            client: Returns the EventBridge client. It is called for each request.
            pause: Sleeps for a number of seconds.
        """
        self._name = name
        self._client = client
        self._pause = pause

    def prepare(self, action: PublishEvent, origin: Origin) -> Prepared:
        """Check an action, and prepare to publish its event.

        Raises:
            InvalidEvent: See `prepare_as`.
        """
        prepared = self.prepare_as(action, origin.run_id, start=origin.start, time=origin.time)
        if action.once_per is None:
            return prepared
        return replace(prepared, action_id=origin.once_per(action.once_per))

    def prepare_as(self, action: PublishEvent, action_id: str, *, start: Start, time: datetime) -> Prepared:
        """Check an action, and prepare to publish its event. The caller chooses the action's identity.

        `action.once_per` has no effect here.

        Args:
            action: The action, with the event to publish.
            action_id: The action's identity. The published event contains it in `resources`. If the event is published
                twice, this package recognizes the second copy by this identity.
            start: The event that began the operation, such as the tenant's provisioning. The `resources` of the
                published event contain the id and time of this event, too.
            time: The time that the published event will have.

        Raises:
            InvalidEvent: The detail is not JSON, or the event is too large.
        """
        entry: dict[str, Any] = {
            "EventBusName": self._name,
            "Source": action.source,
            "DetailType": action.type,
            "Detail": _detail(action),
            "Resources": marks(action_id, start, is_failure=action.failure is not None),
            "Time": time,
        }
        texts = (*entry["Resources"], action.source, action.type, entry["Detail"])
        size = _TIME_BYTES + sum(len(text.encode()) for text in texts)
        if size > MAX_ENTRY_BYTES:
            raise InvalidEvent(
                f"event {shown(action.type)} cannot be published: it has {size:,} bytes, and EventBridge takes at most "
                f"{MAX_ENTRY_BYTES:,}; shorten its detail"
            )
        return Prepared(
            perform=partial(self._perform, action, entry),
            action_id=action_id,
            failure=f"event {shown(action.type)} was not published",
        )

    def _perform(self, action: PublishEvent, entry: Mapping[str, Any], claim: Claim) -> Outcome:
        event_id = self.publish(entry)
        outcome = Outcome(action="PublishEvent", status=OutcomeStatus.PUBLISHED, name=action.type, id=event_id)
        if action.failure is not None:
            outcome |= {"error": stored_name(action.failure), "reason": str(action.failure)}
        return outcome

    def publish(self, entry: Any) -> str:
        """Publish an event in up to three attempts, and return the id that EventBridge gives the event.

        Args:
            entry: The event, as an entry of the request PutEvents.

        Raises:
            InvalidEvent: EventBridge refused the event.
            ConfigurationError: The bus does not exist, or the function may not publish to it.
            Unavailable: EventBridge was not reached, failed, or throttled the request.
        """
        failure = f"event {shown(entry['DetailType'])} was not published on bus {self._name}"
        for attempt in range(1, ATTEMPTS + 1):
            with aws_errors(failure, rejected=InvalidEvent):
                # The response is 200 even if EventBridge did not accept the entry.
                (result,) = self._client().put_events(Entries=[entry])["Entries"]
            code = result.get("ErrorCode")
            if code is None:
                return result["EventId"]
            if code not in _WORTH_A_RETRY:
                raise _refusal(code, failure)
            pause = attempt * _PAUSE_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 (jitter)
            if attempt == ATTEMPTS or not deadline.has_time(pause):
                break
            self._pause(pause)
        raise Unavailable(
            f"{failure}: EventBridge answered {code} {attempt} times; a retry may succeed", ambiguous=False
        )


def _detail(action: PublishEvent) -> str:
    try:
        text = to_json(action.detail)
        f"{action.source}{action.type}{text}".encode()
    except (TypeError, ValueError, RecursionError) as error:
        place = None if isinstance(error, RecursionError) else place_of(action.detail, has_too_many_digits)
        if place is not None:
            raise InvalidEvent(
                f"event {shown(action.type)} cannot be published: {path_of('detail', place)} is {TOO_MANY_DIGITS}"
            ) from None
        raise InvalidEvent(
            f"event {shown(action.type)} cannot be published: its detail is not JSON ({type(error).__name__}); "
            "use text, finite numbers, booleans, null, lists and objects"
        ) from None
    return text


def _refusal(code: str, failure: str) -> ConfigurationError | InvalidEvent:
    if code in ("MalformedDetail", "InvalidArgument"):
        return InvalidEvent(f"{failure}: EventBridge answered {code}; correct its type, source or detail")
    return ConfigurationError(
        f"{failure}: EventBridge answered {code}; correct EVENT_BUS_NAME, or allow events:PutEvents to the function's "
        "role"
    )
