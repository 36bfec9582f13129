"""The decorator refuses the same consumers at registration as mypy does, and accepts all others.

mypy checks this file with `warn_unused_ignores`, so it refuses each line with a `type: ignore`.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import BaseModel

from orchestrator import Action, ConfigurationError, Context, Decision, Event, PublishEvent, Registry, StartJob

if TYPE_CHECKING:
    from orchestrator import SaveTenant as Absent


class Suspension(BaseModel):
    id: str


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_a_consumer_of_mappings_takes_an_event_with_any_mapping() -> None:
    def scale_down(event: Event) -> StartJob:
        return StartJob(name=event.detail["tier"])

    event = Event(type="A", detail={"tier": "BASIC"})  # an Event[dict[str, str]]

    assert scale_down(event) == StartJob(name="BASIC")


def test_a_consumer_that_returns_text_is_refused(registry: Registry) -> None:
    def text(event: Event) -> str:
        return "TENANT_SUSPENDED"

    with pytest.raises(ConfigurationError, match="is annotated to return <class 'str'>; a consumer returns one action"):
        registry.consumer("A")(text)  # type: ignore[type-var]


def test_a_consumer_that_may_return_something_else_is_refused(registry: Registry) -> None:
    def either(event: Event) -> StartJob | bool:
        return False

    with pytest.raises(ConfigurationError, match="is annotated to return"):
        registry.consumer("A")(either)  # type: ignore[type-var]


def test_a_consumer_that_returns_a_list_of_something_else_is_refused(registry: Registry) -> None:
    def names(event: Event) -> list[str]:
        return ["scale-down"]

    with pytest.raises(ConfigurationError, match=r"is annotated to return list\[str\]"):
        registry.consumer("A")(names)  # type: ignore[type-var]


def test_a_consumer_that_returns_a_list_with_none_is_refused(registry: Registry) -> None:
    def gaps(event: Event) -> list[StartJob | None]:
        return [None]

    with pytest.raises(ConfigurationError, match="is annotated to return"):
        registry.consumer("A")(gaps)  # type: ignore[type-var]


def test_a_consumer_that_returns_a_mapping_is_refused(registry: Registry) -> None:
    def mapping(event: Event) -> dict[str, Any]:
        return {"statusCode": 200}

    with pytest.raises(ConfigurationError, match="is annotated to return"):
        registry.consumer("A")(mapping)  # type: ignore[type-var]


def test_an_async_consumer_that_returns_something_else_is_refused(registry: Registry) -> None:
    async def later(event: Event) -> int:
        return 1

    with pytest.raises(ConfigurationError, match="is annotated to return"):
        registry.consumer("A")(later)  # type: ignore[type-var]


def test_an_async_generator_is_refused(registry: Registry) -> None:
    async def stream(event: Event) -> AsyncIterator[StartJob]:
        yield StartJob(name="scale-down")

    with pytest.raises(ConfigurationError, match="is annotated to return"):
        registry.consumer("A")(stream)  # type: ignore[type-var]


def test_a_consumer_with_three_parameters_is_refused(registry: Registry) -> None:
    def three(event: Event, context: Context, more: str) -> None: ...

    with pytest.raises(ConfigurationError, match=r"it must take \(event\) or \(event, context\)"):
        registry.consumer("A")(three)  # type: ignore[type-var]


def test_a_consumer_without_parameters_is_refused(registry: Registry) -> None:
    def none() -> None: ...

    with pytest.raises(ConfigurationError, match=r"it must take \(event\) or \(event, context\)"):
        registry.consumer("A")(none)  # type: ignore[type-var]


def test_a_consumer_with_a_valid_return_type_is_accepted(registry: Registry) -> None:
    @registry.consumer("A")
    def one(event: Event[Suspension]) -> StartJob:
        return StartJob(name=event.detail.id)

    @registry.consumer("A")
    def some(event: Event, context: Context) -> StartJob | PublishEvent | None:
        return None

    @registry.consumer("A")
    def any_action(event: Event) -> Action:
        return StartJob(name="x")

    @registry.consumer("A")
    def many(event: Event) -> list[StartJob]:
        return []

    @registry.consumer("A")
    def more(event: Event) -> Iterable[Action]:
        return ()

    @registry.consumer("A")
    def pair(event: Event) -> tuple[StartJob, PublishEvent]:
        return StartJob(name="x"), PublishEvent(type="B", detail={})

    @registry.consumer("A")
    def in_turn(event: Event) -> Iterator[StartJob]:
        yield StartJob(name="x")

    @registry.consumer("A")
    def decided(event: Event) -> Decision:
        return None

    @registry.consumer("A")
    async def later(event: Event, context: Context) -> StartJob:
        return StartJob(name="x")

    @registry.consumer("A")
    def unread(event: Event) -> "Absent | None":
        return None

    @registry.consumer("A")
    def untyped(event):  # type: ignore[no-untyped-def]  # as in a project without types
        return None

    @registry.consumer("A")
    def of_any_length(event: Event) -> tuple[StartJob, ...]:
        return ()

    @registry.consumer("A")
    def anything(event: Event) -> Any:
        return None

    @registry.consumer("A")
    def list_of_anything(event: Event) -> list[Any]:
        return []

    @registry.consumer("A")
    def annotated(event: Event) -> Annotated[StartJob, "documented"]:
        return StartJob(name="x")

    assert len(registry) == 15
