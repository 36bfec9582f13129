"""Dispatches events to consumers and records what they decide, instead of performing it."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import BaseModel

from orchestrator.action import (
    Action,
    Outcome,
    OutcomeStatus,
    PublishEvent,
    SaveTenant,
    SendCallback,
    StartJob,
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
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An action, and the consumer that decided on it."""

    consumer: str
    action: Action


class RecordingDispatcher:
    """Runs the consumers of a registry as the function does: by type, condition and annotation, plain and `async`.

    Attributes:
        recorded: Every action since the dispatcher was made, in order, and the events published when a consumer with
            `failure_type` fails.
    """

    def __init__(self, registry: Registry, context: Context | None = None) -> None:
        """Create a dispatcher.

        Args:
            registry: The consumers.
            context: The context that they get; by default that of `make_context`.
        """
        self.recorded: list[Recorded] = []
        self._registry = registry
        self._context = context or make_context()
        records = MemoryRecords()
        performers = {action: _Recorder(self.recorded, status) for action, status in _PERFORMED.items()}
        self._dispatcher = Dispatcher(performers, Ledger(records), records)

    def dispatch(self, event: Event[Any]) -> list[Recorded]:
        """Let the consumers decide on an event.

        Args:
            event: The event. Its detail is validated for each consumer that is annotated with a model.

        Returns:
            The actions of this event.

        Raises:
            OrchestratorError: A consumer's error; an exception of another class is wrapped, as in the function.
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
    """Stands for a performer."""

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
        return outcome
