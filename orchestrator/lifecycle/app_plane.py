"""Opt-in: sets up a deployed tenant in the application plane before the control plane hears that it is deployed.

The consumers of `registry` take the place of the built-in ones of the same names. They send what the reference sandbox
sends (`tenant-deployment.handler.ts` of https://github.com/sourcefuse/arc-saas-sandbox), but ask for the first user's
id before anything else, and send the status webhook only after all of it has succeeded.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from orchestrator.action import Action, FromAnswer, SendCallback, UpdateTenant
from orchestrator.consumer import Context
from orchestrator.details import BuildDetail, Contact
from orchestrator.errors import ConfigurationError, InvalidEvent, shown
from orchestrator.event import Event, EventType
from orchestrator.lifecycle import deployment
from orchestrator.lifecycle.status import TenantStatus
from orchestrator.lifecycle.webhook import WEBHOOK
from orchestrator.registry import Registry
from orchestrator.values.limits import MAX_DIGITS, TOO_MANY_DIGITS

FEATURE_SERVICE = "APP_PLANE_ENDPOINT_FEATURE_SERVICE"
USER_SERVICE = "USER_CALLBACK_ENDPOINT"

AUTH_ID = "authId"
"""The first user's id at the identity provider; empty where the tenant's has none to give."""

_SET_UP = "application plane"
_NUMBERS = {
    "accessTokenExpiration": "ACCESS_TOKEN_EXPIRATION",
    "refreshTokenExpiration": "REFRESH_TOKEN_EXPIRATION",
    "authCodeExpiration": "AUTH_CODE_EXPIRATION",
}

registry = Registry()


@registry.consumer(
    EventType.TENANT_DEPLOYMENT,
    failure_type=EventType.TENANT_DEPLOYMENT_FAILURE,
    leads_to=[EventType.TENANT_DEPLOYMENT_SUCCESS, _SET_UP, WEBHOOK],
)
def deploy_tenant(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Decide as the built-in consumer does; where that ends in the webhook, set the application plane up before it.

    Args:
        event: A TENANT_DEPLOYMENT event; its detail names the services that there are.
        context: Gives the tenant's record, which holds the plan.

    Returns:
        The actions of `deployment.deploy_tenant`, with those of the set-up before the webhook that says DEPLOYED.

    Raises:
        ConfigurationError: The webhook's path does not hold `webhook`, in whose place `manage/users` is called; or as
            `deployment.deploy_tenant`.
        InvalidEvent: A number of the detail is too long; or as `deployment.deploy_tenant`.
    """
    return _with_set_up(deployment.deploy_tenant(event, context), event, context)


@registry.consumer(EventType.TENANT_DEPLOYMENT_SUCCESS, leads_to=[_SET_UP, WEBHOOK])
def handle_deployment_success(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Set up what the deployment job has deployed, and then do what the built-in consumer does; see `deploy_tenant`."""
    return _with_set_up(deployment.handle_deployment_success(event, context), event, context)


def _with_set_up(decision: Sequence[Action], event: Event[BuildDetail], context: Context) -> list[Action]:
    if not _is_deployed(decision):
        return list(decision)
    *before, webhook = decision
    tenant = f"tenant {shown(event.detail.tenant.id)}"
    if not any(event.detail.as_sent.get(name) for name in (FEATURE_SERVICE, USER_SERVICE)):
        context.logger.info(f"{tenant}: the event names no service of the application plane")
        return list(decision)
    if not isinstance(webhook, SendCallback) or webhook.missing is not None:
        context.logger.warning(f"{tenant}: the application plane was not set up, for the status webhook cannot be sent")
        return list(decision)
    return [*before, *_set_up(event.detail, webhook, context), webhook]


def _is_deployed(decision: Sequence[Action]) -> bool:
    return any(isinstance(action, UpdateTenant) and action.status == TenantStatus.DEPLOYED for action in decision)


def _set_up(detail: BuildDetail, webhook: SendCallback, context: Context) -> list[Action]:
    """Make the service callbacks: to the control plane for the first user's id, then to the services that there are."""
    features, users = (detail.as_sent.get(name) for name in (FEATURE_SERVICE, USER_SERVICE))
    secret = webhook.secret
    plan = (context.tenants.get(detail.tenant.id) or {}).get("planConfig")
    tenant_and_plan = _known({"tenant": _tenant(detail), "plan": plan})
    callbacks: list[Action] = []
    if users:
        callbacks.append(
            SendCallback(
                url=_users_address(detail, webhook.url),
                body=tenant_and_plan,
                secret=secret,
                allowed_hosts=webhook.allowed_hosts,
                once_per=_once_per("user id", webhook),
                keeps=[AUTH_ID],
            )
        )
    if features:
        address = f"{str(features).rstrip('/')}/bootstrap"
        once_per = _once_per("features", webhook)
        callbacks.append(SendCallback(url=address, body=tenant_and_plan, secret=secret, once_per=once_per))
    if users:
        # The variable holds the address for users to come; the first is set up beside it.
        address = str(users).replace("user-callback", "bootstrap")
        once_per = _once_per("first user", webhook)
        callbacks.append(SendCallback(url=address, body=_first_user(detail, secret), secret=secret, once_per=once_per))
    return callbacks


def _once_per(part: str, webhook: SendCallback) -> str | None:
    """Say what a callback is sent once for: the same as the webhook, however many events lead to that."""
    return None if webhook.once_per is None else f"{part} before {webhook.once_per}"


def _users_address(detail: BuildDetail, webhook: str) -> str:
    try:
        parts = urlsplit(webhook)
    except ValueError:
        return webhook  # refused as the webhook's own address is
    before, found, after = parts.path.rpartition("webhook")
    if not found:
        raise ConfigurationError(
            f"tenant {shown(detail.tenant.id)}: the status webhook's path does not hold 'webhook', in whose place "
            "manage/users is called; correct API_ENDPOINT, CONTROL_PLANE_HOST or CALLBACK_URL"
        )
    return urlunsplit(parts._replace(path=f"{before}manage/users{after}"))


def _first_user(detail: BuildDetail, secret: str) -> dict[str, Any]:
    tenant = _tenant(detail)
    person = (tenant.get("contacts") or [{}])[0]
    sent = detail.as_sent
    client = {
        "clientId": sent.get("CLIENT_ID"),
        "clientSecret": sent.get("CLIENT_SECRET"),
        "redirectUrl": detail.app_plane_url,
        "secret": secret,
        **{name: _number(variable, sent.get(variable)) for name, variable in _NUMBERS.items()},
    }
    user = {
        "tenant": tenant,
        **{name: person.get(name) for name in ("email", "phone", "username")},
        "tenantName": detail.tenant.name,
        "tenantKey": detail.tenant.key,
        **{name: person.get(name) for name in ("firstName", "lastName", "middleName")},
        AUTH_ID: FromAnswer(AUTH_ID),
        "authClient": _known(client),
    }
    return _known(user)


def _tenant(detail: BuildDetail) -> dict[str, Any]:
    """Write the tenant with its primary contact first: the control plane takes the first for the first user."""
    tenant = detail.tenant
    if tenant.contacts:
        tenant = tenant.model_copy(update={"contacts": sorted(tenant.contacts, key=_is_secondary)})
    return tenant.model_dump(by_alias=True, exclude_unset=True)


def _is_secondary(contact: Contact) -> bool:
    return contact.is_primary is not True


def _number(variable: str, text: Any) -> int | None:
    if not isinstance(text, str) or not text.isascii() or not text.isdigit():
        return None
    if len(text) > MAX_DIGITS:
        raise InvalidEvent(f"detail.{variable} is {TOO_MANY_DIGITS}; correct the sender")
    return int(text)


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    # JSON.stringify leaves out what is undefined.
    return {name: value for name, value in values.items() if value is not None}
