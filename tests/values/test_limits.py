"""Values too large for this package or for an AWS service are refused quickly, with the field and the limit."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from orchestrator import (
    Application,
    ConfigurationError,
    EndingEvent,
    Event,
    InvalidEvent,
    PublishEvent,
    Registry,
    SaveTenant,
    SendCallback,
    StartJob,
    UpdateTenant,
    create_handler,
)
from orchestrator.aws.clients import Clients
from orchestrator.aws.items import item_bytes, to_item
from orchestrator.builders.variables import job_variables
from orchestrator.lifecycle import app_plane
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.performers.address import AllowedHosts
from orchestrator.performers.callbacks import Callbacks
from orchestrator.run import Origin
from orchestrator.stores.tenants import DynamoDBTenantRecords
from orchestrator.values.limits import place_of
from tests.support.aws import REGION, Requests, published, stored, variables
from tests.support.events import changed, invoke, json_lines, sample

OVERRIDE = "detail.builderConfig.config.environmentOverride"
DIGITS = [5_000, 1_000_000]


def number(digits: int) -> int:
    """Compute an integer with that many digits; Python refuses literals of more than 4,300."""
    power: int = 10 ** (digits - 1)
    return 7 * power + 1


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Check that the block takes less CPU time than this; the limits are far above the usual times."""
    begin = time.process_time()
    yield
    assert time.process_time() - begin < seconds


# Integers


@pytest.mark.parametrize("digits", DIGITS)
@pytest.mark.parametrize(
    "path",
    [
        "detail.appConfig",
        "detail.tenant.status",
        "detail.tenant.contacts.0.isPrimary",
        "detail.planConfig.features.1.defaultValue",
        f"{OVERRIDE}.SIZE",
    ],
)
def test_an_integer_that_cannot_be_written_is_refused(
    handler: Application, aws: Requests, path: str, digits: int
) -> None:
    event = changed(sample("tenant-provisioning"), path, number(digits))

    with within(5), pytest.raises(InvalidEvent) as caught:
        handler(event, None)

    place = path.replace(".0.", "[0].").replace(".1.", "[1].")
    assert str(caught.value) == (
        f"event: {place} is a number of more than 4,300 digits; send a shorter number, or text"
    )
    assert aws == []


@pytest.mark.parametrize(
    "name",
    ["tenant-deployment", "tenant-provisioning-success", "tenant-deprovisioning", "codebuild-build-state-change"],
)
def test_a_long_integer_is_refused_in_each_event(handler: Application, aws: Requests, name: str) -> None:
    with within(5), pytest.raises(InvalidEvent, match=r"detail\.big\[0\]\.a is a number of more than 4,300 digits"):
        handler(changed(sample(name), "detail.big", [{"a": -number(1_000_000)}]), None)
    assert aws == []


def record(source: str, path: str, digits: int) -> dict[str, Any]:
    """Build an SQS message whose body has a long integer at a path of the event."""
    batch = sample("sqs-batch")
    (message,) = [one for one in batch["Records"] if bool(one.get("messageAttributes")) == (source == "connector")][:1]
    event = changed(sample("tenant-provisioning"), path, "LONG")
    body = json.dumps(event["detail"] if source == "connector" else event)
    return {**message, "body": body.replace('"LONG"', "7" * digits)}


@pytest.mark.parametrize("digits", DIGITS)
@pytest.mark.parametrize("source", ["event", "connector"])
@pytest.mark.parametrize("path", ["detail.appConfig", f"{OVERRIDE}.SIZE"])
def test_a_long_integer_is_refused_in_a_message(
    handler: Application, aws: Requests, capsys: pytest.CaptureFixture[str], source: str, path: str, digits: int
) -> None:
    message = record(source, path, digits)

    with within(5):
        answer = handler({"Records": [message]}, None)

    assert answer == {"batchItemFailures": [{"itemIdentifier": message["messageId"]}]}
    messages = [line["message"] for line in json_lines(capsys.readouterr().out) if line.get("level") == "ERROR"]
    assert messages == [f"event: {path} is a number of more than 4,300 digits; send a shorter number, or text"]
    assert aws == []


def test_a_message_with_a_long_number_that_is_not_json_is_refused_as_such(
    handler: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    message = {**record("event", "detail.appConfig", 5), "body": f"[{'7' * 5_000}, x]"}

    handler({"Records": [message]}, None)

    assert "its body is not JSON" in capsys.readouterr().out


@pytest.mark.parametrize("digits", [39, 300, 4_300])
def test_a_record_accepts_no_integer_of_more_than_38_digits(handler: Application, aws: Requests, digits: int) -> None:
    for path in ("detail.appConfig.n", f"{OVERRIDE}.SIZE"):
        event = changed(changed(sample("tenant-provisioning"), "detail.appConfig", {}), path, number(digits))
        with within(5), pytest.raises(InvalidEvent, match="a number has at most 38 digits") as caught:
            handler(event, None)
        assert f"DynamoDB cannot hold {path.removeprefix('detail.')} " in str(caught.value)
    assert "StartBuild" not in aws.operations


@pytest.mark.parametrize("value", [10**38 - 1, 7 * 10**100, -(10**125), 1e22, 1.5, 1e-130, 0])
def test_a_record_accepts_every_number_that_dynamodb_can_store(
    handler: Application, aws: Requests, value: float
) -> None:
    invoke(handler, changed(sample("tenant-provisioning"), "detail.appConfig", {"n": value}))

    assert stored()["appConfig"]["n"] == value


@pytest.mark.parametrize("value", [10**126, 1e126, 1e-131, 1e-200])
def test_a_record_accepts_no_number_that_dynamodb_cannot_store(
    handler: Application, aws: Requests, value: float
) -> None:
    with pytest.raises(InvalidEvent, match=r"DynamoDB cannot hold appConfig\.n .* between 1e-130 and"):
        invoke(handler, changed(sample("tenant-provisioning"), "detail.appConfig", {"n": value}))


@pytest.mark.parametrize("digits", [39, 310, 4_300])
def test_a_job_variable_accepts_every_integer_that_can_be_written(
    aws: Requests, monkeypatch: pytest.MonkeyPatch, digits: int
) -> None:
    """Without a table of records, nothing else limits it."""
    monkeypatch.delenv("DATA_STORE_TABLE")

    invoke(create_handler(lifecycle), changed(sample("tenant-provisioning"), f"{OVERRIDE}.SIZE", number(digits)))

    assert variables(aws.of("StartBuild")[0])["SIZE"] == f"7{'0' * (digits - 2)}1"


def test_a_long_integer_in_a_job_variable_is_named() -> None:
    with within(5), pytest.raises(InvalidEvent, match=r"variable size\[1\] is a number of more than 4,300 digits"):
        job_variables({}, {"size": [1, number(1_000_000)]}, {})
    with within(5), pytest.raises(ConfigurationError, match="variable size is a number of more than 4,300 digits"):
        job_variables({"size": number(1_000_000)}, {}, {})


def test_a_long_integer_in_an_event_of_a_consumer_is_named(aws: Requests) -> None:
    registry = Registry()

    @registry.consumer("TENANT_PROVISIONING")
    def publish(event: Event) -> PublishEvent:
        return PublishEvent(type="X", detail={"a": {"b": number(1_000_000)}})

    with within(5), pytest.raises(InvalidEvent, match=r"detail\.a\.b is a number of more than 4,300 digits"):
        create_handler(registry)(sample("tenant-provisioning"), None)


def test_a_callback_accepts_no_number_that_javascript_does_not_have(
    aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBACK_ALLOWED_HOSTS", "control.example.com")
    registry = Registry()

    @registry.consumer("TENANT_PROVISIONING")
    def send(event: Event) -> SendCallback:
        return SendCallback(url="https://control.example.com", body=event.detail, secret="s")

    event = changed(sample("tenant-provisioning"), "detail.appConfig", [1, number(310)])
    with pytest.raises(InvalidEvent, match=r"callback's body\.appConfig\[1\] is a number above 1\.8e308"):
        create_handler(registry)(event, None)


def test_a_long_integer_in_the_text_of_a_tenant_is_named(handler: Application, aws: Requests) -> None:
    event = changed(sample("tenant-deployment"), "detail.tenant", '{"id": "t1", "n": ' + "7" * 1_000_000 + "}")

    with within(5), pytest.raises(InvalidEvent, match=r"detail\.tenant is wrong: it holds a number of more than 4,300"):
        handler(event, None)


def test_a_long_expiration_is_named(aws: Requests) -> None:
    registry = Registry()
    registry.include(app_plane.registry)
    event = changed(sample("tenant-deployment-app-plane"), "detail.ACCESS_TOKEN_EXPIRATION", "9" * 1_000_000)

    with within(5), pytest.raises(InvalidEvent, match=r"detail\.ACCESS_TOKEN_EXPIRATION is a number of more than"):
        create_handler(registry)(event, None)


# Times


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.999999-00:01"])
def test_a_time_that_utc_does_not_have_is_refused(handler: Application, aws: Requests, time: str) -> None:
    with pytest.raises(InvalidEvent, match="event: time is after the year 9999 in UTC"):
        handler(sample("tenant-provisioning", time=time), None)
    assert aws == []


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00-14:00"])
def test_a_time_at_the_beginning_of_the_calendar_is_refused(handler: Application, aws: Requests, time: str) -> None:
    with pytest.raises(InvalidEvent, match="event: time is before the year 2000"):
        handler(sample("tenant-provisioning", time=time), None)
    assert aws == []


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59+14:00"])
@pytest.mark.parametrize("name", ["tenant-provisioning", "tenant-provisioning-success", "codebuild-build-state-change"])
@pytest.mark.usefixtures("side_by_side")
def test_the_last_time_that_utc_has_is_accepted(handler: Application, aws: Requests, name: str, time: str) -> None:
    invoke(handler, sample("tenant-provisioning"))

    assert invoke(handler, sample(name, id="another", time=time))["consumers"] != []


@pytest.mark.parametrize("time", ["9" * 1_000_000, "0" * 1_000_000 + "Z", "-" * 1_000_000, "1e999999"])
def test_a_time_of_any_length_is_refused_quickly(handler: Application, aws: Requests, time: str) -> None:
    with within(5), pytest.raises(InvalidEvent, match="event: time is"):
        handler(sample("tenant-provisioning", time=time), None)


@pytest.mark.parametrize(
    ("attribute", "reason"), [("9" * 30, "SentTimestamp is not a time"), ("x", "SentTimestamp is not")]
)
def test_a_message_from_beyond_the_calendar_is_refused(
    handler: Application, capsys: pytest.CaptureFixture[str], attribute: str, reason: str
) -> None:
    message = record("connector", "detail.appConfig", 5)
    message["attributes"] = {**message["attributes"], "SentTimestamp": attribute}

    answer = handler({"Records": [message]}, None)

    assert len(answer["batchItemFailures"]) == 1
    assert reason in capsys.readouterr().out


# Addresses


def deployed(url: str) -> dict[str, Any]:
    return changed(sample("tenant-deployment"), "detail.API_ENDPOINT", url)


@pytest.mark.parametrize(
    "host",
    [
        "a" * 160_000,
        "a.b" * 50_000,
        "ü." * 80_000 + "com",
        "".join(map(chr, range(0x4E00, 0x9E00))) * 8,  # 163,840 letters of many kinds
        "[" + "1:" * 80_000,
    ],
)
def test_a_host_that_is_too_long_is_refused_quickly(handler: Application, aws: Requests, host: str) -> None:
    """Encoding a host (IDNA) takes quadratic time: 17 seconds for 10,000 Chinese letters."""
    with (
        within(5),
        pytest.raises(InvalidEvent, match=r"a callback's address (has a host of more than 253|is not an http)"),
    ):
        handler(deployed(f"https://{host}/webhook"), None)
    assert aws.besides_reports == ["GetItem", "GetItem"]


def test_the_limit_of_a_hosts_name_is_named() -> None:
    longest = ".".join(["a" * 63] * 3 + ["b" * 61])
    sender = Callbacks(AllowedHosts([longest, ".example.com"]))

    def callback(host: str) -> SendCallback:
        return SendCallback(url=f"https://{host}/", body={}, secret="s")

    assert sender.check(callback(longest)) == sender.check(callback(f"{longest}.")) == longest
    with pytest.raises(InvalidEvent, match="has a host of more than 253 characters; correct API_ENDPOINT"):
        sender.check(callback(f"{longest}b"))
    with (
        within(5),
        pytest.raises(ConfigurationError, match=r"CALLBACK_ALLOWED_HOSTS has the entry 'aaa.*, which is not a host"),
    ):
        Callbacks(AllowedHosts(["a" * 1_000_000]))


def test_an_address_of_any_length_is_checked_quickly() -> None:
    """HTTP does not limit the rest of an address; a server with a limit answers 414."""
    path = "/ü%20" * 200_000

    with within(2):
        assert Callbacks(AllowedHosts(["control.example.com"])).check(
            SendCallback(url=f"https://control.example.com{path}?{path}#{path}", body={}, secret="s")
        )


# Records


def refused_record(handler: Application, event: dict[str, Any], message: str) -> None:
    with within(2), pytest.raises(InvalidEvent, match=message):
        invoke(handler, event)


@pytest.mark.parametrize("text", ["x" * 500_000, "ü" * 210_000])
def test_a_record_of_more_than_400_kb_is_refused_before_anything_is_done(
    handler: Application, aws: Requests, text: str
) -> None:
    event = changed(sample("tenant-provisioning"), "detail.appConfig", {"theme": text})

    refused_record(handler, event, "its record exceeds the 409,600 bytes of a DynamoDB item: it has ")

    assert aws.besides_reports == ["GetItem"]
    (report,) = published(aws)
    assert report["DetailType"] == "TENANT_PROVISIONING_FAILURE"
    assert "most of them in appConfig; send less" in json.loads(report["Detail"])["reason"]


def test_a_record_of_just_400_kb_is_stored(handler: Application, aws: Requests) -> None:
    invoke(handler, changed(sample("tenant-provisioning"), "detail.appConfig", {"theme": "ü" * 200_000}))

    assert stored()["appConfig"] == {"theme": "ü" * 200_000}
    assert len(aws.of("StartBuild")) == 1


def test_the_size_of_an_item_is_counted_as_dynamodb_does() -> None:
    """The sizes come from AWS's guide; each attribute has a name of one byte."""
    attributes = {
        "a": "ü",  # 2
        "b": None,  # 1
        "c": True,  # 1
        "d": 1_200,  # 2: zeros at the end do not count
        "e": [],  # 3
        "f": ["x", "y"],  # 3 + 2 + 2
        "g": {"hh": "xyz"},  # 3 + 1 + 5
        "i": {"x", "yz"},  # 3
        "j": b"123",  # 3
        "k": Decimal("1.5"),  # 2
    }

    assert item_bytes(to_item(attributes)) == 10 + 2 + 1 + 1 + 2 + 3 + 7 + 9 + 3 + 3 + 2


def test_a_record_is_refused_from_the_first_byte_beyond_the_limit() -> None:
    client: Any = None
    records = DynamoDBTenantRecords("tenants", client)
    origin = Origin(event=Event(type="X", detail={}, id="e1"), consumer="c", position=0)
    own = len("tenantIdt1startedBye1startedAtname") + len("2026-11-24T09:00:00.000Z")

    def check(**record: str) -> None:
        records.check(SaveTenant(tenant_id="t1", record=record), origin)

    check(name="x" * (409_600 - own), tenantId="ignored", startedAt="ignored")
    with pytest.raises(
        InvalidEvent, match=r"tenant 't1': its record exceeds the 409,600 .* it has 409,601 bytes, most"
    ):
        check(name="x" * (409_601 - own))


def test_a_record_of_more_than_32_levels_is_refused_before_anything_is_done(
    handler: Application, aws: Requests
) -> None:
    theme: Any = "dark"
    for _ in range(32):
        theme = [theme]

    refused_record(
        handler, changed(sample("tenant-provisioning"), "detail.appConfig", theme), "appConfig has more than 32"
    )
    assert aws.besides_reports == ["GetItem"]

    invoke(handler, changed(sample("tenant-provisioning", id="flatter"), "detail.appConfig", theme[0]))
    assert len(aws.of("StartBuild")) == 1


def test_a_record_with_an_attribute_without_a_name_is_refused_before_anything_is_done(
    handler: Application, aws: Requests
) -> None:
    event = sample("tenant-provisioning")
    event["detail"][""] = "x"

    refused_record(handler, event, "an attribute has no name")

    assert aws.besides_reports == ["GetItem"]


def updating(changes: dict[str, Any]) -> Application:
    """Create a handler that changes the tenant record and then starts a job."""
    registry = Registry()

    @registry.consumer("TENANT_PROVISIONING_SUCCESS")
    def update(event: Event) -> list[UpdateTenant | StartJob]:
        tenant_id = json.loads(event.detail["tenant"])["id"]
        change = UpdateTenant(tenant_id=tenant_id, changes=changes)
        return [change, StartJob(name="premium-tenant-provisioning")]

    return create_handler(registry)


def test_a_change_of_more_than_400_kb_is_refused_before_anything_is_done(aws: Requests) -> None:
    handler = updating({"notes": "x" * 500_000, "old": None})

    refused_record(handler, sample("tenant-provisioning-success"), "it has 500,.* bytes, most of them in notes; send")

    assert aws == []


def test_a_change_that_does_not_fit_into_its_record_is_refused(handler: Application, aws: Requests) -> None:
    invoke(handler, changed(sample("tenant-provisioning"), "detail.appConfig", {"theme": "x" * 300_000}))

    message = "its record exceeds the 409,600 bytes of a DynamoDB item once it is updated; send less"
    refused_record(updating({"notes": "x" * 200_000}), sample("tenant-provisioning-success"), message)

    assert len(aws.of("StartBuild")) == 1


def test_a_record_that_only_aws_finds_too_large_is_named(dynamodb_tenants: DynamoDBTenantRecords) -> None:
    with pytest.raises(
        InvalidEvent, match="its record exceeds the 409,600 bytes of a DynamoDB item once it is saved; send"
    ):
        dynamodb_tenants.save(
            SaveTenant(tenant_id="t1", record={"name": "x" * 500_000}),
            Origin(event=Event(type="X", detail={}), consumer="c", position=0),
        )


@pytest.fixture
def dynamodb_tenants(aws: Requests) -> DynamoDBTenantRecords:
    clients = Clients()
    return DynamoDBTenantRecords("tenants", lambda: clients.get("dynamodb", REGION))


@pytest.mark.parametrize("name", ["tenant-provisioning", "tenant-deprovisioning"])
def test_an_id_that_is_too_long_for_a_key_is_named(handler: Application, aws: Requests, name: str) -> None:
    event = changed(sample(name), "detail.tenant.id", "ü" * 1_025)

    refused_record(handler, event, r"the tenant's id '.xfc.* has 2,050 bytes, but a DynamoDB key .* 2,048")

    assert "StartBuild" not in aws.operations


def test_a_tier_that_is_too_long_for_a_key_is_named(handler: Application, aws: Requests) -> None:
    event = changed(sample("tenant-provisioning"), "detail.planConfig.tier", "x" * 2_049)

    refused_record(handler, event, "the tier's name 'xxx.*' has 2,049 bytes, but a DynamoDB key may have at most")

    assert aws.besides_reports == []


def test_a_tenants_id_that_is_too_long_to_follow_its_job_is_named(aws: Requests) -> None:
    registry = Registry()
    registry.consumer("TENANT_PROVISIONING", name="start")(lambda event: StartJob(name="project"))
    event = changed(sample("tenant-provisioning"), "detail.tenant.id", "x" * 500_000)

    refused_record(create_handler(registry), event, "cannot be followed: the names of job, event")

    assert aws == []


def test_what_is_too_long_to_be_kept_for_the_ending_of_a_job_is_named(aws: Requests) -> None:
    registry = Registry()
    ending = EndingEvent(keeps=["order"])
    registry.consumer("TENANT_PROVISIONING", name="start", ending=ending)(lambda event: StartJob(name="project"))
    event = changed(sample("tenant-provisioning"), "detail.order", "x" * 500_000)

    refused_record(create_handler(registry), event, "and what is kept of the event, have")

    assert "StartBuild" not in aws.operations


# Large events that can be handled


def test_an_event_of_1_mb_whose_record_fits_is_handled(handler: Application, aws: Requests) -> None:
    """The envelope is not stored, and escapes take more bytes in JSON than in the record."""
    event = changed(sample("tenant-provisioning-enveloped"), "detail.padding", "x" * 300_000)
    event = changed(event, "detail.data.appConfig", "ü" * 120_000)
    assert 1_000_000 < len(json.dumps(event)) <= 1024 * 1024

    with within(3):
        invoke(handler, event)

    assert len(aws.of("StartBuild")) == 1
    assert stored()["appConfig"] == "ü" * 120_000


@pytest.mark.parametrize("name", ["tenant-deployment-success", "tenant-provisioning-failure", "tenant-deprovisioning"])
@pytest.mark.usefixtures("side_by_side")
def test_an_event_of_1_mb_that_changes_a_record_is_handled(
    handler: Application, aws: Requests, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    invoke(handler, sample("tenant-provisioning", id="before"))
    event = sample(name)
    event["detail"].pop("API_ENDPOINT", None)
    event["detail"]["padding"] = "x" * (1024 * 1024 - len(json.dumps(event)) - 20)

    with within(3):
        assert invoke(handler, event)["consumers"] != []


# Published events


def publishing(detail: dict[str, Any]) -> Application:
    registry = Registry()

    @registry.consumer("TENANT_PROVISIONING")
    def publish(event: Event) -> list[UpdateTenant | PublishEvent]:
        change = UpdateTenant(tenant_id="t1", changes={"status": "X"}, create=True)
        return [change, PublishEvent(type="SOME_TYPE", detail=detail, source="me")]

    return create_handler(registry)


def test_an_event_of_just_1_mb_is_published_and_a_larger_one_refused(aws: Requests) -> None:
    marks = len("urn:orchestrator:run:") + 32 + len("urn:orchestrator:start:2026-11-24T09:00:00.000Z/one")
    others = len('{"a":""}') + len("SOME_TYPE") + len("me") + marks + len("and the time: ")
    text = "ü" * ((1024 * 1024 - others) // 2)

    with within(2):
        invoke(publishing({"a": text}), sample("tenant-provisioning", id="one"))
    assert len(published(aws)) == 1
    aws.clear()
    message = (
        "event 'SOME_TYPE' cannot be published: it has 1,048,57[789] bytes, and EventBridge takes at most 1,048,576; "
    )
    with within(2), pytest.raises(InvalidEvent, match=message):
        invoke(publishing({"a": text + "ü"}), sample("tenant-provisioning", id="two"))
    assert aws == []


def test_a_deployment_too_large_for_an_event_is_refused_before_anything_is_done(
    handler: Application, aws: Requests
) -> None:
    event = changed(sample("tenant-provisioning-success"), "detail.padding", "x" * (1024 * 1024))

    with pytest.raises(
        InvalidEvent, match=r"event 'TENANT_DEPLOYMENT' cannot be published: it has 1,0.* bytes, and Ev"
    ):
        invoke(handler, event)
    assert aws.besides_reports == ["GetItem", "GetItem"]


@pytest.mark.parametrize(
    ("path", "left_out"),
    [
        ("detail.tenant.notes", set()),
        ("detail.secret", {"secret"}),
        ("detail.context", {"context"}),
    ],
)
def test_a_failure_of_an_event_of_any_size_is_reported(
    handler: Application, aws: Requests, path: str, left_out: set[str]
) -> None:
    event = changed(sample("tenant-provisioning-subscription"), path, "x" * (1024 * 1024))

    with pytest.raises(InvalidEvent, match="its record exceeds"):
        invoke(handler, event)

    (report,) = published(aws)
    detail = json.loads(report["Detail"])
    assert json.loads(detail["tenant"]) == {"id": event["detail"]["tenant"]["id"]}
    assert {"secret", "context", "reason", "error"} - detail.keys() == left_out


def test_the_report_of_a_failure_has_the_whole_tenant_if_it_fits(handler: Application, aws: Requests) -> None:
    event = changed(sample("tenant-provisioning"), "detail.tenant.notes", "x" * 500_000)

    with pytest.raises(InvalidEvent, match="its record exceeds"):
        invoke(handler, event)

    (report,) = published(aws)
    assert json.loads(json.loads(report["Detail"])["tenant"])["notes"] == "x" * 500_000


def test_the_place_of_a_value_is_found_in_every_type_that_a_consumer_may_build() -> None:
    value = {"a": (1, {2: Decimal(1)}), "b": {"c": None}}

    assert place_of(value, lambda part: part == 1) == ("a", 0)
    assert place_of(value, lambda part: isinstance(part, Decimal)) == ("a", 1, "2")
    assert place_of(value, lambda part: part == 7) is None
