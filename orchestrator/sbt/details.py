"""Defines the model of a request from the control plane of AWS SaaS Builder Toolkit (SBT)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class RequestDetail(BaseModel):
    """The detail of `onboardingRequest` and of `offboardingRequest`: a flat object.

    It contains the members that the tenant was registered with. Members that are not declared here are kept, too. The
    model's `repr` shows no values, because they may be personal data.
    """

    model_config = ConfigDict(defer_build=True, extra="allow", frozen=True, hide_input_in_errors=True)

    tenant_registration_id: Annotated[str, Field(alias="tenantRegistrationId", min_length=1)]
    tenant_id: Annotated[str, Field(alias="tenantId", min_length=1)]
    tier: Annotated[str, Field(min_length=1)] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    __str__ = __repr__
