"""Rehearses an event: runs a handler's consumers on it, records what each one does, and performs no real action."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.application import Application
from orchestrator.cli.records import LedgerTable
from orchestrator.cli.rehearsal.ports import Asked, only_reading
from orchestrator.consumer import Consumer, Context
from orchestrator.dispatch.turn import ConsumerResult
from orchestrator.endings.admission import UnknownRun
from orchestrator.errors import OrchestratorError
from orchestrator.event import Event
from orchestrator.local.lambda_context import LocalContext
from orchestrator.performers.performer import Performers
from orchestrator.registry import Registry
from orchestrator.wiring import assemble


class Watched:
    """A wrapper around a consumer's condition and function. It records what they read and return.

    Attributes:
        consumer: The consumer.
        condition: The condition's result. `None` if the consumer has no condition, or if the condition was not called
            or raised an exception.
        has_condition_failed: Whether the condition raised an exception.
        was_called: Whether the function was called.
        actions: The actions that the function returned. `None` if the function was not called or raised an exception.
        tiers: The details of each tier that the function has read, by the tier's name.
        records: Each tenant record that the function has read, by tenant id. The value is `None` for a tenant that has
            no record.
        settings: The names of the settings that the function has read.
    """

    def __init__(self, consumer: Consumer) -> None:
        self.__module__ = getattr(consumer.function, "__module__", "")  # an error names the last line in this module
        self.consumer = consumer
        self.condition: bool | None = None
        self.has_condition_failed = False
        self.was_called = False
        self.actions: tuple[Any, ...] | None = None
        self.tiers: dict[str, Mapping[str, Any]] = {}
        self.records: dict[str, Mapping[str, Any] | None] = {}
        self.settings: set[str] = set()

    def as_consumer(self) -> Consumer:
        """Return a copy of the consumer, with this wrapper in place of the function and of the condition (if any)."""
        when = None if self.consumer.when is None else self.when
        return replace(self.consumer, when=when, function=self, takes_context=True)

    def when(self, event: Event[Any]) -> bool:
        """Call the consumer's condition, and record its result."""
        condition = self.consumer.when
        self.has_condition_failed = True
        self.condition = condition is None or bool(condition(event))
        self.has_condition_failed = False
        return self.condition

    def __call__(self, event: Event[Any], context: Context) -> Any:
        """Call the consumer's function, and record what it reads and returns."""
        self.was_called = True
        settings: Any = _Watching(context.settings, self.settings)
        seen = replace(
            context,
            settings=settings,
            tiers=_Reads(context.tiers.get, self.tiers),
            tenants=_Reads(context.tenants.get, self.records),
        )
        decision = self.consumer.decide(event, seen)
        return self._awaited(decision) if inspect.iscoroutine(decision) else self._kept(decision)

    async def _awaited(self, decision: Awaitable[Any]) -> Any:
        return self._kept(await decision)

    def _kept(self, decision: Any) -> Any:
        if decision is None:
            self.actions = ()
            return None
        self.actions = tuple(decision) if isinstance(decision, Iterable) else (decision,)
        return self.actions


class _Watching:
    """Forwards attribute access to an object, and records the attributes' names."""

    def __init__(self, watched: Any, names: set[str]) -> None:
        self._watched = watched
        self._names = names

    def __getattr__(self, name: str) -> Any:
        self._names.add(name)
        return getattr(self._watched, name)


class _Reads:
    """Forwards `get` to a function, and records the results by key."""

    def __init__(self, get: Callable[[str], Any], found: dict[str, Any]) -> None:
        self._get = get
        self._found = found

    def get(self, key: str) -> Any:
        found = self._get(key)
        self._found[key] = found
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a handler would do with an event.

    Attributes:
        received: The event as it was received.
        event: The event that the consumers get (see `Admission.admit`). If the event is ignored or refused, this is
            `received`.
        watched: The consumers of the event's type, in the order of their registration. If a queue's message names
            consumers, only these are included.
        results: The results of the consumers that accepted the event, and of those that failed before that, for example
            because the event's detail is invalid. If a queue's message names a consumer that is not registered, the
            result of this consumer is an error.
        performers: The objects that perform the actions; here, they change nothing.
        asked: The events, callbacks and messages to the waiting queue that the handler would send.
        ignored: Why the event is ignored; `None` if it is not ignored.
        refused: The error with which the event is refused; `None` if it is not refused.
    """

    received: Event[Mapping[str, Any]]
    event: Event[Mapping[str, Any]]
    watched: Sequence[Watched]
    results: Sequence[ConsumerResult] = ()
    performers: Performers = field(repr=False)
    asked: Asked = field(repr=False)
    ignored: str | None = None
    refused: OrchestratorError | None = None


def rehearse(
    application: Application, received: Event[Mapping[str, Any]], table: LedgerTable | None = None
) -> Rehearsal:
    """Run a handler's consumers on an event. Their actions change and send nothing.

    Errors of this package are not raised: the result contains them.

    Args:
        application: The handler.
        received: The event.
        table: The table of the handler's ledger; `None` if the ledger has none.
    """
    ports, asked = only_reading(application.ports, table)
    names = received.delivery.consumers if received.delivery is not None else ()
    consumers = application.registry.consumers_of(received.type)
    watched = [Watched(consumer) for consumer in consumers if not names or consumer.name in names]
    replaced = {one.consumer.name: one.as_consumer() for one in watched}
    registry = Registry()  # it has the other consumers, too: they declare which events report endings
    registry.include(replaced.get(consumer.name, consumer) for consumer in application.registry)
    rehearsed = assemble(registry, ports)
    found = Rehearsal(
        received=received,
        event=received,
        watched=watched,
        performers=rehearsed.dispatcher.performers,
        asked=asked,
    )
    try:
        event, results = rehearsed.process(received, LocalContext())
    except UnknownRun as doubt:
        return replace(found, ignored=str(doubt))
    except OrchestratorError as error:
        return replace(found, refused=error)
    return replace(found, event=event, results=results)
