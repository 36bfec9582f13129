"""Publishing events: the entries sent to the bus, and what happens to entries that it does not accept."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator import (
    ConfigurationError,
    Event,
    InvalidEvent,
    OrchestratorError,
    PublishEvent,
    Registry,
    Unavailable,
    create_handler,
)
from orchestrator.event import Start
from orchestrator.ledger.ledger import Claim
from orchestrator.performers.publish_event import EventBus
from tests.support.aws import Requests
from tests.support.events import invoke, sample

SECRET = "do-not-tell"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
ACTION = PublishEvent(type="TENANT_READY", detail={"secret": SECRET})


class Bus:
    """Replaces EventBridge's client; it answers 200 and refuses entries with the given error codes."""

    def __init__(self, *codes: str | None) -> None:
        self.codes = list(codes)
        self.entries: list[dict[str, Any]] = []

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 (the SDK's name)
        self.entries += Entries
        code = self.codes.pop(0)
        result = {"EventId": "e1"} if code is None else {"ErrorCode": code, "ErrorMessage": SECRET}
        return {"FailedEntryCount": 0 if code is None else 1, "Entries": [result]}

    def publish(self) -> str:
        client: Any = self
        bus = EventBus("tenants", lambda: client, pause=lambda _: None)
        prepared = bus.prepare_as(ACTION, "run-1", start=Start(event_id="e", at=NOON), time=NOON)
        return prepared.perform(Claim())["id"]


def test_an_event_is_published_on_the_functions_bus(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_BUS_NAME", "default")
    registry = Registry()

    @registry.consumer("TENANT_PROVISIONING")
    def publish(event: Event) -> PublishEvent:
        return PublishEvent(type="TENANT_SEEN", source="my.app", detail={"ü": [1.0, None, True]})

    handler, event = create_handler(registry), sample("tenant-provisioning")
    answers = [invoke(handler, event)["consumers"][0]["outcomes"][0] for _ in range(2)]

    (request,) = aws.of("PutEvents")
    (entry,) = request["Entries"]
    run, start = entry.pop("Resources")
    assert run.startswith("urn:orchestrator:run:")
    assert start == f"urn:orchestrator:start:{event['time'][:19]}.000Z/{event['id']}"
    assert entry == {
        "EventBusName": "default",
        "Source": "my.app",
        "DetailType": "TENANT_SEEN",
        "Detail": '{"ü":[1,null,true]}',
        "Time": datetime.fromisoformat(event["time"]).timestamp(),
    }
    assert [answer["status"] for answer in answers] == ["published", "already published"]
    assert (answers[0]["name"], answers[0]["id"]) == ("TENANT_SEEN", answers[1]["id"])


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalFailure", "InternalException"])
def test_an_entry_that_the_bus_did_not_accept_is_sent_again(code: str) -> None:
    bus = Bus(code, code, None)

    assert bus.publish() == "e1"
    assert len(bus.entries) == 3
    assert bus.entries[0] == bus.entries[2]


def test_a_bus_that_never_accepts_the_entry_is_unavailable_without_doubt() -> None:
    bus = Bus(*["ThrottlingException"] * 3)

    with pytest.raises(Unavailable, match="EventBridge answered ThrottlingException 3 times") as caught:
        bus.publish()
    assert not caught.value.ambiguous
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "error_type"),
    [
        ("MalformedDetail", InvalidEvent),
        ("InvalidArgument", InvalidEvent),
        ("NotAuthorizedForSourceException", ConfigurationError),
        ("AccessDeniedException", ConfigurationError),
    ],
)
def test_an_entry_that_the_bus_refuses_is_not_sent_again(code: str, error_type: type[OrchestratorError]) -> None:
    bus = Bus(code)

    with pytest.raises(
        error_type, match=f"event 'TENANT_READY' was not published on bus tenants: EventBridge answered {code}"
    ):
        bus.publish()
    assert len(bus.entries) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), "\ud800"])
def test_a_detail_that_is_not_json_is_refused_before_anything_is_done(aws: Requests, value: Any) -> None:
    registry = Registry()
    registry.consumer("TENANT_PROVISIONING", name="a")(
        lambda event: [PublishEvent(type="FIRST", detail={}), PublishEvent(type="BAD", detail={"a": value})]
    )

    with pytest.raises(InvalidEvent, match="event 'BAD' cannot be published: its detail is not JSON"):
        invoke(create_handler(registry), sample("tenant-provisioning"))
    assert aws == []


def test_the_detail_is_left_out_of_the_repr() -> None:
    bus = Bus(None)
    bus.publish()

    assert SECRET not in repr(ACTION)
    assert json.loads(bus.entries[0]["Detail"]) == {"secret": SECRET}
