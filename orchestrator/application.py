"""The Lambda handler: parses an event, runs its consumers, logs the results, and raises the consumers' failures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict

from orchestrator import telemetry
from orchestrator.action import Outcome, OutcomeStatus
from orchestrator.consumer import Consumer, Context
from orchestrator.dispatch.dispatcher import Dispatcher
from orchestrator.dispatch.turn import ConsumerResult
from orchestrator.ending_event import reports_ending
from orchestrator.endings.admission import Admission, UnknownRun
from orchestrator.errors import ConfigurationError, OrchestratorError, shown
from orchestrator.event import Delivery, Event
from orchestrator.intake import envelopes, eventbridge
from orchestrator.registry import Registry
from orchestrator.settings import Settings
from orchestrator.stores.tenants import TenantReader, TenantRecords
from orchestrator.stores.tiers import TierDetails
from orchestrator.timing import deadline

if TYPE_CHECKING:
    from types_boto3_events import EventBridgeClient
    from types_boto3_sqs import SQSClient

    from orchestrator.intake.batch import Batches, Parse
    from orchestrator.intake.waiting import Waiting
    from orchestrator.job import Builder
    from orchestrator.ledger.ledger import Records
    from orchestrator.ledger.waiting_line import WaitingLine
    from orchestrator.performers.callbacks import Callbacks


_NEVER_WAITING = ("aws.codebuild", "aws.events", "aws.scheduler", "aws.states")
_MOST_SHOWN = 10


class Ports(TypedDict):
    """An application's settings, and its access to AWS, the builders and the control plane.

    Attributes:
        settings: The function's settings.
        tiers: The source of tier details.
        tenants: The store of tenant records.
        records: The ledger's store. The ledger records which actions were performed.
        line: Makes SQS deliver waiting events once their jobs may be started; `None` if the ledger has no table.
        built_in: Functions that create the built-in builders, by the builder's name.
        builders: The registered builders, by name.
        events: Returns the EventBridge client.
        sqs: Returns the SQS client.
        callbacks: Returns the object that sends callbacks to the control plane.
    """

    settings: Settings
    tiers: TierDetails
    tenants: TenantRecords
    records: "Records"
    line: "WaitingLine | None"
    built_in: "Mapping[str, Callable[[], Builder]]"
    builders: "Mapping[str, Builder]"
    events: "Callable[[], EventBridgeClient]"
    sqs: "Callable[[], SQSClient]"
    callbacks: "Callable[[], Callbacks]"


class Application:
    """A Lambda handler; use `create_handler` to create one.

    Attributes:
        registry: The registry of the consumers. Further consumers can be registered at any time.
        ports: The settings, stores and clients that the application was built with. Do not change them.
        dispatcher: Runs the consumers.
    """

    __name__ = "lambda_handler"  # read by decorators such as Powertools' Tracer

    def __init__(
        self,
        registry: Registry,
        ports: Ports,
        *,
        dispatcher: Dispatcher,
        admission: Admission,
        batches: "Callable[[], Batches]",
        waiting: "Callable[[], Waiting]",
        time_limit: deadline.TimeLimit,
    ) -> None:
        self.registry = registry
        self.ports = ports
        self.dispatcher = dispatcher
        self._settings = ports["settings"]
        self._tiers = ports["tiers"]
        self._tenants = TenantReader(ports["tenants"])
        self._admission = admission
        self._batches = batches
        self._waiting = waiting
        self._time_limit = time_limit

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        """Handle one invocation.

        Args:
            event: An EventBridge event, an array of events from a custom event bus, or a batch of SQS messages. If an
                event or array is wrapped in a record that Lambda sent to a failure destination, it is unwrapped.
            context: Lambda's context object.

        Returns:
            For an EventBridge event, `eventId`, `eventType`, and `consumers`: a list with the `name` and `outcomes` of
            each consumer that ran. An outcome with the status `waiting` means that its job cannot be started yet, and
            that the event is in the waiting queue. For an array, `events`: a list with such an answer for each event.
            For a batch, `batchItemFailures`, which names the messages that SQS must deliver again.

        Raises:
            OrchestratorError: The EventBridge event or the form of the batch is invalid, the ledger could not be read
                or written, or one consumer failed. The event's other consumers still run, and the array's other events
                are still handled.
            ExceptionGroup: Several consumers of the EventBridge event failed, or several events of the array. The
                failures of a batch's messages are not raised: `batchItemFailures` reports them.
        """
        self._time_limit.check(context)
        with deadline.of_invocation(context), telemetry.quiet_libraries:
            if eventbridge.is_sqs_batch(event):
                return self._batches().process(event, partial(self._handle_all, context))
            parse = partial(eventbridge.parse, delivery_id=getattr(context, "aws_request_id", None))
            return self._handle_all(context, parse, event)

    def _handle_all(self, lambda_context: Any, parse: "Parse", payload: Any) -> dict[str, Any]:
        """Handle the event in a payload or, one after the other, the events of an array.

        A failure is raised only after all events of the array were tried. The whole array is then delivered again. The
        events that were handled do not start their jobs again, because the ledger has records of these jobs.
        """
        members = envelopes.members(payload)
        if members is None:
            return self._handle(lambda_context, partial(parse, payload))
        answers: list[dict[str, Any]] = []
        errors: list[Exception] = []
        for number, member in enumerate(members, 1):
            try:
                answers.append(
                    self._handle(lambda_context, partial(parse, member, f"event {number} of {len(members)}"))
                )
            except Exception as error:
                errors.append(error)
        _raise_together(f"{len(errors)} of {len(members)} events failed", errors)
        return {"events": answers}

    def _handle(self, lambda_context: Any, parse: Callable[[], Event[Mapping[str, Any]]]) -> dict[str, Any]:
        with telemetry.failures_logged:
            received = parse()
        with telemetry.LogKeys(received, lambda_context):
            try:
                event, results = self.process(received, lambda_context)
            except UnknownRun as doubt:
                _log_ignored(received, str(doubt), {"not_taken": str(doubt)})
                return _answer(received, ())
            if not results:
                self._log_not_taken(event)
            else:
                _log_results(event, results)
        _raise_failures(event, results)
        self._admission.finish(event)
        return _answer(event, results)

    def process(
        self, received: Event[Mapping[str, Any]], lambda_context: Any
    ) -> tuple[Event[Mapping[str, Any]], Sequence[ConsumerResult]]:
        """Check an event, run its consumers, and let the event wait if a job cannot be started yet.

        Returns:
            The event, with the values that `Admission.admit` took from the ledger, and the results of its consumers.
            The consumers' failures are not raised.

        Raises:
            UnknownRun: The event is about a run, and must be ignored (see `UnknownRun`).
            OrchestratorError: The event could not be checked, or is invalid (see `Admission.admit`).
        """
        with telemetry.failures_logged:
            event = self._admission.admit(received)
        context = Context(
            settings=self._settings,
            tiers=self._tiers,
            tenants=self._tenants,
            logger=telemetry.logger,
            lambda_context=lambda_context,
        )
        return event, self._let_wait(received, event, self._dispatch(event, context))

    def _dispatch(self, event: Event[Mapping[str, Any]], context: Context) -> Sequence[ConsumerResult]:
        """Dispatch the event to its consumers (see `_consumers_for`).

        If the event names a consumer that is not registered any more, that consumer's result is an error.
        """
        results = self.dispatcher.dispatch(event, self._consumers_for(event), context)
        registered = {consumer.name for consumer in self.registry.consumers_of(event.type)}
        return [*results, *(_gone(event, name) for name in _named(event) if name not in registered)]

    def _consumers_for(self, event: Event[Any]) -> Sequence[Consumer]:
        """Return the consumers of the event's type; if an event from a queue names consumers, only these."""
        named = _named(event)
        return [one for one in self.registry.consumers_of(event.type) if not named or one.name in named]

    def _log_not_taken(self, event: Event[Mapping[str, Any]]) -> None:
        """Log a warning that no consumer takes the event, with the reason, and count the event in the metrics."""
        # All of these consumers have been asked, so their conditions were false.
        names = [consumer.name for consumer in self._consumers_for(event)]
        telemetry.logger.warning(
            "no consumer takes this event", event_source=event.source, not_taken=_why_not(event, names), declined=names
        )
        telemetry.count("EventUnhandled")

    def _let_wait(
        self,
        received: Event[Mapping[str, Any]],
        event: Event[Mapping[str, Any]],
        results: Sequence[ConsumerResult],
    ) -> Sequence[ConsumerResult]:
        """Let the event wait if the job of a consumer cannot be started yet.

        An event that did not come from a queue is sent to the waiting queue, if there is one and the event may wait
        (see `_may_wait`). An event that came from a queue waits in that queue if the Lambda function will schedule
        a retry of its message (see `Delivery.comes_back`). In all other cases, or if sending failed, the event does not
        wait, and the errors in its results stay.

        What the event waits for is stored in the tenant record. If an event that had waited has started a job, SQS is
        made to deliver another event that waits for the same build system.

        Args:
            received: The event as it was received. This event is sent to the waiting queue.
            event: The event as `Admission.admit` returned it.
            results: The results of the event's consumers.

        Returns:
            The results. If the event waits, the results of the consumers that wait get the outcome `waiting`. The
            errors in these results are removed if the event was sent to the waiting queue. The errors are kept if the
            event came from a queue, so that the message counts as failed and is delivered again.
        """
        delivery = received.delivery
        waits = [result for result in results if result.waits_for is not None]
        if delivery is None:
            names = [result.consumer for result in waits]
            can_wait = bool(waits) and self._may_wait(event) and self._waiting().send(received, names)
        else:
            can_wait = bool(waits) and delivery.comes_back
        if delivery is not None and delivery.has_waited:
            for outcome in (outcome for result in results for outcome in result.outcomes):
                if outcome["status"] is OutcomeStatus.STARTED:
                    self._waiting().wake_next(outcome["builder"])
        if can_wait:
            self._waiting().note(event, waits[0].waits_for)
            return [_waiting(result, delivery) if result in waits else result for result in results]
        if delivery is not None and delivery.has_waited:
            self._waiting().note(event, None)
        return results

    def _may_wait(self, event: Event[Any]) -> bool:
        """Return whether the event may be sent to the waiting queue.

        Three kinds of events may not: events about the endings of runs, events about the state changes of builds and
        executions, and events of schedules. These events report that runs have ended, or lead to a search for such
        runs. Events in the waiting queue may be waiting for a run to end, so an event of these kinds must not wait
        behind them.
        """
        return not reports_ending(event.type, self.registry) and event.source not in _NEVER_WAITING


def _why_not(event: Event[Any], declined: Sequence[str]) -> str:
    """Describe why no consumer takes an event.

    Args:
        event: The event.
        declined: Names of the consumers that `_consumers_for` returned. All their conditions are false.
    """
    match declined:
        case []:
            return f"its type {shown(event.type)} has no consumer"
        case [name]:
            return f"the condition of {name} is false"
        case _:
            return f"the conditions of {', '.join(declined)} are false"


def _named(event: Event[Any]) -> Sequence[str]:
    """Return the names of the consumers that an event from a queue is for; empty if it is for all of its type."""
    return event.delivery.consumers if event.delivery is not None else ()


def _gone(event: Event[Any], consumer: str) -> ConsumerResult:
    error = ConfigurationError(
        f"{shown(event.type)} event {shown(event.id)} waited for consumer {shown(consumer)}, which is not registered "
        "any more; register it again, and send the event again"
    )
    return ConsumerResult(consumer=consumer, outcomes=(), error=error)


def _waiting(result: ConsumerResult, delivery: Delivery | None) -> ConsumerResult:
    telemetry.logger.info(f"waiting: {result.error}", consumer=result.consumer)
    outcome = Outcome(action="StartJob", status=OutcomeStatus.WAITING, reason=str(result.waits_for))
    return replace(result, outcomes=[*result.outcomes, outcome], error=None if delivery is None else result.error)


def _answer(event: Event[Any], results: Sequence[ConsumerResult]) -> dict[str, Any]:
    return {
        "eventId": event.id,
        "eventType": event.type,
        "consumers": [{"name": result.consumer, "outcomes": list(result.outcomes)} for result in results],
    }


def _log_results(event: Event[Any], results: Sequence[ConsumerResult]) -> None:
    """Log the results of an event's consumers, and count them in the metrics."""
    for result in results:
        for outcome in result.outcomes:
            _log_outcome(event, result.consumer, outcome)
        if result.has_failed:
            name = type(result.error).__name__
            telemetry.logger.error(str(result.error), error=name, consumer=result.consumer)
            telemetry.count("ConsumerFailed", {"error": name})
    if any(result.has_failed for result in results):
        telemetry.count("FailedEvents")  # no dimensions: an alarm must name the value of each dimension
    is_handled = any(not result.has_failed and not result.is_waiting for result in results)
    is_waiting = any(result.is_waiting for result in results)
    telemetry.logger.info(
        "event handled" if is_handled else "event waits" if is_waiting else "event failed",
        consumers=[
            {"name": result.consumer, "outcomes": list(result.outcomes), "failed": result.has_failed}
            for result in results
        ],
    )
    if is_handled:
        telemetry.count("EventHandled", {"event_type": event.type})


def _log_outcome(event: Event[Any], consumer: str, outcome: Outcome) -> None:
    match outcome["status"]:
        case OutcomeStatus.STARTED:
            telemetry.count("JobStarted", {"builder": outcome["builder"]})
        case OutcomeStatus.REFUSED:
            telemetry.logger.warning(f"callback to {outcome['name']} was refused: {outcome['reason']}")
            telemetry.count("CallbackRefused")
        case OutcomeStatus.SUPERSEDED:
            telemetry.logger.info(f"superseded: {outcome['reason']}", consumer=consumer)
            telemetry.count("EventSuperseded")
        case OutcomeStatus.WAITING:
            telemetry.count("EventsWaiting", {"reason": outcome["reason"]})
        case OutcomeStatus.IGNORED:
            _log_ignored(event, outcome["reason"])
        case OutcomeStatus.SKIPPED if outcome["action"] == "SendCallback":
            telemetry.logger.warning(f"tenant {shown(outcome.get('name'))}: the callback was {outcome['reason']}")


def _log_ignored(event: Event[Any], reason: str, keys: Mapping[str, str] = MappingProxyType({})) -> None:
    telemetry.logger.warning(f"{event.type} is ignored: {reason}", extra={"event_source": event.source, **keys})
    telemetry.count("EndingIgnored")


def _raise_failures(event: Event[Mapping[str, Any]], results: Sequence[ConsumerResult]) -> None:
    errors = [result.error for result in results if result.error is not None]
    _raise_together(f"{len(errors)} consumers of {event.type} event {event.id} failed", errors)


def _raise_together(failure: str, errors: Sequence[Exception]) -> None:
    """Raise a single error as it is, and several errors as a group; do nothing if there are no errors.

    The group's message begins with `failure`, and then describes the first ten errors.
    """
    if len(errors) == 1:
        raise errors[0]
    if errors:
        rest = len(errors) - _MOST_SHOWN
        texts = [*map(_text, errors[:_MOST_SHOWN]), *([f"and {rest} more"] if rest > 0 else [])]
        raise ExceptionGroup(f"{failure}: {'; '.join(texts)}", errors)


def _text(error: Exception) -> str:
    """Describe an error for a message that is logged.

    For an exception group, return its message. For any other error that is not an `OrchestratorError`, return only the
    name of its class, because its text may hold secrets.
    """
    name = type(error).__name__
    if isinstance(error, ExceptionGroup):
        return str(error.message)
    return f"{name}: {error}" if isinstance(error, OrchestratorError) else name
