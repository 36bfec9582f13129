"""Events of an EventBridge custom event bus: arrays, metadata, and what becomes of failures."""

import json
from typing import Any

import pytest

from orchestrator import (
    Application,
    Event,
    InvalidEvent,
    JobRejected,
    Registry,
    StartJob,
    StaticTierDetails,
    create_handler,
)
from orchestrator.lifecycle import registry as lifecycle
from tests.support.aws import Requests, published
from tests.support.builder import Recorder
from tests.support.events import EVENTS, failed_invocation, invoke, json_lines, sample, undelivered, with_metadata
from tests.support.messages import deliver, record


def suspension(number: int, **changes: Any) -> dict[str, Any]:
    return sample(
        "tenant-provisioning",
        **{"id": f"e{number}", "detail-type": "X", "detail": {"tenantId": f"t{number}"}, **changes},
    )


@pytest.fixture
def seen() -> list[Event]:
    return []


@pytest.fixture
def registry(seen: list[Event]) -> Registry:
    registry = Registry()

    @registry.consumer("X")
    def start(event: Event) -> StartJob:
        seen.append(event)
        if event.detail.get("fails"):
            raise JobRejected(f"job of {event.id} is gone")
        return StartJob(name="job", variables={"tenant": event.detail["tenantId"]})

    return registry


@pytest.fixture
def builder() -> Recorder:
    return Recorder()


@pytest.fixture
def own(registry: Registry, builder: Recorder) -> Application:
    return create_handler(registry, builders={"CODE_BUILD": builder}, tiers=StaticTierDetails())


FAILING = {"tenantId": "t2", "fails": True}


def test_every_event_of_an_array_is_handled_in_order(own: Application, seen: list[Event]) -> None:
    answer = invoke(own, [suspension(1), suspension(2), suspension(3)])

    assert [event.id for event in seen] == ["e1", "e2", "e3"]
    assert [one["eventId"] for one in answer["events"]] == ["e1", "e2", "e3"]
    assert [one["consumers"][0]["outcomes"][0]["status"] for one in answer["events"]] == ["started"] * 3


def test_an_array_with_one_event_is_answered_as_an_array(own: Application) -> None:
    assert [one["eventId"] for one in invoke(own, [suspension(1)])["events"]] == ["e1"]


def test_the_failure_of_one_event_is_raised_after_the_others_were_handled(own: Application, seen: list[Event]) -> None:
    with pytest.raises(JobRejected, match="job of e2 is gone"):
        invoke(own, [suspension(1), suspension(2, detail=FAILING), suspension(3)])

    assert [event.id for event in seen] == ["e1", "e2", "e3"]


def test_the_text_of_a_group_names_ten_failures_and_counts_the_others(own: Application) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        invoke(own, [{"detail": {}}] * 13)

    assert len(caught.value.exceptions) == 13
    assert "event 10 of 13" in str(caught.value)
    assert "event 11 of 13" not in str(caught.value)
    assert "; and 3 more" in str(caught.value)


def test_several_failures_are_raised_as_a_group_that_has_all_texts(own: Application) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        invoke(own, [{"detail": {}}, suspension(1), suspension(2, detail=FAILING)])

    assert "2 of 3 events failed: InvalidEvent: event 1 of 3: " in str(caught.value)
    assert "JobRejected: job of e2 is gone" in str(caught.value)
    assert [type(error) for error in caught.value.exceptions] == [InvalidEvent, JobRejected]


def test_an_array_that_comes_again_starts_only_jobs_that_were_not_started(own: Application, builder: Recorder) -> None:
    with pytest.raises(InvalidEvent):
        invoke(own, [suspension(1), "no event"])
    answer = invoke(own, [suspension(1), suspension(2)])

    outcomes = [one["consumers"][0]["outcomes"][0]["status"] for one in answer["events"]]
    assert outcomes == ["already started", "started"]
    assert [job.variables["tenant"] for job in builder.jobs] == ["t1", "t2"]


@pytest.mark.parametrize(
    "member", [None, [], "text", 7, {}, {"Data": {}}, {"Data": [], "SystemMetadata": {}}, {"SystemMetadata": {}}]
)
def test_a_member_that_is_no_event_is_named_and_the_others_are_handled(
    own: Application, builder: Recorder, capsys: pytest.CaptureFixture[str], member: Any
) -> None:
    with pytest.raises(InvalidEvent, match=r"^event 2 of 3: "):
        invoke(own, [suspension(1), member, suspension(3)])

    assert len(builder.jobs) == 2
    assert [line["error"] for line in json_lines(capsys.readouterr().out) if line.get("level") == "ERROR"] == [
        "InvalidEvent"
    ]


@pytest.mark.parametrize("payload", [lambda event: event, lambda event: [event]], ids=["alone", "array"])
def test_the_id_of_the_metadata_is_the_events_identity(own: Application, seen: list[Event], payload: Any) -> None:
    invoke(own, payload(with_metadata(suspension(1), **{"aws:EventId": "of the bus"})))

    (event,) = seen
    assert (event.id, event.type, event.detail) == ("of the bus", "X", {"tenantId": "t1"})
    assert (event.replay_name, event.redrive) == (None, None)


def test_an_event_without_an_id_in_its_metadata_keeps_its_own(own: Application, seen: list[Event]) -> None:
    invoke(own, [{"Data": suspension(1), "SystemMetadata": {"aws:DeliveryType": "LIVE"}}])

    assert seen[0].id == "e1"


@pytest.mark.parametrize("event_id", [7, None, "", "a\nb"])
def test_an_id_that_is_no_text_is_refused(own: Application, event_id: Any) -> None:
    with pytest.raises(InvalidEvent, match="event: id "):
        invoke(own, with_metadata(suspension(1), **{"aws:EventId": event_id}))


def test_an_event_that_was_delivered_live_and_is_replayed_starts_no_second_job(
    own: Application, seen: list[Event], builder: Recorder
) -> None:
    invoke(own, [with_metadata(suspension(1))])
    invoke(own, [with_metadata(suspension(1), **{"aws:DeliveryType": "REPLAY"})])

    assert seen[1].replay_name == "custom event bus"
    assert seen[1].redrive is not None
    assert len(builder.jobs) == 1


def test_each_replay_has_a_redrive_of_its_own(own: Application, seen: list[Event]) -> None:
    for _ in range(2):
        invoke(own, [with_metadata(suspension(1), **{"aws:DeliveryType": "REPLAY"})])

    assert seen[0].redrive != seen[1].redrive


@pytest.mark.parametrize("enclosed", [lambda event: [event], lambda event: [with_metadata(event)]])
def test_an_array_in_the_record_of_its_failure_is_handled(
    own: Application, seen: list[Event], builder: Recorder, enclosed: Any
) -> None:
    payload = [*enclosed(suspension(1)), *enclosed(suspension(2))]

    answer = invoke(own, failed_invocation(failed_invocation(payload)))

    assert [one["eventId"] for one in answer["events"]] == ["e1", "e2"]
    assert all(str(event.redrive).startswith("record ") for event in seen)
    assert len(builder.jobs) == 2


def test_the_record_of_the_bus_says_what_to_do(own: Application) -> None:
    with pytest.raises(InvalidEvent, match="has only the ids of its events; have the bus send them again"):
        invoke(own, undelivered(suspension(1)))


@pytest.mark.parametrize("body", [with_metadata(suspension(1)), [suspension(1)], failed_invocation([suspension(1)])])
def test_a_queue_may_hold_every_form(own: Application, seen: list[Event], body: Any) -> None:
    assert deliver(own, record(body)) == []

    assert [event.id for event in seen] == ["e1"]
    assert seen[0].delivery is not None


def test_a_message_with_an_event_that_fails_comes_again_whole(own: Application, builder: Recorder) -> None:
    failed = failed_invocation([suspension(1), suspension(2, detail=FAILING)])

    assert deliver(own, record(failed), record(suspension(3), 2)) == ["message-1"]
    assert deliver(own, record(failed)) == ["message-1"]
    assert len(builder.jobs) == 2


def test_a_messages_deliveries_are_one_redrive(own: Application, seen: list[Event]) -> None:
    failed = record(failed_invocation([suspension(2, detail=FAILING)]))

    deliver(own, failed)
    deliver(own, failed)

    assert [event.redrive for event in seen] == ["record message-1"] * 2


def test_the_sample_is_handled(handler: Application, aws: Requests) -> None:
    invoke(handler, json.loads((EVENTS / "custom-event-bus.json").read_text(encoding="utf-8")))

    projects = sorted(build["projectName"] for build in aws.of("StartBuild"))
    assert projects == ["basic-tenant-provisioning", "premium-tenant-provisioning"]


def replayed_by_archive(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "replay-name": "after-the-outage"}


def replayed_by_bus(event: dict[str, Any]) -> dict[str, Any]:
    return with_metadata(event, **{"aws:DeliveryType": "REPLAY"})


@pytest.mark.parametrize("replayed", [replayed_by_archive, replayed_by_bus])
def test_a_redrive_of_a_failed_replay_starts_the_job(aws: Requests, replayed: Any) -> None:
    """The replay has published its failure; an operator has mended the cause."""
    project = "premium-tenant-provisioning"
    event = replayed(sample("tenant-provisioning"))
    broken = create_handler(lifecycle, builders={"CODE_BUILD": Recorder({project: JobRejected("it is gone")})})
    with pytest.raises(JobRejected):
        invoke(broken, [event])
    assert [entry["DetailType"] for entry in published(aws)] == ["TENANT_PROVISIONING_FAILURE"]
    mended = Recorder()

    invoke(create_handler(lifecycle, builders={"CODE_BUILD": mended}), failed_invocation([event]))

    assert [job.name for job in mended.jobs] == [project]
