"""Defines pydantic models of the details of lifecycle events.

"Events and their details" in orchestrator/lifecycle/README.md describes the fields.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError

from orchestrator.event import EventType
from orchestrator.values.limits import TOO_MANY_DIGITS, is_whole


class _Model(BaseModel):
    """The base of all models in this module.

    If a detail has members that a model does not declare, the model keeps them. A model's `repr` shows no values,
    because any value may be secret.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        defer_build=True,  # building all models takes time, and no function needs all of them
        extra="allow",
        frozen=True,
        hide_input_in_errors=True,
    )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    __str__ = __repr__


_Name: TypeAlias = Annotated[str, Field(min_length=1)]


def _number_or_text(value: Any) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | str)):
        raise PydanticCustomError("status", "it must be a number or a text")
    return value


_Status: TypeAlias = Annotated[
    Any, AfterValidator(_number_or_text), WithJsonSchema({"type": ["integer", "string", "null"]})
]


class Contact(_Model):
    """A contact person of a tenant."""

    id: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    is_primary: Any = None
    type: str | None = None
    tenant_id: str | None = None


class Tenant(_Model, defer_build=False):
    """The tenant that an event is about."""

    id: _Name
    name: str | None = None
    key: str | None = None
    status: _Status = None
    identity_provider: str | None = None
    spoc_user_id: str | None = None
    domains: list[str] | None = None
    lead_id: str | None = None
    address_id: str | None = None
    contacts: list[Contact] | None = None
    address: dict[str, Any] | None = None


class FeatureValue(_Model):
    """The value that a plan sets for a feature."""

    value: Any = None


class Feature(_Model):
    """A feature of a plan, with the feature's default value and the value that the plan sets for it."""

    key: str
    default_value: Any = None
    value: FeatureValue | None = None

    def effective_value(self) -> Any:
        """Return the plan's value, or the default value if the plan's value is missing or null."""
        if self.value is not None and self.value.value is not None:
            return self.value.value
        return self.default_value


class PlanConfig(_Model):
    """The plan that a tenant has subscribed to."""

    tier: _Name
    features: list[Feature] | None = None
    size_config: dict[str, Any] | None = None


class BuilderSettings(_Model):
    """The `config` of an event's `builderConfig`. `environmentOverride` holds variables for the tenant's job."""

    environment_override: dict[str, Any] | None = None


class BuilderConfig(_Model):
    """The build system and the settings that an event requests for the tenant's job."""

    type: _Name | None = None
    config: BuilderSettings | None = None


def unwrapped(detail: Any) -> Any:
    """Return the member `data` of a detail that is wrapped as `{type, data}`. Return any other detail unchanged.

    A detail counts as wrapped if it has no `tenant`, and its `data` is a mapping.
    """
    if isinstance(detail, Mapping) and "tenant" not in detail and isinstance(detail.get("data"), Mapping):
        return detail["data"]
    return detail


def _json_object(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        raise PydanticCustomError("tenant_json", "it must be an object, or a text with a JSON object") from None
    except ValueError:
        raise PydanticCustomError("tenant_digits", f"it holds {TOO_MANY_DIGITS}") from None


class _OrJsonText:
    """Extends the JSON schema of a type, so that it also accepts a string that contains the value as JSON.

    Only the schema is extended. How the model validates a value stays the same.
    """

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        value = handler(core_schema)
        return {
            "anyOf": [value, {"type": "string", "contentMediaType": "application/json", "contentSchema": dict(value)}]
        }


_SentTenant: TypeAlias = Annotated[Tenant, BeforeValidator(_json_object), _OrJsonText()]


def _with_plan(detail: Any) -> Any:
    """Return a copy of a detail in which `planConfig` is the value of `subscription.plan`.

    If the detail already has a `planConfig` that is not null, or lacks `subscription.plan`, it is returned unchanged.
    """
    if not isinstance(detail, Mapping) or detail.get("planConfig") is not None:
        return detail
    subscription = detail.get("subscription")
    if not isinstance(subscription, Mapping) or "plan" not in subscription:
        return detail
    return {**detail, "planConfig": subscription["plan"]}


def _or_in_envelope(flat: dict[str, Any]) -> dict[str, Any]:
    """Extend the JSON schema of a detail, so that it also accepts the detail wrapped as `{type, data}`.

    Args:
        flat: The schema of the detail without the wrapping. Its `title` and `description` are moved to the result.
    """
    about = {name: flat.pop(name) for name in ("title", "description")}
    envelope = {"required": ["data"], "not": {"required": ["tenant"]}, "properties": {"data": flat}}
    return {
        **about,
        "anyOf": [{"title": "flat", **flat}, {"title": "in an envelope", "type": "object", **envelope}],
    }


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


class ProvisioningDetail(_Model):
    """The detail of TENANT_PROVISIONING, in any of its three forms.

    Form A is flat: `tenant` and `planConfig` are members of the detail itself. Form B wraps form A as `{type, data}`.
    Form C is sent by the control plane's own library. It is flat, and has `secret`, `context` and `subscription`. In
    form C, the plan is not in `planConfig`, but in `subscription.plan`.
    """

    tenant: _SentTenant
    plan_config: PlanConfig
    builder_config: BuilderConfig | None = None
    app_config: Any = None
    subscription: dict[str, Any] | None = None
    secret: str | None = None
    context: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_form(cls, detail: Any) -> Any:
        detail = _with_plan(unwrapped(detail))
        if isinstance(detail, Mapping) and detail.get("planConfig") is None and "subscription" in detail:
            raise PydanticCustomError("plan_missing", "planConfig and subscription.plan are both missing")
        return detail

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe all three forms of the detail. Pydantic's own schema would describe only form A."""
        flat = handler(core_schema)
        plan = flat["properties"]["planConfig"]
        subscription = {"type": "object", "required": ["plan"], "properties": {"plan": plan}}
        flat["required"].remove("planConfig")
        flat["properties"]["planConfig"] = _or_null(plan)
        flat["anyOf"] = [
            {"required": ["planConfig"], "properties": {"planConfig": {"type": "object"}}},
            {
                "required": ["subscription"],
                "properties": {"planConfig": {"type": "null"}, "subscription": subscription},
            },
        ]
        return _or_in_envelope(flat)


class DeprovisioningDetail(_Model):
    """The detail of TENANT_DEPROVISIONING.

    It has one of the forms of `ProvisioningDetail`, but only `tenant` or `tenantId` is required.
    """

    tenant: _SentTenant
    plan_config: PlanConfig | None = None
    builder_config: BuilderConfig | None = None
    subscription: dict[str, Any] | None = None
    secret: str | None = None
    context: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_form(cls, detail: Any) -> Any:
        detail = _with_plan(unwrapped(detail))
        if isinstance(detail, Mapping) and "tenant" not in detail and "tenantId" in detail:
            return {**detail, "tenant": {"id": detail["tenantId"]}}
        return detail

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe all forms of the detail.

        Pydantic's own schema would describe only a detail that contains `tenant` and is not wrapped as `{type, data}`.
        """
        flat = handler(core_schema)
        del flat["required"]
        by_id = {"required": ["tenantId"], "properties": {"tenantId": {"type": "string", "minLength": 1}}}
        wrapped = {"required": ["data"], "properties": {"data": {"type": "object"}}}
        has_plan = {"required": ["planConfig"], "properties": {"planConfig": {"type": "object"}}}
        subscription = {"properties": {"plan": flat["properties"]["planConfig"]}}
        flat["allOf"] = [
            {"anyOf": [{"required": ["tenant"]}, {**by_id, "not": wrapped}]},
            {"anyOf": [has_plan, {"properties": {"subscription": subscription}}]},
        ]
        return _or_in_envelope(flat)


def _flag(value: Any) -> Any:
    if value not in ("0", "1", None):
        raise PydanticCustomError("flag", 'it must be "0" or "1"')
    return value


_Flag: TypeAlias = Annotated[str | None, BeforeValidator(_flag), WithJsonSchema({"enum": ["0", "1", None]})]


class BuildDetail(_Model):
    """The detail of TENANT_DEPLOYMENT and of the `…_SUCCESS` and `…_FAILURE` events: a run's variables, by name.

    If the run itself sends the event, these are all environment variables of its process. Use only the fields that this
    model declares, and treat all other variables as secret.
    """

    tenant: _SentTenant
    secret: str | None = None
    context: str | None = None
    tier: str | None = None
    reason: str | None = None
    api_endpoint: Annotated[str | None, Field(alias="API_ENDPOINT")] = None
    build_succeeding: Annotated[_Flag, Field(alias="CODEBUILD_BUILD_SUCCEEDING")] = None
    build_id: Annotated[str | None, Field(alias="CODEBUILD_BUILD_ID")] = None
    build_url: Annotated[str | None, Field(alias="BUILD_URL")] = None
    state_bucket: Annotated[str | None, Field(alias="TF_STATE_BUCKET")] = None
    state_key: Annotated[str | None, Field(alias="TF_KEY")] = None
    app_plane_url: Annotated[str | None, Field(alias="APP_PLANE_REDIRECT_URL")] = None
    user_callback_endpoint: Annotated[str | None, Field(alias="USER_CALLBACK_ENDPOINT")] = None

    _as_sent: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_as_sent(cls, detail: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        model = validate(detail)
        if isinstance(detail, Mapping):
            model._as_sent = detail
        return model

    @property
    def as_sent(self) -> Mapping[str, Any]:
        """The mapping that this model was created from, with all variables, to pass on to the next event or job."""
        return self._as_sent

    @property
    def has_failed(self) -> bool:
        """Whether the variable `CODEBUILD_BUILD_SUCCEEDING` says that the build failed.

        A failed build may still send an event whose type ends in `_SUCCESS`. That event is handled as a failure.
        """
        return self.build_succeeding == "0"

    @property
    def build(self) -> str | None:
        """The id of a CodeBuild build, or the URL of a Jenkins build or of an execution; `None` if neither is known."""
        return self.build_id or self.build_url


DETAIL_MODELS: Mapping[EventType, type[BaseModel]] = MappingProxyType(
    {
        EventType.TENANT_PROVISIONING: ProvisioningDetail,
        EventType.TENANT_PROVISIONING_SUCCESS: BuildDetail,
        EventType.TENANT_PROVISIONING_FAILURE: BuildDetail,
        EventType.TENANT_DEPLOYMENT: BuildDetail,
        EventType.TENANT_DEPLOYMENT_SUCCESS: BuildDetail,
        EventType.TENANT_DEPLOYMENT_FAILURE: BuildDetail,
        EventType.TENANT_DEPROVISIONING: DeprovisioningDetail,
        EventType.TENANT_DEPROVISIONING_SUCCESS: BuildDetail,
        EventType.TENANT_DEPROVISIONING_FAILURE: BuildDetail,
    }
)
"""The model of each event type's detail, for annotations such as `Event[BuildDetail]`."""


def given_variables(detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """Merge the members of a detail with the members of its `builderConfig.config.environmentOverride`.

    If a name occurs in both, the value at the top level of the detail is used. If that value is null or an empty
    string, the value in `environmentOverride` is used instead.

    Args:
        detail: A detail as received, which may be wrapped as `{type, data}`. A tenant record has the same members and
            may be given instead.
    """
    inner = unwrapped(detail)
    override = inner
    for name in ("builderConfig", "config", "environmentOverride"):
        override = override.get(name) if isinstance(override, Mapping) else None
    given = override if isinstance(override, Mapping) else {}
    own = {name: value for name, value in inner.items() if value not in (None, "") or name not in given}
    return {**given, **own}


def find_tier(detail: Mapping[str, Any]) -> str | None:
    """Read the name of the plan's tier from any event's detail.

    The name is `planConfig.tier`. If `planConfig` is missing or null, the name is `subscription.plan.tier`. The detail
    may be wrapped as `{type, data}`.

    Returns:
        The name. `None` if the name is missing, empty or not a string.
    """
    inner = _with_plan(unwrapped(detail))
    plan = inner.get("planConfig")
    tier = plan.get("tier") if isinstance(plan, Mapping) else None
    return tier if isinstance(tier, str) and tier else None


def find_tenant_id(detail: Mapping[str, Any]) -> str | None:
    """Read the tenant's id from any event's detail.

    If the detail's `tenant` is a JSON object, or a string that contains one, the id is that object's `id`. Otherwise,
    the id is the detail's `tenantId`. The detail may be wrapped as `{type, data}`.

    Returns:
        The id. `None` if the id is missing, empty or not a string, or if it contains half of a surrogate pair.
    """
    inner = unwrapped(detail)
    tenant = inner.get("tenant")
    if isinstance(tenant, str):
        try:
            tenant = json.loads(tenant)
        except (ValueError, RecursionError):
            tenant = None
    found = tenant.get("id") if isinstance(tenant, Mapping) else inner.get("tenantId")
    # The text in `tenant` was not checked with the rest of the event, and may contain what no service can hold.
    return found if isinstance(found, str) and found and is_whole(found) else None
