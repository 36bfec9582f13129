"""Starts the provisioning job of a tenant, and handles the ending of the job's run."""

from orchestrator.action import Action, PublishEvent, SaveTenant
from orchestrator.consumer import Context
from orchestrator.details import BuildDetail, ProvisioningDetail
from orchestrator.ending_event import EndingEvent
from orchestrator.event import Event, EventType
from orchestrator.lifecycle.status import TenantStatus, reached, record_of, run_of
from orchestrator.lifecycle.tenant_job import tenant_job
from orchestrator.lifecycle.webhook import WEBHOOK, conclude, status_webhook
from orchestrator.registry import Registry

SUCCESS_HANDLER = "saas.tenant.provisioning.success.handler"
"""Source of the published TENANT_DEPLOYMENT event, as in https://github.com/sourcefuse/arc-saas-sandbox."""

registry = Registry()


@registry.consumer(EventType.TENANT_PROVISIONING, ending=EndingEvent())
def start_provisioning_job(event: Event[ProvisioningDetail], context: Context) -> list[Action]:
    """Store the tenant record, then start the provisioning job of the plan's tier.

    Raises:
        ConfigurationError: The tier is unknown, names no provisioning job, or has a malformed attribute.
        InvalidEvent: The event requests a variable that the tier does not allow.
    """
    detail = event.detail
    tier = context.tiers.get(detail.plan_config.tier)
    record = record_of(event, detail, TenantStatus.PROVISIONING)
    return [SaveTenant(tenant_id=detail.tenant.id, record=record), tenant_job(event.type, detail, tier)]


@registry.consumer(EventType.TENANT_PROVISIONING_SUCCESS, leads_to=[EventType.TENANT_DEPLOYMENT, WEBHOOK])
def start_deployment(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Set the tenant's status to PROVISIONED, and publish a TENANT_DEPLOYMENT event with the same detail.

    Several success events may report the ending of one run, and they may lack different values that the status webhook
    needs, such as `secret`. If the success events contain the run's id, only the first of those that lack the same
    values leads to a TENANT_DEPLOYMENT event, and all these TENANT_DEPLOYMENT events together start the deployment job
    only once.

    If the detail says that the build failed, the success event is handled as TENANT_PROVISIONING_FAILURE.
    """
    if event.detail.has_failed:
        return conclude(event, TenantStatus.PROVISIONING_FAILED, context)
    record = context.tenants.get(event.detail.tenant.id) or {}
    run_id, missing = run_of(event), status_webhook(event, TenantStatus.DEPLOYED, context, record=record).missing
    deployment = PublishEvent(
        type=EventType.TENANT_DEPLOYMENT,
        detail=event.detail.as_sent,
        source=SUCCESS_HANDLER,
        once_per=f"deployment after run {run_id}, webhook with {missing}" if run_id and missing else None,
    )
    return [reached(event, TenantStatus.PROVISIONED, record), deployment]


@registry.consumer(EventType.TENANT_PROVISIONING_FAILURE, leads_to=[WEBHOOK])
def handle_provisioning_failure(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Set the tenant's status to PROVISIONING_FAILED, and send the status webhook.

    See `conclude` for the webhook's address and signature.
    """
    return conclude(event, TenantStatus.PROVISIONING_FAILED, context)
