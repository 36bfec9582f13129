"""Defines the model of the details of SBT's requests."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class RequestDetail(BaseModel):
    """The detail of `onboardingRequest` and of `offboardingRequest`: a flat object.

    The control plane fills it with the members that the tenant was registered with, so most of them are up to its user.
    They are kept. The model's `repr` shows no values, because they may be personal data.
    """

    model_config = ConfigDict(defer_build=True, extra="allow", frozen=True, hide_input_in_errors=True)

    tenant_registration_id: Annotated[str, Field(alias="tenantRegistrationId", min_length=1)]
    tenant_id: Annotated[str, Field(alias="tenantId", min_length=1)]
    tier: Annotated[str, Field(min_length=1)] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    __str__ = __repr__
