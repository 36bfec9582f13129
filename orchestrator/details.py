"""What the details of the lifecycle's events look like."""

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
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from orchestrator.event import EventType
from orchestrator.values.limits import TOO_MANY_DIGITS


class _Model(BaseModel):
    """Keeps unknown fields, and keeps its values out of `repr`: a detail may hold secrets anywhere."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        defer_build=True,  # a function needs a few of these models at its start, and never all
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


_Status: TypeAlias = Annotated[Any, AfterValidator(_number_or_text)]


class Contact(_Model):
    """A person to speak to at a tenant."""

    id: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    is_primary: Any = None
    type: str | None = None
    tenant_id: str | None = None


class Tenant(_Model):
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
    """What a plan sets a feature to."""

    value: Any = None


class Feature(_Model):
    """A feature of a plan: its value where the plan sets one, else its default."""

    key: str
    default_value: Any = None
    value: FeatureValue | None = None

    def effective_value(self) -> Any:
        """Give the value that counts.

        Returns:
            The plan's value, or the default where the plan has none or null.
        """
        if self.value is not None and self.value.value is not None:
            return self.value.value
        return self.default_value


class PlanConfig(_Model):
    """The plan that a tenant has subscribed to."""

    tier: _Name
    features: list[Feature] | None = None
    size_config: dict[str, Any] | None = None


class BuilderSettings(_Model):
    """What an event asks of the build system."""

    environment_override: dict[str, Any] | None = None


class BuilderConfig(_Model):
    """Which build system an event asks for."""

    type: _Name | None = None
    config: BuilderSettings | None = None


def unwrapped(detail: Any) -> Any:
    """Take a detail out of its envelope.

    Args:
        detail: A detail as it came: flat, or of shape B, which is `{type, data}`.

    Returns:
        The flat detail.
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
        raise PydanticCustomError("tenant_json", "it must be an object, or a text that holds one as JSON") from None
    except ValueError:
        raise PydanticCustomError("tenant_digits", f"it holds {TOO_MANY_DIGITS}") from None


_SentTenant: TypeAlias = Annotated[Tenant, BeforeValidator(_json_object)]


def _with_plan(detail: Any) -> Any:
    """Let `subscription.plan` play the part of `planConfig` where that is missing."""
    if not isinstance(detail, Mapping) or detail.get("planConfig") is not None:
        return detail
    subscription = detail.get("subscription")
    if not isinstance(subscription, Mapping) or "plan" not in subscription:
        return detail
    return {**detail, "planConfig": subscription["plan"]}


class ProvisioningDetail(_Model):
    """The detail of TENANT_PROVISIONING, in any of its three shapes.

    Shape A is flat, B wraps it as `{type, data}`, C comes from the control plane's own library and has a
    `subscription` whose `plan` is the `planConfig`; `secret` and `context` belong to shape C.
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
    def _one_shape(cls, detail: Any) -> Any:
        detail = _with_plan(unwrapped(detail))
        if isinstance(detail, Mapping) and detail.get("planConfig") is None and "subscription" in detail:
            raise PydanticCustomError("plan_missing", "subscription.plan is missing, and so is planConfig")
        return detail


class DeprovisioningDetail(_Model):
    """The detail of TENANT_DEPROVISIONING, in any of the three shapes of TENANT_PROVISIONING, or the tenant alone."""

    tenant: _SentTenant
    plan_config: PlanConfig | None = None
    builder_config: BuilderConfig | None = None
    subscription: dict[str, Any] | None = None
    secret: str | None = None
    context: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_shape(cls, detail: Any) -> Any:
        detail = _with_plan(unwrapped(detail))
        if isinstance(detail, Mapping) and "tenant" not in detail and "tenantId" in detail:
            return {**detail, "tenant": {"id": detail["tenantId"]}}
        return detail


def _flag(value: Any) -> Any:
    if value not in ("0", "1", None):
        raise PydanticCustomError("flag", 'it must be "0" or "1"')
    return value


class BuildDetail(_Model):
    """The detail that a build job sends: its whole process environment, a flat map of text.

    Only the fields named here are meant to be used; everything else is kept and is to be treated as secret.
    """

    tenant: _SentTenant
    secret: str | None = None
    context: str | None = None
    tier: str | None = None
    reason: str | None = None
    api_endpoint: Annotated[str | None, Field(alias="API_ENDPOINT")] = None
    build_succeeding: Annotated[str | None, BeforeValidator(_flag), Field(alias="CODEBUILD_BUILD_SUCCEEDING")] = None
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
        """The detail unchanged, to pass on."""
        return self._as_sent

    @property
    def has_failed(self) -> bool:
        """Whether the build says that it failed, whatever the type of its event says."""
        return self.build_succeeding == "0"

    @property
    def build(self) -> str | None:
        """Which build it was: a CodeBuild build's id, or a Jenkins build's address."""
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
"""The model of each type's detail, for `Event[...]` annotations."""


def given_variables(detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """Put together what a detail says of a tenant's job, wherever it says so.

    Args:
        detail: A detail as it came, of any shape, or a stored tenant record.

    Returns:
        The entries of `builderConfig.config.environmentOverride`, the detail's own on top.
    """
    inner = unwrapped(detail)
    override = inner
    for name in ("builderConfig", "config", "environmentOverride"):
        override = override.get(name) if isinstance(override, Mapping) else None
    given = override if isinstance(override, Mapping) else {}
    own = {name: value for name, value in inner.items() if value not in (None, "") or name not in given}
    return {**given, **own}


def find_tier(detail: Mapping[str, Any]) -> str | None:
    """Look for the tier of a tenant's plan in any detail, known or not.

    Args:
        detail: An event's detail as it came.

    Returns:
        `planConfig.tier`, else `subscription.plan.tier`, wrapped as `{type, data}` or not; `None` where there is
        neither.
    """
    inner = _with_plan(unwrapped(detail))
    plan = inner.get("planConfig")
    tier = plan.get("tier") if isinstance(plan, Mapping) else None
    return tier if isinstance(tier, str) and tier else None


def find_tenant_id(detail: Mapping[str, Any]) -> str | None:
    """Look for the tenant's id in any detail, known or not.

    Args:
        detail: An event's detail as it came.

    Returns:
        `tenant.id` (`tenant` an object or JSON text, wrapped as `{type, data}` or not), else `tenantId`;
        `None` where there is neither.
    """
    inner = unwrapped(detail)
    tenant = inner.get("tenant")
    if isinstance(tenant, str):
        try:
            tenant = json.loads(tenant)
        except (ValueError, RecursionError):
            tenant = None
    found = tenant.get("id") if isinstance(tenant, Mapping) else inner.get("tenantId")
    return found if isinstance(found, str) and found else None
