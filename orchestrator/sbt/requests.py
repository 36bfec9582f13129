"""Starts the jobs that the control plane of AWS SaaS Builder Toolkit (SBT) requests.

It also builds the details of the events that answer the requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.action import Action, SaveTenant, StartJob, UpdateTenant
from orchestrator.consumer import Context
from orchestrator.ending_event import Ended
from orchestrator.errors import InvalidEvent, shown
from orchestrator.event import Event, EventType
from orchestrator.lifecycle.status import TenantStatus, status_of
from orchestrator.sbt.details import RequestDetail
from orchestrator.sbt.script_job import REGISTRATION_ID, ScriptJob
from orchestrator.stores.tiers import builder_name, job_name, slot_of


@dataclass(frozen=True, slots=True)
class Onboarding:
    """Handles the requests to onboard a tenant.

    Attributes:
        job: The job's input and output variables.
    """

    job: ScriptJob

    def start(self, event: Event[RequestDetail], context: Context) -> list[Action]:
        """Store the tenant record, then start the provisioning job of the tenant's tier (`jobName`).

        Raises:
            InvalidEvent: The request names no tier.
            ConfigurationError: The tier is unknown, names no provisioning job, or has a malformed attribute.
        """
        detail = _members(event)
        job = _start(self.job, event, EventType.TENANT_PROVISIONING, context)
        return [_saved(event, detail, TenantStatus.PROVISIONING), job]

    def answer(self, ended: Ended) -> dict[str, Any]:
        """Build the detail of `provisionSuccess` or `provisionFailure`, the event that answers the request.

        Raises:
            InvalidEvent: The request has no `tenantRegistrationId`, without which it cannot be answered.
        """
        return _answer(self.job, ended, "created")


@dataclass(frozen=True, slots=True)
class Offboarding:
    """Handles the requests to off-board a tenant.

    Attributes:
        job: The job's input and output variables.
    """

    job: ScriptJob

    def start(self, event: Event[RequestDetail], context: Context) -> list[Action]:
        """Update or create the tenant record, then start the deprovisioning job of the tenant's tier.

        The tier's attribute `deprovisioningJobName` names the job. If the tier does not have this attribute, but
        `jobDeprovisions` is true, the job in `jobName` is started. If the request names no tier, the tenant record's
        tier is used.

        Raises:
            InvalidEvent: Neither the request nor the tenant record names a tier.
            ConfigurationError: The tier is unknown, names no deprovisioning job, or has a malformed attribute.
        """
        record = context.tenants.get(event.detail.tenant_id)
        job = _start(self.job, event, EventType.TENANT_DEPROVISIONING, context, record or {})
        if record is None:
            return [_saved(event, _members(event), TenantStatus.DEPROVISIONING), job]
        changes = status_of(event, TenantStatus.DEPROVISIONING)
        return [UpdateTenant(tenant_id=event.detail.tenant_id, changes=changes, starts=True), job]

    def answer(self, ended: Ended) -> dict[str, Any]:
        """Build the detail of `deprovisionSuccess` or `deprovisionFailure`, the event that answers the request.

        Raises:
            InvalidEvent: The request has no `tenantRegistrationId`, without which it cannot be answered.
        """
        return _answer(self.job, ended, "deleted")


def _members(event: Event[RequestDetail]) -> dict[str, Any]:
    return event.detail.model_dump(by_alias=True, exclude_unset=True)


def _saved(event: Event[RequestDetail], detail: Mapping[str, Any], status: TenantStatus) -> SaveTenant:
    own = {name: value for name, value in status_of(event, status).items() if value is not None}
    return SaveTenant(tenant_id=event.detail.tenant_id, record={**detail, **own})


def _start(
    job: ScriptJob,
    event: Event[RequestDetail],
    job_type: EventType,
    context: Context,
    record: Mapping[str, Any] | None = None,
) -> StartJob:
    """Build the action that starts a job of the tenant's tier.

    Args:
        job: Names the members of the request's detail that become variables of the job.
        event: The request.
        job_type: TENANT_PROVISIONING or TENANT_DEPROVISIONING. The tier names one job for each of these event types.
        context: The consumer's context.
        record: The tenant record, if there is one. Its `tier` is used if the request names no tier.

    Raises:
        InvalidEvent: Neither the request nor the tenant record names a tier.
        ConfigurationError: The tier is unknown, names no such job, or has a malformed attribute.
    """
    name = event.detail.tier or (record or {}).get("tier")
    if not isinstance(name, str) or not name:
        raise InvalidEvent(
            f"{shown(event.type)} event {shown(event.id)}: detail.tier is missing; register tenants with a tier"
        )
    tier = context.tiers.get(name)
    slot, slots = slot_of(tier, job_type) or (None, None)
    return StartJob(
        name=job_name(tier, job_type),
        builder=builder_name(tier),
        trusted_variables=tier,
        variables=job.variables(_members(event)),
        tenant_id=event.detail.tenant_id,
        slot=slot,
        slots=slots,
    )


def _answer(job: ScriptJob, ended: Ended, success_status: str) -> dict[str, Any]:
    registration_id = ended.kept.get(REGISTRATION_ID)
    if not registration_id:  # only if the request had none, so that its job was never started
        raise InvalidEvent(
            f"the control plane cannot be told that its request failed, because detail.{REGISTRATION_ID} is missing or "
            "no text; correct the sender"
        )
    return {REGISTRATION_ID: registration_id, "jobOutput": job.output(ended, success_status)}
