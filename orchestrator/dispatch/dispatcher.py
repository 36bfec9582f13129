"""Runs the consumers of an event side by side and performs what they decided."""

import contextvars
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.action import Action, Outcome, SaveTenant, StartJob, UpdateTenant, begins
from orchestrator.consumer import Consumer, Context
from orchestrator.dispatch.failure import failure_event
from orchestrator.errors import ConfigurationError, OrchestratorError, blamed, is_permanent, shown
from orchestrator.event import Event
from orchestrator.performers import answers
from orchestrator.performers.performer import Performer
from orchestrator.run import Origin

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_MAX_SIDE_BY_SIDE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one consumer made of an event.

    Attributes:
        consumer: Its name.
        outcomes: What was performed, in order.
        error: What stopped it; `None` where nothing did.
    """

    consumer: str
    outcomes: Sequence[Outcome]
    error: OrchestratorError | None = None


class Dispatcher:
    """Decides and acts for one event at a time; keeps its threads between events."""

    def __init__(self, performer: Performer) -> None:
        self._performer = performer
        self._threads: ThreadPoolExecutor | None = None

    def dispatch(
        self, event: Event[Mapping[str, Any]], consumers: Iterable[Consumer], context: Context
    ) -> list[Report]:
        """Let every consumer that wants the event decide, and perform its actions.

        Args:
            event: The event.
            consumers: The consumers of its type.
            context: Handed to the consumers that take it.

        Returns:
            A report for each consumer that wanted the event or failed, in their order. A consumer that fails
            stops neither the others nor the return.
        """
        reports: list[Report | Callable[[], Report]] = []
        consumers = list(consumers)
        for consumer in consumers:
            # What one consumer does to a detail that it shares with others is not to be seen by them.
            seen = event if len(consumers) == 1 else replace(event, detail=deepcopy(event.detail))
            try:
                self._raise_again(consumer, event)
                accepted = consumer.accept(seen)
            except BaseException as error:
                reports.append(self._failed(consumer, event, context, error))
                continue
            if accepted is not None:
                reports.append(partial(self._run, consumer, event, accepted, context))
        return self._side_by_side(reports)

    def _side_by_side(self, reports: Sequence[Report | Callable[[], Report]]) -> list[Report]:
        if sum(callable(report) for report in reports) < 2:
            return [report() if callable(report) else report for report in reports]
        threads = self._thread_pool()
        # Each thread gets a copy of the context variables: Powertools keeps the log's correlation id there.
        futures = [
            threads.submit(contextvars.copy_context().run, report) if callable(report) else report for report in reports
        ]
        return [future if isinstance(future, Report) else future.result() for future in futures]

    def _thread_pool(self) -> "ThreadPoolExecutor":
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor

            self._threads = ThreadPoolExecutor(_MAX_SIDE_BY_SIDE, thread_name_prefix="consumer")
        return self._threads

    def _run(
        self, consumer: Consumer, event: Event[Mapping[str, Any]], accepted: Event[Any], context: Context
    ) -> Report:
        outcomes: list[Outcome] = []
        actions: tuple[Action, ...] = ()
        try:
            decision = consumer.decide(accepted, context)
            if inspect.iscoroutine(decision):
                from orchestrator.dispatch import (
                    event_loop,  # only functions with async consumers pay for what this imports
                )

                decision = event_loop.run(decision)
            actions = _actions(decision, consumer)
            # All actions are checked before the first is performed: bad input changes nothing.
            answers.check(actions, consumer.name)
            prepared = [
                self._prepare(answers.blank(action), consumer, event, position)
                for position, action in enumerate(actions)
            ]
            kept: dict[str, str | int] = {}
            has_begun = self._has_begun(actions, consumer, event)
            for position, perform in enumerate(prepared):
                if has_begun and begins(actions[position]):
                    outcomes.append(_begun(actions[position]))
                    continue
                if answers.awaited(actions[position]):
                    perform = self._prepare(answers.fill(actions[position], kept), consumer, event, position)
                outcome = perform().copy()
                # What is kept may be personal: it goes no further than into the actions that need it.
                kept.update(outcome.pop("answer", {}))
                outcomes.append(outcome)
                if outcome["status"] == "superseded":
                    break
        except BaseException as error:
            return self._failed(consumer, event, context, error, outcomes, actions)
        return Report(consumer=consumer.name, outcomes=outcomes)

    def _failed(
        self,
        consumer: Consumer,
        event: Event[Mapping[str, Any]],
        context: Context,
        raised: BaseException,
        outcomes: Sequence[Outcome] = (),
        actions: Sequence[Action] = (),
    ) -> Report:
        """Report a failure here, and, where somebody waits for the job, on the bus."""
        if isinstance(raised, KeyboardInterrupt):
            raise raised
        error = _told(consumer, raised)
        report = Report(consumer=consumer.name, outcomes=outcomes, error=error)
        # A replay repeats what was handled once, and reported if it failed: unless it has changed something itself, it
        # must not take back what went well.
        is_idle_replay = event.replay_name is not None and not any(
            outcome["status"] in ("saved", "updated") for outcome in outcomes
        )
        if consumer.failure_type is None or not is_permanent(error) or is_idle_replay:
            return report
        publish = failure_event(consumer.failure_type, event, actions, error)
        if publish is None:
            return report
        try:
            published = self._prepare(publish, consumer, event, None)()
        except OrchestratorError as second:
            # The event comes again, and with it the next try of this report.
            context.logger.error(str(second), error=type(second).__name__, consumer=consumer.name)
            return report
        return replace(report, outcomes=[*outcomes, published])

    def _raise_again(self, consumer: Consumer, event: Event[Mapping[str, Any]]) -> None:
        """Raise the failure that was published when AWS delivered the event before: nobody expects a job any more."""
        origin = Origin(event=event, consumer=consumer.name, position=None)
        if consumer.failure_type is None or not origin.may_be_retry:
            return
        failure = self._performer.published_failure(origin)
        if failure is not None:
            raise failure

    def _has_begun(self, actions: Sequence[Action], consumer: Consumer, event: Event[Mapping[str, Any]]) -> bool:
        """Say whether an event that comes again has started its job: what it began may be over since."""
        jobs = (position for position, action in enumerate(actions) if isinstance(action, StartJob))
        origin = Origin(event=event, consumer=consumer.name, position=next(jobs, None))
        if origin.position is None or not origin.may_be_retry or not any(map(begins, actions)):
            return False
        return self._performer.is_done(origin)

    def _prepare(
        self, action: Action, consumer: Consumer, event: Event[Mapping[str, Any]], position: int | None
    ) -> Callable[[], Outcome]:
        return self._performer.prepare(action, Origin(event=event, consumer=consumer.name, position=position))


def _begun(action: Action) -> Outcome:
    name = action.tenant_id if isinstance(action, SaveTenant | UpdateTenant) else ""
    reason = "this event has started its job before"
    return Outcome(action=type(action).__name__, status="skipped", name=name, reason=reason)


def _actions(decision: Any, consumer: Consumer) -> tuple[Action, ...]:
    if decision is None:
        return ()
    if isinstance(decision, Action):
        return (decision,)
    actions = tuple(decision) if isinstance(decision, Iterable) else (decision,)
    for action in actions:
        if not isinstance(action, Action):
            raise ConfigurationError(
                f"consumer {shown(consumer.name)} returned {type(action).__name__}; "
                "a consumer returns one action, several, or None"
            )
    return actions


def _told(consumer: Consumer, raised: BaseException) -> OrchestratorError:
    if isinstance(raised, OrchestratorError):
        return raised
    return blamed(f"consumer {shown(consumer.name)}", getattr(consumer.function, "__module__", ""), raised)
