"""The registry: maps event types to consumers."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from orchestrator.consumer import Condition, Consumer, ConsumerFunction, describe
from orchestrator.ending_event import EndingEvent
from orchestrator.errors import ConfigurationError, shown

FunctionT = TypeVar("FunctionT", bound=ConsumerFunction)


class Registry:
    """The consumers of a Lambda function, by name and by event type.

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
        self._endings: dict[str, dict[str, EndingEvent]] = {}

    def consumer(
        self,
        *types: str,
        name: str | None = None,
        when: Condition | None = None,
        ending: EndingEvent | None = None,
        leads_to: Iterable[str] = (),
    ) -> Callable[[FunctionT], FunctionT]:
        """Return a decorator that registers a callable as a consumer, and returns the callable unchanged.

        The callable takes `(event)` or `(event, context)`. It may be `async`. It returns one action, several actions,
        or `None`.

        Args:
            *types: One or more event types to handle.
            name: The consumer's name; by default, the name of the function. If a consumer is renamed while an event is
                being retried, the event's job may be started twice, because the name is part of the job's identity.
            when: A condition: takes the event, and returns whether the consumer handles it. If the consumer's parameter
                is annotated `Event[SomeModel]`, the condition gets the detail as this model, too. `None` accepts every
                event of the given types.
            ending: The form of the event that reports how the consumer's job ended; `EndingEvent()` is the default
                form. With this argument, an event is also published if the job can never be started, for example
                because the consumer raised `InvalidEvent`. With `None`, only the endings of runs are reported, in the
                default form.
            leads_to: Further effects of the consumer: types of events, or other texts such as `status webhook`. Only
                the commands `orchestrator routes` and `orchestrator schema` read these texts.

        Raises:
            ConfigurationError: The name is missing or taken, no event type is given, an argument is malformed, or the
                callable has other parameters or unsuitable annotations.
        """
        if not types or callable(types[0]):  # `@registry.consumer` without an event type
            raise ConfigurationError('a consumer has no event types; name them: @registry.consumer("TENANT_…", …)')

        def register(function: FunctionT) -> FunctionT:
            self._add(describe(function, types, name, when, ending, leads_to))
            return function

        return register

    def include(self, other: "Registry | Iterable[Consumer]", *, replace: bool = False) -> None:
        """Add all consumers of another registry.

        Args:
            other: The other registry, for example `orchestrator.lifecycle.registry`; or the consumers themselves.
            replace: Whether to replace registered consumers that have the same names as the new ones.

        Raises:
            ConfigurationError: A registered consumer has the same name as a new one, and `replace` is false; or two of
                the new consumers have one name. No consumer is added.
        """
        consumers = tuple(other)
        seen: set[str] = set()
        for name in (consumer.name for consumer in consumers):
            if name in seen:
                raise ConfigurationError(f"two included consumers are named {shown(name)}; rename one with name=")
            if name in self and not replace:
                raise _taken(name)
            seen.add(name)
        for consumer in consumers:
            if consumer.name in self:
                self.remove(consumer.name)
            self._add(consumer)

    def remove(self, name: str) -> None:
        """Remove a consumer, for example a built-in one.

        Raises:
            ConfigurationError: No consumer has that name.
        """
        consumer = self._by_name.pop(name, None)
        if consumer is None:
            known = ", ".join(self._by_name) or "none"
            raise ConfigurationError(
                f"consumer {shown(name)} is not registered; correct the name (registered: {known})"
            )
        for index, texts in ((self._by_type, consumer.types), (self._endings, _declared_types(consumer))):
            for text in texts:
                del index[text][name]
                if not index[text]:
                    del index[text]

    def consumers_of(self, event_type: str) -> tuple[Consumer, ...]:
        """Return all consumers of an event type in order of registration, whatever their conditions (`when`)."""
        return tuple(self._by_type.get(event_type, {}).values())

    def ending_of(self, consumer: str) -> EndingEvent | None:
        """Return the `EndingEvent` that a consumer declares; `None` if it declares none, or is not registered."""
        found = self._by_name.get(consumer)
        return None if found is None else found.ending

    def endings_of_type(self, event_type: str) -> tuple[EndingEvent, ...]:
        """Return each `EndingEvent` that a consumer declares and whose `success` or `failure` is this event type.

        An `EndingEvent` whose `success` or `failure` is `None` is not found by the default type that `None` stands for.
        """
        return tuple(self._endings.get(event_type, {}).values())

    def _add(self, consumer: Consumer) -> None:
        if consumer.name in self:
            raise _taken(consumer.name)
        self._by_name[consumer.name] = consumer
        for event_type in consumer.types:
            self._by_type.setdefault(event_type, {})[consumer.name] = consumer
        if consumer.ending is not None:
            for event_type in _declared_types(consumer):
                self._endings.setdefault(event_type, {})[consumer.name] = consumer.ending

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Consumer]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        routes = (f"{event_type} -> {', '.join(by_name)}" for event_type, by_name in self._by_type.items())
        return f"Registry({'; '.join(routes)})"


def _declared_types(consumer: Consumer) -> tuple[str, ...]:
    """Return the `success` and `failure` of a consumer's `ending`, without those that are `None`."""
    ending = consumer.ending
    return () if ending is None else tuple(text for text in (ending.success, ending.failure) if text is not None)


def _taken(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"consumer {shown(name)} is registered already; give one of them another name=, remove() the first, "
        "or include() a registry with replace=True"
    )
