"""Knows which consumers take which events."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from orchestrator.consumer import Condition, Consumer, ConsumerFunction, describe
from orchestrator.errors import ConfigurationError, shown

FunctionT = TypeVar("FunctionT", bound=ConsumerFunction)


class Registry:
    """The consumers of a function, by name and by event type.

    >>> registry = Registry()
    >>> @registry.consumer("TENANT_SUSPENDED")
    ... def scale_down(event):
    ...     return None
    >>> "scale_down" in registry
    True
    >>> registry
    Registry(TENANT_SUSPENDED -> scale_down)
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Consumer] = {}
        self._by_type: dict[str, dict[str, Consumer]] = {}

    def consumer(
        self,
        *types: str,
        name: str | None = None,
        when: Condition | None = None,
        failure_type: str | None = None,
        leads_to: Iterable[str] = (),
    ) -> Callable[[FunctionT], FunctionT]:
        """Register the decorated callable, which itself stays as it is.

        Args:
            *types: The event types to take, one or more.
            name: The consumer's name; by default that of the function. It is part of a job's identity, so
                changing it makes a job that is still being retried look like a new one.
            when: A condition on the event besides its type; it sees the event as the consumer does.
            failure_type: Type of an event that is published, with the reason and once, when this consumer fails
                for good: for one that starts a job that somebody waits for.
            leads_to: What follows from this consumer: the types of the events that it publishes or that tell how
                its job ended, or any other text. Only `orchestrator routes` reads it, to draw the flow.

        Returns:
            A decorator for a callable that takes `(event)` or `(event, context)`, plain or `async`, and
            returns one action, several in order, or nothing.

        Raises:
            ConfigurationError: The name is taken, or the callable or its annotation does not fit.
        """
        if not types or callable(types[0]):  # `@registry.consumer` without an event type
            raise ConfigurationError('name the event types that a consumer takes: @registry.consumer("TENANT_…", …)')

        def register(function: FunctionT) -> FunctionT:
            self._add(describe(function, types, name, when, failure_type, leads_to))
            return function

        return register

    def include(self, other: "Registry", *, replace: bool = False) -> None:
        """Take over all the consumers of another registry, which stays as it is.

        Args:
            other: Where to take them from, for example `orchestrator.lifecycle.registry`.
            replace: Whether they take the place of consumers that have the same names here.

        Raises:
            ConfigurationError: A name is taken in both, and not to be replaced; nothing is included then.
        """
        consumers = tuple(other)
        for consumer in consumers:
            if not replace:
                self._refuse_taken(consumer.name)
            elif consumer.name in self:
                self.remove(consumer.name)
        for consumer in consumers:
            self._add(consumer)

    def remove(self, name: str) -> None:
        """Take a consumer out, for example a built-in one that another is to replace.

        Args:
            name: The consumer's name.

        Raises:
            ConfigurationError: There is none of that name.
        """
        consumer = self._by_name.pop(name, None)
        if consumer is None:
            known = ", ".join(self._by_name) or "none"
            raise ConfigurationError(f"consumer {shown(name)} is not registered (registered: {known})")
        for event_type in consumer.types:
            del self._by_type[event_type][name]
            if not self._by_type[event_type]:
                del self._by_type[event_type]

    def consumers_of(self, event_type: str) -> tuple[Consumer, ...]:
        """Find the consumers of an event type.

        Args:
            event_type: The event's type.

        Returns:
            The consumers in the order of their registration; their conditions are not asked.
        """
        return tuple(self._by_type.get(event_type, {}).values())

    def _add(self, consumer: Consumer) -> None:
        self._refuse_taken(consumer.name)
        self._by_name[consumer.name] = consumer
        for event_type in consumer.types:
            self._by_type.setdefault(event_type, {})[consumer.name] = consumer

    def _refuse_taken(self, name: str) -> None:
        if name in self._by_name:
            raise ConfigurationError(
                f"consumer {shown(name)} is registered already; give one of the two another name=, "
                "remove() the first, or include() a registry with replace=True"
            )

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Consumer]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        routes = (f"{event_type} -> {', '.join(by_name)}" for event_type, by_name in self._by_type.items())
        return f"Registry({'; '.join(routes)})"
