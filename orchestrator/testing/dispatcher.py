"""Dispatches events to consumers, and records their actions instead of performing them."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import BaseModel

from orchestrator.action import (
    Action,
    Following,
    FromAnswer,
    Outcome,
    OutcomeStatus,
    PublishEnding,
    PublishEvent,
    SaveTenant,
    SendCallback,
    StartJob,
    SweepRuns,
    UpdateTenant,
)
from orchestrator.consumer import Context
from orchestrator.dispatch.dispatcher import Dispatcher
from orchestrator.event import Event
from orchestrator.ledger.ledger import Claim, Ledger, Prepared
from orchestrator.ledger.memory import MemoryRecords
from orchestrator.registry import Registry
from orchestrator.run import Origin
from orchestrator.testing.context import make_context

_PERFORMED = {
    StartJob: OutcomeStatus.STARTED,
    SaveTenant: OutcomeStatus.SAVED,
    UpdateTenant: OutcomeStatus.UPDATED,
    PublishEvent: OutcomeStatus.PUBLISHED,
    SendCallback: OutcomeStatus.SENT,
    PublishEnding: OutcomeStatus.PUBLISHED,
    SweepRuns: OutcomeStatus.SWEPT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An action, and the name of the consumer that returned it."""

    consumer: str
    action: Action | Following


class RecordingDispatcher:
    """Runs the consumers of a registry as the deployed function does, but only records their actions.

    It selects consumers by event type and condition. If a consumer's annotation names a model, it converts the detail
    to that model and validates it. It runs both plain and `async` consumers.

    No callback is sent, so a `FromAnswer` in the body of a recorded callback stays as it is.

    Attributes:
        recorded: Every action since the dispatcher was created. The actions of one consumer are in order. If an event
            has several consumers, these run at the same time, so their actions may be mixed. If a consumer failed, and
            the deployed function would publish an event about the failure, the `PublishEvent` is recorded, too.
    """

    def __init__(self, registry: Registry, context: Context | None = None) -> None:
        """Create a dispatcher.

        Args:
            registry: The consumers.
            context: The context that the consumers receive; by default, `make_context()` creates it.
        """
        self.recorded: list[Recorded] = []
        self._registry = registry
        self._context = context or make_context()
        records = MemoryRecords()
        performers = {action: _Recorder(self.recorded, status) for action, status in _PERFORMED.items()}
        self._dispatcher = Dispatcher(performers, Ledger(records), records)

    def dispatch(self, event: Event[Any]) -> list[Recorded]:
        """Run the consumers that accept an event.

        Args:
            event: The event. Its detail may be a mapping or a model.

        Returns:
            The actions that were recorded for this event.

        Raises:
            OrchestratorError: A consumer failed. An exception of another class is wrapped in an `OrchestratorError`, as
                in the deployed function. If several consumers failed, the error of the first of them is raised, after
                all consumers have run.
        """
        if isinstance(event.detail, BaseModel):
            event = replace(event, detail=event.detail.model_dump(by_alias=True, exclude_unset=True))
        before = len(self.recorded)
        results = self._dispatcher.dispatch(event, self._registry.consumers_of(event.type), self._context)
        for result in results:
            if result.error is not None:
                raise result.error
        return self.recorded[before:]


class _Recorder:
    """Takes the place of a performer: records each action, and returns the outcome of a success."""

    def __init__(self, recorded: list[Recorded], status: OutcomeStatus) -> None:
        self._recorded = recorded
        self._status = status

    def prepare(self, action: Any, origin: Origin) -> Prepared:
        return Prepared(perform=partial(self._record, action, origin))

    def _record(self, action: Any, origin: Origin, claim: Claim) -> Outcome:
        self._recorded.append(Recorded(consumer=origin.consumer, action=action))
        outcome = Outcome(action=type(action).__name__, status=self._status)
        if isinstance(action, StartJob):
            outcome |= {"builder": action.builder or "CODE_BUILD", "name": action.name}
        if isinstance(action, SendCallback):
            kept: Any = {name: FromAnswer(name) for name in action.keeps}  # each placeholder is replaced by itself
            outcome["answer"] = kept
        return outcome
