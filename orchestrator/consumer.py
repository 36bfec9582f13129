"""Defines consumers and the context that they receive, and checks a consumer's signature when it is registered.

A consumer is a function that receives an event, and returns the actions to perform.
"""

import inspect
import typing
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import NoneType, SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from orchestrator.action import Action, Decision, Following
from orchestrator.ending_event import EndingEvent
from orchestrator.errors import ConfigurationError, InvalidEvent, shown
from orchestrator.event import Event
from orchestrator.job import DeclaredEnding
from orchestrator.values.validation import explain

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

    from orchestrator.settings import Settings
    from orchestrator.stores.tenants import TenantLookup
    from orchestrator.stores.tiers import TierDetails


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The second argument of a consumer that has two parameters.

    Attributes:
        settings: The function's settings.
        tiers: Reads tier details.
        tenants: Reads tenant records. To change a tenant record, a consumer returns an action.
        logger: The function's logger. Each of its lines contains the event's id.
        lambda_context: Lambda's context object. It gives, for example, the time that the invocation has left.
    """

    settings: "Settings"
    tiers: "TierDetails"
    tenants: "TenantLookup"
    logger: "Logger"
    lambda_context: Any


_Decision: TypeAlias = Decision | Following
ConsumerFunction: TypeAlias = (
    Callable[[Event[Any]], _Decision]
    | Callable[[Event[Any], Context], _Decision]
    | Callable[[Event[Any]], Coroutine[Any, Any, _Decision]]
    | Callable[[Event[Any], Context], Coroutine[Any, Any, _Decision]]
)
Condition: TypeAlias = Callable[[Event[Any]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """A registered consumer.

    Attributes:
        name: The name, which is unique in a registry. It is part of the identity of the consumer's actions. By this
            identity, the ledger, which records performed actions, recognizes a repeated action.
        types: The event types that the consumer handles.
        function: The registered callable.
        when: A condition: takes the event, and returns whether the consumer handles it. With `None`, the consumer
            handles every event whose type is in `types`.
        model: The model in the function's annotation `Event[SomeModel]`, or another type that pydantic can validate. If
            this is `None`, the function receives the detail as a mapping.
        validate: Validates a detail, and converts it to `model`. It is `None` if `model` is `None`.
        takes_context: Whether the function is called with a `Context` as its second argument.
        ending: The event that reports how a job of the consumer ended, or that the job could not be started. With
            `None`, the ending is reported in the default form, and a job that could not be started is not reported.
        leads_to: The effects that this consumer may have in addition to the events of `ending`: types of events, or
            texts such as `status webhook`. Only the commands `orchestrator routes` and `orchestrator schema` use this.
    """

    name: str
    types: tuple[str, ...]
    function: ConsumerFunction = field(repr=False)
    when: Condition | None = field(default=None, repr=False)
    model: Any = field(default=None, repr=False)
    validate: Callable[[Mapping[str, Any]], Any] | None = field(default=None, repr=False)
    takes_context: bool = field(default=False, repr=False)
    ending: EndingEvent | None = field(default=None, repr=False)
    leads_to: tuple[str, ...] = field(default=(), repr=False)

    @property
    def ending_types(self) -> tuple[str, ...]:
        """For each of `types`, the two event types that `ending` declares; empty if `ending` is `None`."""
        if self.ending is None:
            return ()
        return tuple(ending for event_type in self.types for ending in self.ending.types(event_type))

    def declared(self, event: Event[Mapping[str, Any]]) -> DeclaredEnding | None:
        """Build the `DeclaredEnding` that the ledger stores with a job that `event` starts.

        Return `None` if `ending` is `None` or equals `EndingEvent()`, which is the default form.
        """
        return None if self.ending is None else self.ending.declared(self.name, event.detail)

    def accept(self, event: Event[Mapping[str, Any]]) -> Event[Any] | None:
        """Validate the detail of an event, and check the condition `when`.

        Args:
            event: An event of one of this consumer's types.

        Returns:
            The event with its validated detail; `None` if the condition is false.

        Raises:
            InvalidEvent: The detail does not fit the annotated model.
            Exception: The condition raised it.
        """
        typed: Event[Any] = event
        if self.validate is not None:
            try:
                typed = replace(event, detail=self.validate(event.detail))
            except ValidationError as error:
                problems = explain(error, root="detail")
                raise InvalidEvent(f"{shown(event.type)} event {shown(event.id)}: {problems}") from None
        return typed if self.when is None or self.when(typed) else None

    def decide(self, event: Event[Any], context: Context) -> _Decision | Coroutine[Any, Any, _Decision]:
        """Call the consumer's function, and return its result. If the function is `async`, return its coroutine.

        Args:
            event: The event that `accept` returned.
            context: Passed to the function if `takes_context` is true.
        """
        function: Callable[..., _Decision | Coroutine[Any, Any, _Decision]] = self.function
        return function(event, context) if self.takes_context else function(event)


def describe(
    function: ConsumerFunction,
    types: tuple[str, ...],
    name: str | None = None,
    when: Condition | None = None,
    ending: EndingEvent | None = None,
    leads_to: Iterable[str] = (),
) -> Consumer:
    """Check a callable, and create a consumer from it. `Registry.consumer` explains the arguments.

    Raises:
        ConfigurationError: An argument is malformed, the consumer has no name, or the callable's signature or
            annotations are not those of a consumer.
    """
    name = name or getattr(function, "__name__", "")
    if not name or name == "<lambda>":
        raise ConfigurationError("a consumer has no name, like a lambda; give it one: consumer(..., name='...')")
    who = f"consumer {shown(name)}"
    if not types or not all(_is_type(text) for text in types):
        raise ConfigurationError(f'{who} has no event types; name them: @registry.consumer("TENANT_…", …)')
    if when is not None and not _is_condition(when):
        raise ConfigurationError(f"{who}: when= must be a plain function that takes the event and returns a boolean")
    if ending is not None:
        _check_ending(ending, who)
    leads_to = [leads_to] if isinstance(leads_to, str) else list(leads_to)
    if not all(map(_is_type, leads_to)):
        raise ConfigurationError(f"{who}: leads_to= must be a list of texts, such as event types")
    parameters = _required_parameters(function, who)
    _refuse_other_returns(function, who)
    model = _model(function, parameters[0], who)
    return Consumer(
        name=name,
        types=tuple(dict.fromkeys(str.__str__(text) for text in types)),
        function=function,
        when=when,
        model=model,
        validate=None if model is None else _validator(model, who),
        takes_context=len(parameters) == 2,
        ending=ending,
        leads_to=tuple(str.__str__(follows) for follows in leads_to),
    )


def _is_condition(when: object) -> bool:
    if not callable(when) or inspect.iscoroutinefunction(when):
        return False
    try:
        inspect.signature(when).bind(None)
    except TypeError:
        return False
    except ValueError:  # some built-in callables have no signature
        return True
    return True


def _check_ending(ending: object, who: str) -> None:
    if not isinstance(ending, EndingEvent):
        raise ConfigurationError(f"{who}: ending= must be an EndingEvent")
    for name in ("success", "failure", "source"):
        text = getattr(ending, name)
        if text is not None and not _is_type(text):
            raise ConfigurationError(f"{who}: {name} of ending= must be a text that is not empty")
    if ending.success is not None and ending.success == ending.failure:
        raise ConfigurationError(f"{who}: success and failure of ending= must be two types of events")
    detail: object = ending.detail
    if not callable(detail) or inspect.iscoroutinefunction(detail):
        raise ConfigurationError(f"{who}: detail of ending= must be a plain function that takes an Ended")
    if isinstance(ending.keeps, str) or not all(map(_is_type, ending.keeps)):
        raise ConfigurationError(f"{who}: keeps of ending= must be a list of names")


def _is_type(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip())


def _required_parameters(function: ConsumerFunction, who: str) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise ConfigurationError(f"{who} has no readable signature; register a plain function") from None
    required = [
        parameter
        for parameter in parameters
        if parameter.kind is not parameter.VAR_KEYWORD
        and (
            parameter.default is parameter.empty
            or (parameter.name == "context" and parameter.kind is not parameter.KEYWORD_ONLY)
        )
    ]
    fits = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    if len(required) not in (1, 2) or any(parameter.kind not in fits for parameter in required):
        names = ", ".join(str(parameter) for parameter in parameters)
        raise ConfigurationError(f"{who} takes ({names}); it must take (event) or (event, context)")
    return required


def _refuse_other_returns(function: ConsumerFunction, who: str) -> None:
    annotation = inspect.signature(function).return_annotation
    if isinstance(annotation, str):
        try:
            annotation = _resolved(function, annotation, who)
        except ConfigurationError:
            return  # the annotation may name a type that is imported only under TYPE_CHECKING
    if annotation is not inspect.Signature.empty and not _is_decision(annotation):
        raise ConfigurationError(
            f"{who} is annotated to return {annotation!r}; a consumer returns one action, several, or None"
        )


def _is_decision(annotation: Any) -> bool:
    """Whether a consumer may have this return annotation.

    Accepted are an action, an iterable of actions, `None`, an awaitable of one of these, and a union of these. In place
    of an action, a type without a class that could be checked, such as a type variable, is accepted, too.
    """
    annotation = _unwrapped(annotation)
    origin, members = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin in (typing.Union, UnionType):
        return all(map(_is_decision, members))
    if origin in (None, NoneType):
        return True
    if isinstance(origin, type) and issubclass(origin, Awaitable):
        return all(map(_is_decision, members[-1:]))
    if isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, str | bytes | Mapping):
        return all(map(_is_action, members if issubclass(origin, tuple) else members[:1]))
    return _is_action(annotation)


def _is_action(annotation: Any) -> bool:
    annotation = _unwrapped(annotation)
    origin = typing.get_origin(annotation) or annotation
    if origin in (typing.Union, UnionType):
        return all(map(_is_action, typing.get_args(annotation)))
    return origin is Any or not isinstance(origin, type) or issubclass(origin, typing.get_args(Action | Following))


def _unwrapped(annotation: Any) -> Any:
    """Remove `Annotated[…]` from an annotation, and resolve aliases that a `type` statement defines."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = annotation.__origin__
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation


def _model(function: ConsumerFunction, parameter: inspect.Parameter, who: str) -> Any:
    """Return the model in the annotation `Event[SomeModel]`; `None` if the function takes the detail as a mapping.

    Raises:
        ConfigurationError: The annotation cannot be resolved, or is none of `Event`, `Event[…]`, `Any` and `object`.
    """
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return None
    if isinstance(annotation, str):
        annotation = _resolved(function, annotation, who)
    if annotation in (Event, Any, object):
        return None
    if typing.get_origin(annotation) is not Event:
        raise ConfigurationError(
            f"{who}: its first parameter is annotated {annotation!r}; it must be Event or Event[SomeModel]"
        )
    (model,) = typing.get_args(annotation)
    if model in (Any, dict, Mapping) or typing.get_origin(model) in (dict, Mapping):
        return None
    return model


def _validator(model: Any, who: str) -> Callable[[Mapping[str, Any]], Any]:
    try:
        adapter = TypeAdapter(model)
    except PydanticUserError as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(f"{who}: pydantic cannot validate Event[{model!r}]: {reason}") from None
    # An adapter of a model with `defer_build` would build the model's schema once more, at the first event.
    is_model = isinstance(model, type) and issubclass(model, BaseModel)
    return model.model_validate if is_model else adapter.validate_python


def _resolved(function: ConsumerFunction, annotation: str, who: str) -> Any:
    # Only this annotation is resolved, because the others may name types that are imported only under TYPE_CHECKING.
    wrapped = inspect.unwrap(getattr(function, "func", function))
    names = getattr(wrapped, "__globals__", None) or getattr(type(wrapped).__call__, "__globals__", {})
    holder = SimpleNamespace(__annotations__={"event": annotation})
    try:
        return typing.get_type_hints(holder, globalns=names)["event"]
    except NameError as error:
        raise ConfigurationError(
            f"{who}: its annotation {shown(annotation)} needs {error.name!r} at run time; "
            "define or import it at the module's top level, outside TYPE_CHECKING"
        ) from None
    except Exception as error:
        raise ConfigurationError(
            f"{who}: its annotation {shown(annotation)} cannot be read ({type(error).__name__}); write Event or "
            "Event[SomeModel]"
        ) from None
