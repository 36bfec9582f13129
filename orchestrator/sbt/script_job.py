"""Describes a job's input and output variables, as the construct `ScriptJob` of AWS SaaS Builder Toolkit does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.builders.variables import is_name
from orchestrator.ending_event import Ended
from orchestrator.errors import ConfigurationError, shown
from orchestrator.sbt.reserved_words import is_reserved
from orchestrator.values.text import to_json

REGISTRATION_ID = "tenantRegistrationId"
REGISTRATION_STATUS = "registrationStatus"
"""Member of a registration's data: how far the registration is. The first value is `In progress`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptJob:
    """The input variables that a job takes from a request of SBT's control plane, and the job's output variables.

    An input variable is left out if the request's detail has no member with its name. An output variable is left out if
    the run has no variable with its name.

    Attributes:
        string_variables: Members of the request's detail that become job variables, as text. In SBT's construct, this
            is `environmentStringVariablesFromIncomingEvent`.
        json_variables: Members of the request's detail that become job variables, as JSON. In SBT's construct, this is
            `environmentJSONVariablesFromIncomingEvent`.
        tenant_data: Variables of the run that are stored in the tenant's data. In SBT's construct, this is
            `environmentVariablesToOutgoingEvent.tenantData`.
        tenant_registration_data: Variables of the run that are stored in the data of the tenant's registration. In
            SBT's construct, this is `environmentVariablesToOutgoingEvent.tenantRegistrationData`.
        failure_status: The registration's `registrationStatus` after a failure.

    Raises:
        ConfigurationError: A name is not valid for a variable, `tenant_data` contains a reserved word of DynamoDB, or
            `tenant_registration_data` contains `tenantRegistrationId`. Or `registrationStatus` is an input variable:
            its old value would then be a variable of the run, and be stored as the new value.
    """

    string_variables: Sequence[str] = ()
    json_variables: Sequence[str] = ()
    tenant_data: Sequence[str] = ()
    tenant_registration_data: Sequence[str] = (REGISTRATION_STATUS,)
    failure_status: str = "failed"

    def __post_init__(self) -> None:
        for member in ("string_variables", "json_variables", "tenant_data", "tenant_registration_data"):
            names = getattr(self, member)
            if isinstance(names, str) or not all(map(is_name, names)):
                raise ConfigurationError(
                    f"{member} of a ScriptJob must be a list of variables' names: letters, digits and underscores"
                )
        for name in filter(is_reserved, self.tenant_data):
            raise ConfigurationError(
                f"tenant_data of a ScriptJob has {shown(name)}, a reserved word of DynamoDB, with which SBT's control "
                "plane cannot update a tenant; let the job export the value under another name"
            )
        if REGISTRATION_ID in self.tenant_registration_data:
            raise ConfigurationError(
                f"tenant_registration_data of a ScriptJob has {REGISTRATION_ID}, the registration's key, which cannot "
                "be changed; remove it"
            )
        if REGISTRATION_STATUS in (*self.string_variables, *self.json_variables):
            raise ConfigurationError(
                f"a ScriptJob passes {REGISTRATION_STATUS} to the job, which would give it back unchanged; remove it "
                "from string_variables or json_variables"
            )

    def variables(self, detail: Mapping[str, Any]) -> dict[str, Any]:
        """Return the job's input variables for a request with this detail."""
        strings = {name: detail[name] for name in self.string_variables if name in detail}
        return {**strings, **{name: to_json(detail[name]) for name in self.json_variables if name in detail}}

    def output(self, ended: Ended, success_status: str) -> dict[str, Any]:
        """Return `jobOutput`: the data with which the control plane updates the tenant and its registration.

        After a failure, the data contain only the `registrationStatus`, with the value `failure_status`.

        Args:
            ended: How the job ended.
            success_status: The `registrationStatus` after a success, unless `tenant_registration_data` contains
                `registrationStatus` and the run has a variable of this name that is not empty.
        """
        if not ended.succeeded:
            return {"tenantData": {}, "tenantRegistrationData": {REGISTRATION_STATUS: self.failure_status}}
        registration = dict(_known(ended.variables, self.tenant_registration_data))
        status = registration.get(REGISTRATION_STATUS) or success_status
        return {
            "tenantData": dict(_known(ended.variables, self.tenant_data)),
            "tenantRegistrationData": {**registration, REGISTRATION_STATUS: status},
        }


def _known(variables: Mapping[str, str], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((name, variables[name]) for name in names if name in variables)
