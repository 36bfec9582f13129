"""The public interface of the registry."""

import functools
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from orchestrator import ConfigurationError, Context, Ended, EndingEvent, Event, Registry, StartJob
from orchestrator.registry import FunctionT

if TYPE_CHECKING:
    from decimal import Decimal as Absent

    from orchestrator import Context as AbsentContext
    from orchestrator import StartJob as AbsentAction


class Suspension(BaseModel):
    id: str
    days: int = 1


class SuspensionDict(TypedDict):
    id: str


def names(registry: Registry, event_type: str) -> list[str]:
    return [consumer.name for consumer in registry.consumers_of(event_type)]


def register(function: FunctionT, **options: Any) -> FunctionT:
    return Registry().consumer("A", **options)(function)


def test_the_decorator_returns_the_function_unchanged() -> None:
    def scale_down(event: Event) -> StartJob:
        return StartJob(name="scale-down")

    assert register(scale_down) is scale_down


def test_consumers_are_found_by_type_in_the_order_of_registration() -> None:
    registry = Registry()
    for name in ("first", "second", "third"):
        registry.consumer("A" if name != "second" else "B", name=name)(lambda event: None)

    assert names(registry, "A") == ["first", "third"]
    assert names(registry, "B") == ["second"]
    assert names(registry, "C") == []


def test_a_consumer_can_take_several_types() -> None:
    registry = Registry()
    registry.consumer("A", "B", "A", name="both")(lambda event: None)

    assert names(registry, "A") == names(registry, "B") == ["both"]
    assert [consumer.types for consumer in registry] == [("A", "B")]


def test_a_registry_can_be_inspected() -> None:
    registry = Registry()
    registry.consumer("A", "B", name="one")(lambda event: None)
    registry.consumer("A", name="two")(lambda event: None)

    assert "one" in registry
    assert "three" not in registry
    assert len(registry) == 2
    assert [consumer.name for consumer in registry] == ["one", "two"]
    assert repr(registry) == "Registry(A -> one, two; B -> one)"
    assert repr(Registry()) == "Registry()"


def test_a_name_that_is_taken_is_refused() -> None:
    registry = Registry()
    registry.consumer("A", name="one")(lambda event: None)

    with pytest.raises(ConfigurationError, match="consumer 'one' is registered already"):
        registry.consumer("B", name="one")(lambda event: None)
    assert names(registry, "B") == []


def test_include_adds_all_consumers_and_leaves_the_other_registry_unchanged() -> None:
    built_in, registry = Registry(), Registry()
    built_in.consumer("A", name="one")(lambda event: None)

    registry.include(built_in)
    registry.remove("one")

    assert "one" in built_in
    assert names(registry, "A") == []


def test_include_of_a_taken_name_includes_nothing() -> None:
    built_in, registry = Registry(), Registry()
    for name in ("one", "two"):
        built_in.consumer("A", name=name)(lambda event: None)
    registry.consumer("A", name="two")(lambda event: None)

    with pytest.raises(ConfigurationError, match="'two'"):
        registry.include(built_in)
    assert names(registry, "A") == ["two"]


@pytest.mark.parametrize("replace", [False, True])
def test_include_of_two_consumers_with_one_name_includes_nothing(replace: bool) -> None:
    own, other, registry = Registry(), Registry(), Registry()
    for one in (own, other):
        one.consumer("A", name="one")(lambda event: None)
    registry.consumer("B", name="two")(lambda event: None)

    with pytest.raises(ConfigurationError, match="two included consumers are named 'one'"):
        registry.include([*own, *other], replace=replace)
    assert list(registry) == list(registry.consumers_of("B"))


def test_include_can_replace_the_consumers_of_the_same_names() -> None:
    own, registry = Registry(), Registry()
    for name in ("one", "two"):
        registry.consumer("A", name=name)(lambda event: None)
    own.consumer("B", name="one")(lambda event: None)
    own.consumer("B", name="three")(lambda event: None)

    registry.include(own, replace=True)

    assert names(registry, "A") == ["two"]
    assert names(registry, "B") == ["one", "three"]


def test_the_error_for_a_taken_name_mentions_replace() -> None:
    registry = Registry()
    registry.consumer("A", name="one")(lambda event: None)

    with pytest.raises(ConfigurationError, match="include\\(\\) a registry with replace=True"):
        registry.include(registry)


def test_a_registry_that_replaces_its_own_consumers_stays_as_it_is() -> None:
    registry = Registry()
    registry.consumer("A", name="one")(lambda event: None)

    registry.include(registry, replace=True)

    assert names(registry, "A") == ["one"]


def test_remove_of_an_unknown_name_lists_the_known_ones() -> None:
    registry = Registry()
    registry.consumer("A", name="one")(lambda event: None)

    with pytest.raises(
        ConfigurationError, match=r"consumer 'two' is not registered; correct the name \(registered: one\)"
    ):
        registry.remove("two")


def test_a_removed_name_can_be_used_again() -> None:
    registry = Registry()
    registry.consumer("A", name="one")(lambda event: None)
    registry.remove("one")

    registry.consumer("A", name="one")(lambda event: None)

    assert names(registry, "A") == ["one"]


@pytest.mark.parametrize(
    "function",
    [
        lambda: None,
        lambda a, b, c: None,
        lambda *events: None,
        lambda event, *, key: None,
        7,
        dict,
    ],
)
def test_a_callable_with_a_wrong_signature_is_refused(function: Any) -> None:
    with pytest.raises(ConfigurationError, match="consumer 'x'"):
        register(function, name="x")


@pytest.mark.parametrize(
    "function",
    [
        lambda event: None,
        lambda event, context: None,
        lambda event, limit=3: None,
        lambda event, /, *, limit=3, **more: None,
        functools.partial(lambda limit, event: None, 3),
    ],
)
def test_a_callable_with_a_right_signature_is_accepted(function: Any) -> None:
    assert register(function, name="x") is function


def test_a_function_without_a_name_needs_one() -> None:
    with pytest.raises(ConfigurationError, match="name="):
        register(lambda event: None)


@pytest.mark.parametrize("types", [(), ("",), (" ",), (7,), (lambda event: None,)])
def test_event_types_must_be_named(types: Any) -> None:
    with pytest.raises(ConfigurationError, match="has no event types; name them"):
        Registry().consumer(*types, name="x")(lambda event: None)


def test_a_condition_must_be_callable() -> None:
    with pytest.raises(ConfigurationError, match="when="):
        register(lambda event: None, name="x", when="PREMIUM")


@pytest.mark.parametrize("annotation", [int, dict, Suspension, "int", list[Event], Context])
def test_a_first_parameter_that_is_not_an_event_is_refused(annotation: Any) -> None:
    def consumer(event: Any) -> None: ...

    consumer.__annotations__["event"] = annotation
    with pytest.raises(ConfigurationError, match="must be Event or Event"):
        register(consumer)


def test_an_annotation_that_cannot_be_resolved_is_named() -> None:
    def consumer(event: "Event[Absent]") -> None: ...

    with pytest.raises(ConfigurationError, match="needs 'Absent' at run time"):
        register(consumer)


def test_an_annotation_that_pydantic_cannot_validate_is_refused() -> None:
    class Opaque: ...

    def consumer(event: Any) -> None: ...

    consumer.__annotations__["event"] = Event[Opaque]
    with pytest.raises(ConfigurationError, match="pydantic cannot validate Event"):
        register(consumer)


def test_other_annotations_may_be_for_type_checking_only() -> None:
    def consumer(event: "Event[Suspension]", context: "AbsentContext") -> "AbsentAction | None":
        return None

    assert register(consumer) is consumer


def accepted(annotation: Any, detail: Mapping[str, Any]) -> Any:
    def consumer(event: Any) -> None: ...

    consumer.__annotations__["event"] = annotation
    registry = Registry()
    registry.consumer("A")(consumer)
    (found,) = registry.consumers_of("A")
    event = found.accept(make_event(detail))
    assert event is not None
    return event.detail


def make_event(detail: Mapping[str, Any]) -> Event:
    from datetime import UTC, datetime

    return Event(id="1", type="A", source="s", time=datetime.now(UTC), account="1", region="eu-west-1", detail=detail)


@pytest.mark.parametrize("annotation", [Event, Event[Any], Event[dict[str, Any]], Event[Mapping[str, Any]], Any])
def test_a_plain_event_keeps_the_detail_as_it_came(annotation: Any) -> None:
    detail = {"id": "t", "days": "3"}

    assert accepted(annotation, detail) is detail


@pytest.mark.parametrize("annotation", [Event[Suspension], "Event[Suspension]"])
def test_a_model_in_the_annotation_validates_the_detail(annotation: Any) -> None:
    assert accepted(annotation, {"id": "t", "days": "3"}) == Suspension(id="t", days=3)


def test_a_typed_dict_in_the_annotation_validates_the_detail() -> None:
    assert accepted(Event[SuspensionDict], {"id": "t"}) == {"id": "t"}


def test_a_method_and_a_callable_object_can_be_consumers() -> None:
    class Scaler:
        def method(self, event: Event[Suspension]) -> None: ...

        def __call__(self, event: "Event[Suspension]") -> None: ...

    registry = Registry()
    registry.consumer("A")(Scaler().method)
    registry.consumer("A", name="object")(Scaler())

    assert names(registry, "A") == ["method", "object"]
    assert all(consumer.model is not None for consumer in registry)


async def later(ended: Ended) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ("X_FAILURE", "ending= must be an EndingEvent"),
        (EndingEvent(success=" "), "success of ending= must be a text that is not empty"),
        (EndingEvent(failure=7), "failure of ending= must be a text that is not empty"),  # type: ignore[arg-type]  # wrong
        (EndingEvent(source=""), "source of ending= must be a text that is not empty"),
        (EndingEvent(success="X", failure="X"), "success and failure of ending= must be two types of events"),
        (EndingEvent(detail=later), "detail of ending= must be a plain function"),  # type: ignore[arg-type]  # wrong
        (EndingEvent(keeps="id"), "keeps of ending= must be a list of names"),
    ],
)
def test_a_malformed_declaration_of_an_ending_is_refused(ending: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^consumer 'start': {reason}"):
        Registry().consumer("X", name="start", ending=ending)(lambda event: None)


def test_a_removed_consumer_declares_no_ending_any_more() -> None:
    registry = Registry()
    ending = EndingEvent(success="X done", failure="X failed")
    registry.consumer("X", name="start", ending=ending)(lambda event: None)
    registry.consumer("Y", name="other", ending=EndingEvent(success="X done"))(lambda event: None)
    assert (registry.ending_of("start"), registry.endings_of_type("X failed")) == (ending, (ending,))

    registry.remove("start")

    assert (registry.ending_of("start"), registry.endings_of_type("X failed")) == (None, ())
    assert registry.endings_of_type("X done") == (EndingEvent(success="X done"),)


def test_a_decorator_without_event_types_is_refused() -> None:
    registry = Registry()

    with pytest.raises(ConfigurationError, match="a consumer has no event types; name them"):
        registry.consumer(lambda event: None)  # type: ignore[arg-type]  # the same call as `@registry.consumer` without parentheses
    with pytest.raises(ConfigurationError, match="a consumer has no event types; name them"):
        registry.consumer()


def test_a_context_with_a_default_is_passed() -> None:
    def f(event: Event, context: Context | None = None) -> None: ...

    registry = Registry()
    registry.consumer("X")(f)

    assert next(iter(registry)).takes_context


async def never(event: Event) -> bool:
    return False


@pytest.mark.parametrize("when", [never, lambda: True, lambda event, other: True, 7])
def test_a_condition_with_a_wrong_signature_is_refused(when: Any) -> None:
    with pytest.raises(ConfigurationError, match="consumer 'a': when= must be a plain function that takes the event"):
        Registry().consumer("X", name="a", when=when)(lambda event: None)


def test_a_member_of_a_text_enumeration_counts_as_its_value() -> None:
    class EventName(str, Enum):  # noqa: UP042 (whose str() is not its value, unlike that of a StrEnum)
        UPGRADED = "TENANT_UPGRADED"

    registry = Registry()
    registry.consumer(EventName.UPGRADED, name="a")(lambda event: None)

    assert len(registry.consumers_of("TENANT_UPGRADED")) == 1


@pytest.mark.parametrize("annotation", ["Event[", "int[str]"])
def test_an_annotation_that_cannot_be_read_is_named(annotation: str) -> None:
    def f(event: Any) -> None: ...

    f.__annotations__["event"] = annotation

    with pytest.raises(ConfigurationError, match=r"consumer 'f': its annotation .* cannot be read"):
        Registry().consumer("X")(f)
