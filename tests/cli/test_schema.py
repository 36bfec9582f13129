"""The contracts of the events: the AsyncAPI document and the JSON schemas, checked with independent validators."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from orchestrator import Event, Registry
from orchestrator.cli.asyncapi import document
from orchestrator.cli.detail_schemas import models_of, schema_of
from orchestrator.cli.main import main
from orchestrator.details import DETAIL_MODELS, BuildDetail, DeprovisioningDetail, ProvisioningDetail
from orchestrator.errors import ConfigurationError, InvalidEvent
from orchestrator.event import EventType
from orchestrator.intake import eventbridge
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.lifecycle.endings import ENDINGS
from orchestrator.sbt import registry as sbt
from tests.contract.own import registry as own
from tests.support.contract import problems
from tests.support.events import EVENTS, changed, sample

COMMITTED = EVENTS / "asyncapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
OTHERS = (
    "sqs-batch.json",
    "custom-event-bus.json",
    "sbt-onboarding-request.json",
    "sbt-offboarding-request.json",
)
SINGLE = sorted(file for file in EVENTS.glob("*.json") if file.name not in OTHERS)


def accepts(schema: dict[str, Any], detail: Any) -> bool:
    return bool(Draft202012Validator(schema).is_valid(detail))


def test_the_committed_document_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0

    hint = "events/asyncapi.yaml is not in step: run `orchestrator schema > events/asyncapi.yaml`"
    assert capsys.readouterr().out == COMMITTED.read_text(encoding="utf-8"), hint


@pytest.mark.parametrize("file", SINGLE, ids=lambda file: file.stem)
def test_a_sample_fits_the_document(file: Path) -> None:
    assert problems(DOCUMENT, json.loads(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("name", ["sbt-onboarding-request", "sbt-offboarding-request"])
def test_a_sample_of_sbt_fits_the_document_of_its_consumers(name: str) -> None:
    contract = document(sbt, "sbt:registry")

    assert problems(contract, sample(name)) == []
    missing = problems(contract, changed(sample(name), "detail.tenantRegistrationId", ...))
    assert missing == ["'tenantRegistrationId' is a required property"]


def test_the_events_in_the_sample_of_a_batch_fit_the_document() -> None:
    whole, connector = json.loads((EVENTS / "sqs-batch.json").read_text(encoding="utf-8"))["Records"]

    assert problems(DOCUMENT, json.loads(whole["body"])) == []
    event = sample("tenant-provisioning", detail=json.loads(connector["body"]))
    assert problems(DOCUMENT, event) == []


def test_the_events_in_the_sample_of_an_array_fit_the_document() -> None:
    array = json.loads((EVENTS / "custom-event-bus.json").read_text(encoding="utf-8"))

    assert [problems(DOCUMENT, member["Data"]) for member in array] == [[], []]


@pytest.mark.parametrize("field", DOCUMENT["components"]["schemas"]["EventBridgeEvent"]["required"])
def test_document_and_handler_refuse_an_event_without_a_field(field: str) -> None:
    event = changed(sample("tenant-provisioning"), field, ...)

    assert problems(DOCUMENT, event, "TENANT_PROVISIONING") == [f"{field!r} is a required property"]
    with pytest.raises(InvalidEvent, match=field):
        eventbridge.parse(event)


@pytest.mark.parametrize("name", [file.stem for file in SINGLE if file.name.startswith("tenant-")])
def test_a_sample_without_its_tenant_does_not_fit(name: str) -> None:
    detail = "detail.data" if name == "tenant-provisioning-enveloped" else "detail"

    assert problems(DOCUMENT, changed(sample(name), f"{detail}.tenant", ...)) != []


def test_the_document_has_every_type_that_the_consumers_take_or_lead_to() -> None:
    names = [message["name"] for message in DOCUMENT["components"]["messages"].values()]

    others = ["CodeBuild Build State Change", "Step Functions Execution Status Change", "Scheduled Event"]
    assert names == [*EventType, *others, ENDINGS]


def test_a_consumer_receives_its_types_and_sends_what_follows() -> None:
    operations = DOCUMENT["operations"]

    assert operations["start_provisioning_job"]["action"] == "receive"
    assert operations["start_provisioning_job"]["messages"] == [
        {"$ref": "#/channels/events/messages/TENANT_PROVISIONING"}
    ]
    assert operations["start_provisioning_job_leads_to"]["action"] == "send"
    assert operations["start_provisioning_job_leads_to"]["messages"] == [
        {"$ref": "#/channels/events/messages/TENANT_PROVISIONING_SUCCESS"},
        {"$ref": "#/channels/events/messages/TENANT_PROVISIONING_FAILURE"},
    ]
    assert "handle_provisioning_failure_leads_to" not in operations  # a webhook is no event


def test_own_consumers_and_their_models_are_in_the_document() -> None:
    contract = document(own, "own:registry")

    event = sample("tenant-provisioning", **{"detail-type": "TENANT_SUSPENDED"})
    assert problems(contract, {**event, "detail": {"tenant_id": "t1", "until": "2027-01-01T00:00:00Z"}}) == []
    assert problems(contract, {**event, "detail": {"tenant_id": "t1"}}) == ["'until' is a required property"]
    assert problems(contract, {**event, "detail": {"until": "2027-01-01"}}) == ["'tenant_id' is a required property"]


def test_what_follows_from_own_consumers_is_in_the_document() -> None:
    contract = document(own, "own:registry")

    sent = contract["operations"]["suspend_leads_to"]["messages"]
    assert [message["$ref"].rpartition("/")[2] for message in sent] == [
        "TENANT_SUSPENDED_SUCCESS",
        "Suspension_failed",
        "tenant_frozen",
    ]


def test_a_condition_and_the_first_words_of_a_docstring_are_in_the_document() -> None:
    operations = document(own, "own:registry")["operations"]

    assert operations["suspend"]["summary"] == "Start the job that suspends a tenant."
    assert operations["schedule_end"]["description"].endswith("true: event.detail.until.year > 2026")


def test_every_name_in_the_document_is_one_that_asyncapi_allows() -> None:
    contract = document(own, "own:registry")

    keys = [key for part in contract["components"].values() for key in part]
    assert "tenant_frozen_at_7_C" in keys
    assert [key for key in keys if re.fullmatch(r"[A-Za-z0-9._-]+", key) is None] == []


def test_a_json_schema_is_printed_for_one_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--json-schema", "TENANT_DEPLOYMENT"]) == 0

    schema = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(schema)
    assert accepts(schema, sample("tenant-deployment")["detail"])
    assert not accepts(schema, {})


def test_a_json_schema_of_several_models_takes_what_fits_all() -> None:
    schema = schema_of("TENANT_SUSPENDED", models_of(own)["TENANT_SUSPENDED"])

    Draft202012Validator.check_schema(schema)
    assert accepts(schema, {"tenant_id": "t1", "reason": "unpaid", "until": "2027-01-01T00:00:00Z"})
    assert not accepts(schema, {"tenant_id": "t1", "reason": "bored", "until": "2027-01-01T00:00:00Z"})
    assert not accepts(schema, {"tenant_id": "t1"})


def test_a_type_without_a_model_has_any_object() -> None:
    schema = schema_of("Scheduled Event", models_of(lifecycle)["Scheduled Event"])

    assert schema == {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}


def test_an_unknown_type_is_one_line_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--json-schema", "TENANT_LOST"]) == 1

    line = capsys.readouterr().err
    assert line.startswith(
        "orchestrator: ConfigurationError: --json-schema 'TENANT_LOST': the handler has no such event type; "
        "name one of: 'TENANT_PROVISIONING', "
    )
    assert line.count("\n") == 1


def test_a_model_without_a_json_schema_is_one_line() -> None:
    class Odd(BaseModel):
        act: Callable[[], None]

    registry = Registry()

    def take(event: Event[Odd]) -> None:
        return None

    take.__annotations__["event"] = Event[Odd]
    registry.consumer("ODD")(take)

    with pytest.raises(ConfigurationError, match=r"the detail of 'ODD' has no JSON schema: .*; give the field"):
        document(registry, "own:registry")


def test_without_pyyaml_the_remedy_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)

    assert main(["schema"]) == 1
    assert "needs PyYAML; install this package with its extra" in capsys.readouterr().err


TEXT = st.sampled_from(["", "x", None, 7])
TENANT = st.sampled_from([{"id": "t1"}, {"id": ""}, {}, {"id": "t1", "status": 1.5}, '{"id": "t1"}', None, 7])
PLAN = st.sampled_from([{"tier": "PREMIUM"}, {"tier": ""}, {}, {"tier": "BASIC", "features": [{}]}, None, "x"])
SUBSCRIPTION = st.fixed_dictionaries({}, optional={"plan": PLAN}) | st.none() | st.just("x")
FLAT = st.fixed_dictionaries(
    {},
    optional={
        "tenant": TENANT,
        "tenantId": TEXT,
        "planConfig": PLAN,
        "subscription": SUBSCRIPTION,
        "secret": TEXT,
        "builderConfig": st.sampled_from([{}, None, {"type": ""}, {"config": {"environmentOverride": {"A": 1}}}]),
        "CODEBUILD_BUILD_SUCCEEDING": st.sampled_from(["0", "1", "2", None]),
    },
)
DETAILS = FLAT | st.fixed_dictionaries({"type": TEXT, "data": FLAT | TEXT}, optional={"tenantId": TEXT})


@pytest.mark.parametrize("model", [ProvisioningDetail, DeprovisioningDetail, BuildDetail])
def test_the_json_schema_allows_what_the_model_takes(model: type[BaseModel]) -> None:
    (event_type, *_) = (event_type for event_type, found in DETAIL_MODELS.items() if found is model)
    schema = schema_of(event_type, models_of(lifecycle)[event_type])

    @settings(max_examples=500)
    @given(detail=DETAILS)
    def compare(detail: Any) -> None:
        try:
            model.model_validate(detail)
        except ValidationError:
            assert not accepts(schema, detail)
        else:
            assert accepts(schema, detail)

    compare()
