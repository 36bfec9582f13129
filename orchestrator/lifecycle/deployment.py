"""Starts the deployment job of a provisioned tenant, and reports to the control plane how the deployment ended.

If the tenant's tier has no deployment job, the deployment counts as succeeded.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.action import Action, StartJob
from orchestrator.consumer import Context
from orchestrator.details import BuildDetail
from orchestrator.ending_event import EndingEvent
from orchestrator.errors import InvalidEvent, shown
from orchestrator.event import Event, EventType
from orchestrator.lifecycle.status import TenantStatus, reached
from orchestrator.lifecycle.tenant_job import requested_variables, tier_name
from orchestrator.lifecycle.webhook import WEBHOOK, conclude
from orchestrator.registry import Registry
from orchestrator.stores.tiers import builder_name, has_job, job_name, slot_of

# Variables that the deployment job gets from the provisioning build. The rest of that build's environment, such as its
# PATH and HOME, is not passed on.
PASSED_ON = (
    "tenant",
    "secret",
    "context",
    "API_ENDPOINT",
    "TF_STATE_BUCKET",
    "TF_KEY",
    "APP_PLANE_REDIRECT_URL",
    "APP_PLANE_ENDPOINT_FEATURE_SERVICE",
    "USER_CALLBACK_ENDPOINT",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "ACCESS_TOKEN_EXPIRATION",
    "REFRESH_TOKEN_EXPIRATION",
    "AUTH_CODE_EXPIRATION",
)

registry = Registry()


@registry.consumer(EventType.TENANT_DEPLOYMENT, ending=EndingEvent(), leads_to=[WEBHOOK])
def deploy_tenant(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Start the tier's deployment job. If the tier has no deployment job, the tenant counts as deployed.

    Args:
        event: A TENANT_DEPLOYMENT event. Its detail is the environment of the build that provisioned the tenant.

    Returns:
        Normally, the actions that update the tenant's status and start the job. If the tier has no deployment job, or
        if the provisioning build failed, the actions that update the status and send the status webhook (see
        `conclude`).

    Raises:
        InvalidEvent: Neither the event nor the tenant record names the tier, or the tenant record requests a variable
            that the tier does not allow.
        ConfigurationError: The tier is unknown, or an attribute of the tier is malformed.
    """
    detail = event.detail
    if detail.has_failed:  # the detail is that of the provisioning build
        return conclude(event, TenantStatus.PROVISIONING_FAILED, context)
    record = context.tenants.get(detail.tenant.id) or {}
    tier = context.tiers.get(_tier(event, record))
    if not has_job(tier, event.type):
        return conclude(event, TenantStatus.DEPLOYED, context, record=record)
    return [reached(event, TenantStatus.DEPLOYING, record), _job(event, tier, record)]


@registry.consumer(EventType.TENANT_DEPLOYMENT_SUCCESS, leads_to=[WEBHOOK])
def handle_deployment_success(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Set the tenant's status to DEPLOYED, and send the status webhook.

    If the detail says that the build failed, the event is handled as TENANT_DEPLOYMENT_FAILURE. See `conclude` for the
    webhook's address and signature.
    """
    failed = event.detail.has_failed
    return conclude(event, TenantStatus.DEPLOYMENT_FAILED if failed else TenantStatus.DEPLOYED, context)


@registry.consumer(EventType.TENANT_DEPLOYMENT_FAILURE, leads_to=[WEBHOOK])
def handle_deployment_failure(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Set the tenant's status to DEPLOYMENT_FAILED, and send the status webhook.

    See `conclude` for the webhook's address and signature.
    """
    return conclude(event, TenantStatus.DEPLOYMENT_FAILED, context)


def _tier(event: Event[BuildDetail], record: Mapping[str, Any]) -> str:
    tier = tier_name(event.detail, record)
    if tier is None:
        raise InvalidEvent(
            f"{shown(event.type)} event {shown(event.id)}: detail.tier is missing, and tenant "
            f"{shown(event.detail.tenant.id)} has no record that names its tier; add the tier to the detail"
        )
    return tier


def _job(event: Event[BuildDetail], tier: Mapping[str, Any], record: Mapping[str, Any]) -> StartJob:
    plan, builder = (record.get(name) or {} for name in ("planConfig", "builderConfig"))
    requested = requested_variables(record, tier)
    sent = {name: event.detail.as_sent[name] for name in PASSED_ON if event.detail.as_sent.get(name) is not None}
    slot, slots = slot_of(tier, event.type) or (None, None)
    return StartJob(
        name=job_name(tier, event.type),
        builder=builder.get("type") or builder_name(tier),
        trusted_variables={**tier, **requested.admitted},
        variables={**requested.others, **({"planConfig": plan} if plan else {}), **sent},
        tenant_id=event.detail.tenant.id,
        slot=slot,
        slots=slots,
    )
