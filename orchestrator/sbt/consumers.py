"""Registers the consumers of the requests that the control plane of AWS SaaS Builder Toolkit (SBT) sends.

A further consumer stores in the tenant record how a request ended.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from orchestrator.action import UpdateTenant
from orchestrator.consumer import Context
from orchestrator.details import BuildDetail
from orchestrator.ending_event import Ended, EndingEvent
from orchestrator.errors import InvalidEvent, shown
from orchestrator.event import Event
from orchestrator.lifecycle.status import TenantStatus, failed, reached
from orchestrator.registry import Registry
from orchestrator.run import EVENT_ID_VARIABLE
from orchestrator.sbt.requests import Offboarding, Onboarding
from orchestrator.sbt.script_job import REGISTRATION_ID, ScriptJob
from orchestrator.values.validation import explain

APPLICATION_PLANE = "sbt.application.plane"
"""Source of the application plane's events, unless SBT's `EventManager` is given another one."""

PREFIXES = ("sbt_aws_", "")
"""Prefixes of SBT's event types: `sbt_aws_` since June 2025, none before.

The answer to a request has the same prefix as the request.
"""

ONBOARDING = ScriptJob(
    string_variables=("tenantId", REGISTRATION_ID, "tenantName", "email", "tier"), json_variables=("prices",)
)
OFFBOARDING = ScriptJob(string_variables=("tenantId", REGISTRATION_ID, "tenantName", "email", "tier"))

_STATUSES = {
    "provisionSuccess": TenantStatus.PROVISIONED,
    "provisionFailure": TenantStatus.PROVISIONING_FAILED,
    "deprovisionSuccess": TenantStatus.DEPROVISIONED,
    "deprovisionFailure": TenantStatus.DEPROVISIONING_FAILED,
}


def script_jobs(
    onboarding: ScriptJob = ONBOARDING, offboarding: ScriptJob = OFFBOARDING, *, source: str = APPLICATION_PLANE
) -> Registry:
    """Create a registry with the consumers of SBT's requests to onboard or off-board a tenant, and of the answers.

    Args:
        onboarding: The input and output variables of the jobs that provision tenants.
        offboarding: The input and output variables of the jobs that deprovision tenants.
        source: The source of the events that answer the requests. It must equal the property
            `applicationPlaneEventSource` of the control plane's `EventManager`.
    """
    registry = Registry()
    provision, deprovision = Onboarding(onboarding), Offboarding(offboarding)
    for prefix in PREFIXES:
        registry.consumer(
            f"{prefix}onboardingRequest",
            name=f"{prefix}provision_tenant",
            ending=_ending(f"{prefix}provision", source, provision.answer),
        )(provision.start)
        registry.consumer(
            f"{prefix}offboardingRequest",
            name=f"{prefix}deprovision_tenant",
            ending=_ending(f"{prefix}deprovision", source, deprovision.answer),
        )(deprovision.start)
    registry.consumer(*(prefix + name for prefix in PREFIXES for name in _STATUSES), when=is_own)(store_ending)
    return registry


def is_own(event: Event) -> bool:
    """Whether the event's detail contains `ORCHESTRATOR_EVENT_ID`, as the answers that this package publishes do.

    SBT's own jobs may publish events of the same types, without this variable.
    """
    return EVENT_ID_VARIABLE in event.detail


def store_ending(event: Event[Any], context: Context) -> UpdateTenant:
    """Store in the tenant record how a request ended.

    Args:
        event: The event that answers the request.
        context: The consumer's context.

    Raises:
        InvalidEvent: The event's detail is invalid, for example because it names no tenant.
    """
    try:
        typed: Event[BuildDetail] = replace(event, detail=BuildDetail.model_validate(event.detail))
    except ValidationError as error:
        problems = explain(error, root="detail")
        raise InvalidEvent(f"{shown(event.type)} event {shown(event.id)}: {problems}") from None
    status = _STATUSES[event.type.removeprefix(PREFIXES[0])]
    record = context.tenants.get(typed.detail.tenant.id) or {}
    is_failure = event.type.endswith("Failure")
    return failed(typed, status, record) if is_failure else reached(typed, status, record)


def _ending(verb: str, source: str, detail: Callable[[Ended], dict[str, Any]]) -> EndingEvent:
    return EndingEvent(
        success=f"{verb}Success", failure=f"{verb}Failure", source=source, detail=detail, keeps=(REGISTRATION_ID,)
    )
