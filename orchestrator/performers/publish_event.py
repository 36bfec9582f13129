"""Publishes events on an EventBridge bus, and makes sure that the bus took them."""

import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.action import Outcome, PublishEvent
from orchestrator.aws.errors import aws_errors
from orchestrator.errors import ConfigurationError, InvalidEvent, Unavailable, shown
from orchestrator.event import Start
from orchestrator.ledger.ledger import Claim, Performance
from orchestrator.run import marks
from orchestrator.timing import deadline
from orchestrator.values.limits import MAX_ENTRY_BYTES, TOO_MANY_DIGITS, has_too_many_digits, place_of
from orchestrator.values.text import to_json
from orchestrator.values.validation import path_of

if TYPE_CHECKING:
    from types_boto3_events import EventBridgeClient

ATTEMPTS = 3
_PAUSE_SECONDS = 0.2
# As an event's time counts (EventBridge user guide, "Calculating PutEvents event entry size").
_TIME_BYTES = 14
# PutEvents API reference, PutEventsResultEntry: the codes that ask for another try.
_WORTH_A_RETRY = frozenset({"InternalException", "InternalFailure", "ThrottlingException"})


class EventBus:
    """An event bus."""

    def __init__(
        self,
        name: str,
        client: "Callable[[], EventBridgeClient]",
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Keep what is needed for the first event; nothing is sent yet.

        Args:
            name: The bus's name.
            client: Gives the EventBridge client.
            pause: Waits for a number of seconds.
        """
        self._name = name
        self._client = client
        self._pause = pause

    def prepare(self, action: PublishEvent, run_id: str, start: Start, at: datetime) -> Performance:
        """Check an event before anything is done.

        Args:
            action: The event to publish.
            run_id: Identity of the action, which the event carries: published twice, it counts once.
            start: What the event follows from, which it carries, too.
            at: Its time: that of its cause.

        Returns:
            What publishes it; whether an earlier attempt is known of makes no difference to it.

        Raises:
            InvalidEvent: The detail is no JSON, or the event is too large.
        """
        entry: dict[str, Any] = {
            "EventBusName": self._name,
            "Source": action.source,
            "DetailType": action.type,
            "Detail": _detail(action),
            "Resources": marks(run_id, start),
            "Time": at,
        }
        texts = (*entry["Resources"], action.source, action.type, entry["Detail"])
        size = _TIME_BYTES + sum(len(text.encode()) for text in texts)
        if size > MAX_ENTRY_BYTES:
            raise InvalidEvent(
                f"event {shown(action.type)} cannot be published: it has {size:,} bytes, and EventBridge takes at most "
                f"{MAX_ENTRY_BYTES:,}; send less"
            )

        def publish(_: Claim) -> Outcome:
            outcome = Outcome(action="PublishEvent", status="published", name=action.type, id=self.publish(entry))
            if action.failure is not None:
                outcome |= {"error": type(action.failure).__name__, "reason": str(action.failure)}
            return outcome

        return publish

    def publish(self, entry: Any) -> str:
        """Publish an event.

        Args:
            entry: The event, as PutEvents takes it.

        Returns:
            The id that the bus gave the event.

        Raises:
            InvalidEvent: The bus refuses the event itself.
            ConfigurationError: There is no such bus, or the function may not publish on it.
            Unavailable: The bus was not reached, or did not take the event on any try.
        """
        what = f"event {shown(entry['DetailType'])} was not published on bus {self._name}"
        for attempt in range(1, ATTEMPTS + 1):
            with aws_errors(what, rejected=InvalidEvent):
                # The answer is 200 whether the bus took the entry or not.
                (result,) = self._client().put_events(Entries=[entry])["Entries"]
            code = result.get("ErrorCode")
            if code is None:
                return result["EventId"]
            if code not in _WORTH_A_RETRY:
                raise _refusal(code, what)
            pause = attempt * _PAUSE_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 (jitter)
            if attempt == ATTEMPTS or not deadline.has_time(pause):
                break
            self._pause(pause)
        raise Unavailable(f"{what}: EventBridge answered {code} {attempt} times; it will be retried", ambiguous=False)


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
            f"event {shown(action.type)} cannot be published: its detail is no JSON ({type(error).__name__}); "
            "use text, finite numbers, booleans, null, lists and objects"
        ) from None
    return text


def _refusal(code: str, what: str) -> ConfigurationError | InvalidEvent:
    if code in ("MalformedDetail", "InvalidArgument"):
        return InvalidEvent(f"{what}: EventBridge answered {code}; correct its type, source or detail")
    return ConfigurationError(
        f"{what}: EventBridge answered {code}; correct EVENT_BUS_NAME, or allow events:PutEvents to the function's role"
    )
