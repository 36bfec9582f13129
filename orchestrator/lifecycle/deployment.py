"""Deploys to a provisioned tenant, where its tier has a job for that, and tells the control plane how it went."""

from collections.abc import Mapping
from typing import Any

from orchestrator.action import Action, StartJob
from orchestrator.consumer import Context
from orchestrator.details import BuildDetail
from orchestrator.errors import InvalidEvent, shown
from orchestrator.event import Event, EventType
from orchestrator.lifecycle.status import TenantStatus, reached
from orchestrator.lifecycle.tenant_job import requested_variables, tier_name
from orchestrator.lifecycle.webhook import WEBHOOK, conclude
from orchestrator.registry import Registry
from orchestrator.stores.tiers import builder_name, has_job, job_name

# Of the environment of the build before, which holds that build's own PATH and HOME as well, a deployment gets these.
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


@registry.consumer(
    EventType.TENANT_DEPLOYMENT,
    failure_type=EventType.TENANT_DEPLOYMENT_FAILURE,
    leads_to=[EventType.TENANT_DEPLOYMENT_SUCCESS, WEBHOOK],
)
def deploy_tenant(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Start the tier's deployment job; where it has none, the tenant is deployed.

    Args:
        event: A TENANT_DEPLOYMENT event; its detail is the environment of the build that provisioned the tenant.
        context: Gives the tier's details and the tenant's record, which holds the plan.

    Returns:
        The change of the tenant's record, and then the job, or what `conclude` returns: also where the build that
        provisioned the tenant says that it failed.

    Raises:
        InvalidEvent: Neither the event nor the record names the tier.
        ConfigurationError: The tier is not known.
    """
    detail = event.detail
    if detail.has_failed:  # the build that provisioned the tenant, whose environment this is
        return conclude(event, TenantStatus.PROVISIONING_FAILED, context)
    record = context.tenants.get(detail.tenant.id) or {}
    tier = context.tiers.get(_tier(event, record))
    if not has_job(tier, event.type):
        return conclude(event, TenantStatus.DEPLOYED, context, record=record)
    return [reached(event, TenantStatus.DEPLOYING, record), _job(event, tier, record)]


@registry.consumer(EventType.TENANT_DEPLOYMENT_SUCCESS, leads_to=[WEBHOOK])
def handle_deployment_success(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Note that the tenant is deployed, or that its build says the contrary, and send that; see `conclude`."""
    failed = event.detail.has_failed
    return conclude(event, TenantStatus.DEPLOYMENT_FAILED if failed else TenantStatus.DEPLOYED, context)


@registry.consumer(EventType.TENANT_DEPLOYMENT_FAILURE, leads_to=[WEBHOOK])
def handle_deployment_failure(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Note why the tenant could not be deployed, and send that to the control plane; see `conclude`."""
    return conclude(event, TenantStatus.DEPLOYMENT_FAILED, context)


def _tier(event: Event[BuildDetail], record: Mapping[str, Any]) -> str:
    tier = tier_name(event.detail, record)
    if tier is None:
        raise InvalidEvent(
            f"{shown(event.type)} event {shown(event.id)}: detail.tier is missing, and tenant "
            f"{shown(event.detail.tenant.id)} has no record that names its tier; add it to the detail"
        )
    return tier


def _job(event: Event[BuildDetail], tier: Mapping[str, Any], record: Mapping[str, Any]) -> StartJob:
    plan, builder = (record.get(name) or {} for name in ("planConfig", "builderConfig"))
    requested = requested_variables(record, tier)
    sent = {name: event.detail.as_sent[name] for name in PASSED_ON if event.detail.as_sent.get(name) is not None}
    return StartJob(
        name=job_name(tier, event.type),
        builder=builder.get("type") or builder_name(tier),
        trusted_variables={**tier, **requested.admitted},
        variables={**requested.others, **({"planConfig": plan} if plan else {}), **sent},
        tenant_id=event.detail.tenant.id,
    )
