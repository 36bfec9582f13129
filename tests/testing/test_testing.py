"""The helpers of `orchestrator.testing`."""

import doctest

import pytest

from orchestrator import (
    ConfigurationError,
    ConsumerFailed,
    Context,
    EndingEvent,
    Event,
    EventType,
    FromAnswer,
    InvalidEvent,
    PublishEvent,
    Registry,
    SendCallback,
    StartJob,
    testing,
)
from orchestrator.action import SweepRuns
from orchestrator.details import DETAIL_MODELS, BuildDetail, ProvisioningDetail
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.testing import RecordingDispatcher, make_context, make_detail, make_event


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.mark.parametrize("event_type", EventType)
def test_each_event_type_has_a_valid_event(event_type: EventType) -> None:
    event = make_event(event_type)

    assert event.type == event_type
    assert isinstance(event.detail, DETAIL_MODELS[event_type])


def test_a_detail_can_be_changed() -> None:
    detail = make_detail("TENANT_PROVISIONING", planConfig={"tier": "BASIC"}, secret=...)

    event = make_event("TENANT_PROVISIONING", detail, id="my-id")

    assert (event.id, event.detail.plan_config.tier, event.detail.secret) == ("my-id", "BASIC", None)


def test_an_event_of_another_type_has_the_given_detail() -> None:
    assert make_event("TENANT_SUSPENDED", {"tenantId": "t1"}).detail == {"tenantId": "t1"}


def test_the_consumers_run_and_their_actions_are_recorded(registry: Registry) -> None:
    @registry.consumer("A", when=lambda event: event.detail["on"])
    def start(event: Event) -> StartJob:
        return StartJob(name="x")

    @registry.consumer("A")
    async def publish(event: Event) -> list[PublishEvent]:
        return [PublishEvent(type="B", detail={}), PublishEvent(type="C", detail={})]

    dispatcher = RecordingDispatcher(registry)

    recorded = dispatcher.dispatch(make_event("A", {"on": False}))

    assert [(entry.consumer, entry.action) for entry in recorded] == [
        ("publish", PublishEvent(type="B", detail={})),
        ("publish", PublishEvent(type="C", detail={})),
    ]
    assert len(dispatcher.dispatch(make_event("A", {"on": True}))) == 3
    assert len(dispatcher.recorded) == 5


def test_a_consumer_gets_the_model_of_its_annotation_and_the_context(registry: Registry) -> None:
    @registry.consumer("TENANT_PROVISIONING_SUCCESS")
    def scale(event: Event[BuildDetail], context: Context) -> StartJob:
        record = context.tenants.get(event.detail.tenant.id) or {}
        return StartJob(name=record["job"], variables=context.tiers.get("PREMIUM"))

    context = make_context(tiers={"PREMIUM": {"jobName": "j"}}, tenants={"tenant-1": {"job": "scale-up"}})

    (recorded,) = RecordingDispatcher(registry, context).dispatch(make_event("TENANT_PROVISIONING_SUCCESS"))

    assert recorded.action == StartJob(name="scale-up", variables={"tier": "PREMIUM", "jobName": "j"})


def test_a_failure_is_raised_and_its_event_is_recorded(registry: Registry) -> None:
    @registry.consumer("TENANT_PROVISIONING", ending=EndingEvent())
    def refuse(event: Event[ProvisioningDetail]) -> StartJob:
        raise ConfigurationError("tier is not known; add it")

    dispatcher = RecordingDispatcher(registry)

    with pytest.raises(ConfigurationError, match="tier is not known"):
        dispatcher.dispatch(make_event("TENANT_PROVISIONING"))
    (recorded,) = dispatcher.recorded
    assert isinstance(recorded.action, PublishEvent)
    assert recorded.action.type == "TENANT_PROVISIONING_FAILURE"
    assert recorded.action.detail["reason"] == "tier is not known; add it"


def test_a_foreign_error_of_a_consumer_is_wrapped_as_in_the_function(registry: Registry) -> None:
    @registry.consumer("A")
    def broken(event: Event) -> StartJob:
        raise KeyError("x")

    with pytest.raises(ConsumerFailed, match=r"^consumer 'broken' raised KeyError in broken, test_testing\.py line"):
        RecordingDispatcher(registry).dispatch(make_event("A", {}))


def test_an_invalid_detail_is_refused_as_in_the_function() -> None:
    event = Event(type="TENANT_PROVISIONING", detail={"tenant": {"id": "t1"}})

    with pytest.raises(InvalidEvent, match=r"detail\.planConfig is missing"):
        RecordingDispatcher(lifecycle).dispatch(event)


def test_a_value_of_an_answer_stays_a_placeholder(registry: Registry) -> None:
    first = SendCallback(url="https://a.example", body={}, secret="s", keeps=["id"])
    second = SendCallback(url="https://b.example", body={"user": FromAnswer("id")}, secret="s")
    registry.consumer("A", name="ask")(lambda event: [first, second])

    recorded = RecordingDispatcher(registry).dispatch(make_event("A", {}))

    assert [one.action for one in recorded] == [first, second]


def test_the_sweep_is_recorded() -> None:
    event: Event = Event(type="Scheduled Event", source="aws.scheduler", detail={})

    (recorded,) = RecordingDispatcher(lifecycle).dispatch(event)

    assert recorded.action == SweepRuns()


def test_the_example_works() -> None:
    assert doctest.testmod(testing).failed == 0
