"""Bad input raises a typed one-line error that names the fault, and starts nothing."""

import json
import uuid
from collections import OrderedDict
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import (
    Application,
    ConfigurationError,
    ConsumerFailed,
    Event,
    InvalidEvent,
    JobRejected,
    OrchestratorError,
    Registry,
    StaticTierDetails,
    create_handler,
)
from orchestrator.details import BuildDetail
from orchestrator.intake import eventbridge
from orchestrator.lifecycle import registry as lifecycle
from tests.support.aws import Requests
from tests.support.events import SAMPLES, changed, failed_invocation, invoke, sample, with_metadata

OVERRIDE = "detail.builderConfig.config.environmentOverride"


def refused(handler: Application, event: Any, error_type: type[OrchestratorError], reason: str) -> str:
    """Check that an event is refused with a one-line message, and return the message."""
    with pytest.raises(error_type) as caught:
        handler(event, None)
    message = str(caught.value)
    assert reason in message
    assert message.isprintable()
    assert message
    return message


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (None, "null is not an EventBridge event"),
        ([], "an empty list is not an EventBridge event"),
        ([[]], "event 1 of 1: an empty list is not an EventBridge event"),
        ([[{}]], "event 1 of 1: a list is not an EventBridge event"),
        ("text", "a text is not an EventBridge event"),
        (7, "a number is not an EventBridge event"),
        (True, "a boolean is not an EventBridge event"),
        ({}, "detail-type is missing"),
    ],
)
def test_a_value_that_is_not_an_event_is_refused(handler: Application, aws: Requests, event: Any, reason: str) -> None:
    refused(handler, event, InvalidEvent, reason)

    assert aws == []


@pytest.mark.parametrize("field", ["id", "source", "account", "time", "region", "resources", "detail-type", "detail"])
def test_a_missing_field_is_named(handler: Application, aws: Requests, field: str) -> None:
    refused(handler, changed(sample("tenant-provisioning"), field, ...), InvalidEvent, f"{field} is missing")

    assert aws == []


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("id", 7, "id must be a text"),
        ("id", "  ", "id is empty"),
        ("id", "a\nb", "id is empty or contains control characters"),
        ("source", "\ud800", "source is empty or contains control characters"),
        ("detail-type", "", "detail-type is empty"),
        ("time", "yesterday", "time is wrong"),
        ("resources", "arn:aws:…", "resources must be a list"),
        ("detail", None, "detail is null; it must be a JSON object"),
        ("detail", [1], "detail is a list; it must be a JSON object"),
        ("detail", "{}", "detail is a text; it must be a JSON object"),
        ("detail.tenant", ..., "detail.tenant is missing"),
        ("detail.tenant", "acme", "detail.tenant is wrong: it must be an object, or a text with a JSON object"),
        ("detail.tenant.id", ..., "detail.tenant.id is missing"),
        ("detail.tenant.id", "", "detail.tenant.id is empty"),
        ("detail.tenant.id", 5, "detail.tenant.id must be a text"),
        ("detail.tenant.contacts.0.email", 5, "detail.tenant.contacts[0].email must be a text"),
        ("detail.planConfig", ..., "detail.planConfig is missing"),
        ("detail.planConfig", [], "detail.planConfig must be an object"),
        ("detail.planConfig.tier", ..., "detail.planConfig.tier is missing"),
        ("detail.planConfig.features.0.key", ..., "detail.planConfig.features[0].key is missing"),
        ("detail.builderConfig", "CODE_BUILD", "detail.builderConfig must be an object"),
        (OVERRIDE, "x", "detail.builderConfig.config.environmentOverride must be an object"),
    ],
)
def test_a_wrong_field_is_named(handler: Application, aws: Requests, path: str, value: Any, reason: str) -> None:
    refused(handler, changed(sample("tenant-provisioning"), path, value), InvalidEvent, reason)

    assert aws.besides_reports == []


def test_a_subscription_without_plan_is_named(handler: Application, aws: Requests) -> None:
    event = changed(sample("tenant-provisioning-subscription"), "detail.subscription.plan", ...)

    refused(handler, event, InvalidEvent, "planConfig and subscription.plan are both missing")

    assert aws.besides_reports == []


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "ENV", "BASH_ENV", "NODE_OPTIONS", "AWS_REGION", "AWS_", "CODEBUILD_SRC_DIR", "LD_PRELOAD"),
        *("PYTHONPATH", "PYTHON", "ORCHESTRATOR_RUN_ID", "Path", "https_proxy", "PS4", "TF_CLI_ARGS_init"),
        *("1st", "with-dash", "with space", "a=b", "", "é", "x\n"),
    ],
)
@pytest.mark.parametrize("event", ["tenant-provisioning", "tenant-provisioning-subscription"])
def test_a_hostile_variable_name_is_refused(handler: Application, aws: Requests, name: str, event: str) -> None:
    path = OVERRIDE if event == "tenant-provisioning" else "detail.subscription.plan.sizeConfig"
    hostile = changed(sample(event), path, {name: "very-secret-value"})

    message = refused(handler, hostile, InvalidEvent, f"job variable {name!a}")

    assert "very-secret-value" not in message
    assert "PutItem" not in aws.besides_reports
    assert "StartBuild" not in aws.operations


@pytest.mark.parametrize("name", ["AWSOME", "PYTHO", "HOMEPAGE", "REGION", "Node_Count", "_"])
def test_a_harmless_variable_name_is_kept(handler: Application, aws: Requests, name: str) -> None:
    invoke(handler, changed(sample("tenant-provisioning"), OVERRIDE, {name: "x"}))

    assert len(aws.of("StartBuild")) == 1


def test_a_tier_that_is_not_in_the_table_is_named(handler: Application, aws: Requests) -> None:
    event = changed(sample("tenant-provisioning"), "detail.planConfig.tier", "GOLD")

    refused(handler, event, ConfigurationError, "tier 'GOLD' is not in table tiers")

    assert aws.besides_reports == ["GetItem"]


def test_an_unknown_builder_is_named_with_the_registered_ones(handler: Application, aws: Requests) -> None:
    event = changed(sample("tenant-provisioning"), "detail.builderConfig.type", "TRAVIS")

    refused(
        handler, event, ConfigurationError, "builder 'TRAVIS' of job 'premium-tenant-provisioning' is not registered"
    )

    assert aws.besides_reports == ["GetItem"]


def test_a_project_that_does_not_exist_is_named(aws: Requests) -> None:
    handler = create_handler(lifecycle, tiers=StaticTierDetails({"PREMIUM": {"jobName": "nowhere"}}))

    refused(handler, sample("tenant-provisioning"), JobRejected, "CodeBuild project 'nowhere' was not started")


@pytest.mark.parametrize("tier", ["../x", "a b", "é", "x" * 200, "a\nb", "arn:aws:iam::1:role/x", "-"])
def test_a_tier_that_gives_no_valid_project_name_is_refused(
    aws: Requests, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    monkeypatch.delenv("TIER_DETAILS_TABLE")

    event = changed(sample("tenant-provisioning"), "detail.planConfig.tier", tier)

    refused(create_handler(lifecycle), event, JobRejected, "is not a CodeBuild project name")
    assert "StartBuild" not in aws.operations


@pytest.mark.parametrize("details", [{}, {"jobName": ""}, {"jobName": 7}])
def test_a_tier_without_a_job_is_named(aws: Requests, details: dict[str, Any]) -> None:
    handler = create_handler(lifecycle, tiers=StaticTierDetails({"PREMIUM": details}))

    refused(
        handler,
        sample("tenant-provisioning"),
        ConfigurationError,
        "tier 'PREMIUM' does not name the job of TENANT_PROVISIONING; give its item an attribute jobName",
    )
    assert aws.besides_reports == []


def test_a_tier_attribute_that_cannot_be_a_variable_is_named(aws: Requests) -> None:
    tiers = StaticTierDetails({"PREMIUM": {"jobName": "premium-tenant-provisioning", "job-size": 1}})

    refused(create_handler(lifecycle, tiers=tiers), sample("tenant-provisioning"), ConfigurationError, "'job-size'")
    assert aws.besides_reports == []


def test_a_number_that_dynamodb_cannot_store_is_refused(handler: Application, aws: Requests) -> None:
    event = changed(sample("tenant-provisioning"), "detail.appConfig", {"n": 10**40 + 1})

    refused(handler, event, InvalidEvent, "DynamoDB cannot hold appConfig.n (a number has at most 38 digits")

    assert "StartBuild" not in aws.operations


SECRETS = ("example-callback-secret", "example-client-secret", "zoe.mueller@acme.example.com", "Acme Robotics")


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("path", ["detail.appConfig", f"{OVERRIDE}.extra", "detail.tenant.address"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (nested(300), "is nested deeper than 64 levels"),
        ([nested(300)], "is nested deeper than 64 levels"),
        ({"a": "\ud800"}, ".a contains half of a surrogate pair"),
        ({"\udfff": 1}, "contains half of a surrogate pair"),
        ({"\x1b[2J": "\ud800"}, ".'\\x1b[2J' contains half of a surrogate pair"),
        (["ok", "\ud800"], "[1] contains half of a surrogate pair"),
        ([1.5, float("inf")], "[1] is a number above 1.8e308"),
        ({"n" * 90_000: "\ud800"}, f".'{'n' * 80}...' contains half of a surrogate pair"),
    ],
)
def test_a_value_that_no_service_can_store_is_refused_with_its_place(
    handler: Application, aws: Requests, path: str, value: Any, reason: str
) -> None:
    message = refused(handler, changed(sample("tenant-provisioning"), path, value), InvalidEvent, reason)

    assert path in message
    assert aws == []


@pytest.mark.parametrize(
    "detail", [nested(64), {"rows": [{"n": n} for n in range(500)]}, {"text": "{[" * 500}, {"rows": [nested(62)] * 3}]
)
def test_a_wide_detail_of_the_allowed_depth_is_accepted(detail: Any) -> None:
    assert eventbridge.parse(sample("tenant-provisioning") | {"detail": detail}).detail == detail


@pytest.mark.parametrize("detail", [nested(65), {"text": "{[" * 500, "deep": nested(64)}, {"rows": [nested(63)] * 3}])
def test_a_detail_that_is_one_level_too_deep_is_refused(detail: Any) -> None:
    with pytest.raises(InvalidEvent, match="is nested deeper than 64 levels"):
        eventbridge.parse(sample("tenant-provisioning") | {"detail": detail})


def test_a_tenant_with_deeply_nested_json_is_refused(aws: Requests) -> None:
    registry = Registry()

    @registry.consumer("TENANT_DEPLOYMENT")
    def deploy(event: Event[BuildDetail]) -> None: ...

    event = changed(sample("tenant-deployment"), "detail.tenant", "[" * 200_000)
    refused(create_handler(registry), event, InvalidEvent, "detail.tenant is wrong: it must be an object, or a text")


@pytest.mark.parametrize("field", ["id", "detail-type", "source", "replay-name"])
def test_a_name_that_would_fill_the_log_is_refused(handler: Application, field: str) -> None:
    refused(handler, sample("tenant-provisioning", **{field: "x" * 1025}), InvalidEvent, f"{field} has more than 1,024")


def test_a_replays_name_that_no_message_can_hold_is_refused(handler: Application) -> None:
    event = sample("tenant-provisioning", **{"replay-name": "a\x1b"})

    refused(handler, event, InvalidEvent, "event: replay-name is empty or contains control characters")


def test_a_tenants_id_with_half_a_surrogate_pair_in_json_text_is_refused(handler: Application, aws: Requests) -> None:
    event = changed(sample("tenant-provisioning"), "detail.tenant", '{"id": "\\ud800"}')

    refused(handler, event, InvalidEvent, "detail.tenant.id is wrong")
    assert "StartBuild" not in aws.operations


@pytest.mark.parametrize("time", [5, 1.5, None, ["2026-11-24T09:00:00Z"]])
def test_a_time_that_is_not_a_text_is_refused(handler: Application, aws: Requests, time: Any) -> None:
    refused(handler, sample("tenant-provisioning", time=time), InvalidEvent, "event: time is ")
    assert aws == []


def test_a_time_before_all_possible_events_is_refused(handler: Application) -> None:
    refused(handler, sample("tenant-provisioning", time="0001-01-01T00:00:00Z"), InvalidEvent, "before the year 2000")


def test_a_time_without_a_zone_is_utc(handler: Application, aws: Requests) -> None:
    invoke(handler, sample("tenant-provisioning", time="2026-11-24T09:00:00"))

    assert len(aws.of("StartBuild")) == 1


def test_a_tenants_id_that_no_variable_can_hold_is_refused(handler: Application, aws: Requests) -> None:
    event = changed(sample("tenant-provisioning"), "detail.tenant.id", "a\0b")

    refused(handler, event, InvalidEvent, "job variable")
    assert "StartBuild" not in aws.operations


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_sample_is_handled_or_refused_with_a_clear_error(
    handler: Application, aws: Requests, capsys: pytest.CaptureFixture[str], file: Any, data: st.DataObject
) -> None:
    aws.clear()
    junk = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
        max_leaves=4,
    )
    event: Any = sample(file.stem, id=str(uuid.uuid4()))
    event = data.draw(st.sampled_from([event, [event], [with_metadata(event)], failed_invocation([event])]))
    paths = list(_paths(event))
    for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=3)):
        _mutate(event, path, data.draw(st.just(...) | junk))

    errors: tuple[Exception, ...] = ()
    message = ""
    try:
        json.dumps(handler(event, None))
    except OrchestratorError as error:
        errors, message = (error,), str(error)
    except ExceptionGroup as group:  # an array may have taken the place of the event
        errors, message = group.exceptions, str(group)
    assert message.isprintable()
    assert all(isinstance(error, OrchestratorError) and not isinstance(error, ConsumerFailed) for error in errors)
    assert not errors or "StartBuild" not in aws.operations
    output = message + capsys.readouterr().out
    assert not [secret for secret in SECRETS if secret in output]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Any:
    if path:
        yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield from _paths(member, (*path, name))


def _mutate(event: Any, path: tuple[Any, ...], value: Any) -> None:
    target = event
    for part in path[:-1]:
        try:
            target = target[part]
        except (KeyError, IndexError, TypeError):
            return  # an earlier mutation removed this part
    if isinstance(target, dict) and value is ...:
        target.pop(path[-1], None)
    elif isinstance(target, dict) or (isinstance(target, list) and path[-1] in range(len(target))):
        target[path[-1]] = None if value is ... else value


class Text(str):
    """A text of a type of its own."""


_TEXTS = st.text(st.characters() | st.sampled_from("\ud800\udfff{[\x00"), max_size=3)
_LONG = st.sampled_from([1, 10, -10]).map(lambda factor: factor * 10**4299)  # Python cannot write the last two
_SCALARS = st.none() | st.booleans() | st.integers() | _LONG | st.floats() | _TEXTS


@given(
    st.dictionaries(
        _TEXTS,
        st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3)),
    ),
    st.integers(0, 70),
)
def test_the_fast_check_agrees_with_the_slow_one(detail: dict[str, Any], depth: int) -> None:
    detail = {"a": detail, "b": nested(depth)}

    for checked in (detail, {**detail, "many": [[] for _ in range(70)]}):
        assert eventbridge._passes_fast_check(checked) is (eventbridge._find_fault(checked) is None)


@pytest.mark.parametrize(
    ("detail", "fault"),
    [
        ({1: "x"}, None),
        ({"a": ("x",)}, None),
        (OrderedDict(a="\ud800"), "detail.a contains half of a surrogate pair"),
        ({"a": OrderedDict(b="\ud800")}, "detail.a.b contains half of a surrogate pair"),
        ({"a": Text("\ud800")}, "detail.a contains half of a surrogate pair"),
    ],
)
def test_a_detail_with_types_that_json_does_not_have_is_checked(detail: Any, fault: str | None) -> None:
    with nullcontext() if fault is None else pytest.raises(InvalidEvent, match=fault):
        eventbridge.parse(sample("tenant-provisioning") | {"detail": detail})


def test_every_sample_passes_the_fast_check() -> None:
    assert all(eventbridge._passes_fast_check(sample(file.stem)["detail"]) for file in SAMPLES)


def test_an_event_in_the_record_of_its_failure_is_handled_like_the_event(handler: Application, aws: Requests) -> None:
    event = sample("tenant-provisioning")
    record = failed_invocation(event)

    assert invoke(handler, record)["eventId"] == event["id"]
    assert invoke(handler, {**record, "requestPayload": record})["eventId"] == event["id"]
    refused(handler, {**record, "requestPayload": "x"}, InvalidEvent, "event: a text is not an EventBridge event")
