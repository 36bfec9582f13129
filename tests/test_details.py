"""The models of the lifecycle's details."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from orchestrator import EventType
from orchestrator.details import DETAIL_MODELS, BuildDetail, ProvisioningDetail
from orchestrator.values.validation import explain
from tests.support.events import SAMPLES, changed, sample


def test_every_type_has_a_model_and_a_sample() -> None:
    sample_types = {sample(file.stem)["detail-type"] for file in SAMPLES}

    assert set(DETAIL_MODELS) == set(EventType) == sample_types


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_a_sample_fits_its_model_and_loses_nothing(file: Any) -> None:
    event = sample(file.stem)
    model = DETAIL_MODELS[event["detail-type"]]

    detail = model.model_validate(event["detail"])

    kept = detail.model_dump(by_alias=True, exclude_unset=True)
    sent = event["detail"].get("data", event["detail"])
    assert {name: kept[name] for name in sent if name != "tenant"} == {
        name: value for name, value in sent.items() if name != "tenant"
    }


@pytest.mark.parametrize(
    "name", ["tenant-provisioning", "tenant-provisioning-enveloped", "tenant-provisioning-subscription"]
)
def test_the_three_shapes_of_provisioning_are_read_alike(name: str) -> None:
    detail = ProvisioningDetail.model_validate(sample(name)["detail"])

    assert detail.tenant.key == "acme"
    assert detail.plan_config.tier in {"PREMIUM", "STANDARD", "BASIC"}
    assert detail.plan_config.features is not None
    assert detail.plan_config.features[0].effective_value() == "auth0"


def test_plan_config_overrides_the_subscription() -> None:
    detail = {**sample("tenant-provisioning-subscription")["detail"], "planConfig": {"tier": "LEADS"}}

    assert ProvisioningDetail.model_validate(detail).plan_config.tier == "LEADS"


def test_reading_a_detail_does_not_change_it() -> None:
    detail = sample("tenant-provisioning-subscription")["detail"]

    ProvisioningDetail.model_validate(detail)

    assert detail == sample("tenant-provisioning-subscription")["detail"]


def test_a_builds_tenant_is_read_from_its_text() -> None:
    detail = BuildDetail.model_validate(sample("tenant-provisioning-success")["detail"])

    assert detail.tenant.identity_provider == "auth0"
    assert detail.api_endpoint == "https://control-plane.example.com/webhook"
    assert detail.build_succeeding == "1"


@pytest.mark.parametrize("text", ["{", "", "[1]", "null"])
def test_a_builds_tenant_that_is_not_an_object_is_refused(text: str) -> None:
    event = changed(sample("tenant-provisioning-success"), "detail.tenant", text)

    with pytest.raises(ValidationError) as caught:
        BuildDetail.model_validate(event["detail"])
    assert "detail.tenant" in explain(caught.value, "detail")


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_a_details_repr_shows_no_value(file: Any) -> None:
    event = sample(file.stem)
    detail = DETAIL_MODELS[event["detail-type"]].model_validate(event["detail"])

    assert f"{detail!r} {detail}" == f"{type(detail).__name__}(…) {type(detail).__name__}(…)"


def test_the_text_of_a_custom_validator_is_not_repeated() -> None:
    from pydantic import field_validator

    class Model(BaseModel):
        secret: str

        @field_validator("secret")
        @classmethod
        def refuse(cls, value: str) -> str:
            raise ValueError(f"bad {value}")

    with pytest.raises(ValidationError) as caught:
        Model.model_validate({"secret": "hidden"})
    assert explain(caught.value) == "secret is refused by its model (value_error)"


def test_odd_field_names_cannot_break_the_line() -> None:
    class Model(BaseModel):
        sizes: dict[str, int]

    with pytest.raises(ValidationError) as caught:
        Model.model_validate({"sizes": {"a\nb": "x", **{f"n{number}": "x" for number in range(20)}}})
    message = explain(caught.value)
    assert message.startswith(r"sizes.'a\nb' is wrong: input should be a valid integer")
    assert message.endswith("and 11 more")
