"""Opt-in consumers that set a deployed tenant up in the application plane before they send the status webhook.

The application plane is the software that the tenants use. These consumers replace built-in consumers of the same
names. They send the callbacks of `tenant-deployment.handler.ts` in https://github.com/sourcefuse/arc-saas-sandbox, but
in another order. The callback that requests the first user's id comes first. The status webhook comes last, and is sent
only if all other callbacks have succeeded.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from orchestrator.action import Action, FromAnswer, SendCallback, UpdateTenant
from orchestrator.consumer import Context
from orchestrator.details import BuildDetail, Contact
from orchestrator.ending_event import EndingEvent
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
"""Name of the JSON member with the first user's id at the identity provider. The id is empty if there is none."""

_SET_UP = "application plane"
_NUMBERS = {
    "accessTokenExpiration": "ACCESS_TOKEN_EXPIRATION",
    "refreshTokenExpiration": "REFRESH_TOKEN_EXPIRATION",
    "authCodeExpiration": "AUTH_CODE_EXPIRATION",
}

registry = Registry()


@registry.consumer(EventType.TENANT_DEPLOYMENT, ending=EndingEvent(), leads_to=[_SET_UP, WEBHOOK])
def deploy_tenant(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Return the actions of the built-in `deployment.deploy_tenant`, with callbacks added.

    The built-in consumer sets the status `DEPLOYED` if the tier has no deployment job. In this case, the callbacks that
    set the tenant up in the application plane (see `_set_up`) are inserted before the status webhook. They are left out
    if the event's detail has neither `APP_PLANE_ENDPOINT_FEATURE_SERVICE` nor `USER_CALLBACK_ENDPOINT`, or if the
    status webhook cannot be sent.

    Raises:
        ConfigurationError: The built-in consumer raised this error. Or the detail has `USER_CALLBACK_ENDPOINT`, but the
            path of the status webhook's address does not contain `webhook`. To request the first user's id, this part
            of the path is replaced by `manage/users`.
        InvalidEvent: The built-in consumer raised this error. Or the detail has `USER_CALLBACK_ENDPOINT`, and an
            expiration time in the detail, such as `ACCESS_TOKEN_EXPIRATION`, has too many digits.
    """
    return _with_set_up(deployment.deploy_tenant(event, context), event, context)


@registry.consumer(EventType.TENANT_DEPLOYMENT_SUCCESS, leads_to=[_SET_UP, WEBHOOK])
def handle_deployment_success(event: Event[BuildDetail], context: Context) -> list[Action]:
    """Return the actions of the built-in `deployment.handle_deployment_success`, with callbacks added.

    If the build succeeded, the same callbacks are added as by this module's `deploy_tenant`, and left out in the same
    cases.

    Raises:
        ConfigurationError: The path of the status webhook's address does not contain `webhook` (see `deploy_tenant`).
        InvalidEvent: An expiration time in the detail has too many digits (see `deploy_tenant`).
    """
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
        context.logger.warning(
            f"{tenant}: the application plane was not set up, because the status webhook cannot be sent"
        )
        return list(decision)
    return [*before, *_set_up(event.detail, webhook, context), webhook]


def _is_deployed(decision: Sequence[Action]) -> bool:
    return any(isinstance(action, UpdateTenant) and action.status == TenantStatus.DEPLOYED for action in decision)


def _set_up(detail: BuildDetail, webhook: SendCallback, context: Context) -> list[Action]:
    """Build the callbacks that set a tenant up in the application plane.

    The event's detail contains the address of a feature service, of a user service, or of both. These are the
    callbacks, in order:

    1. A request to the control plane for the first user's id. It is left out if there is no user service.
    2. A callback to the feature service, if there is one.
    3. A callback to the user service, if there is one. The callback contains the first user's id.

    Args:
        detail: The event's detail.
        webhook: The status webhook. The callbacks are signed with its secret.
        context: The consumer's context.
    """
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
        # The variable holds the address for later users. For the first user, the service has another address.
        address = str(users).replace("user-callback", "bootstrap")
        once_per = _once_per("first user", webhook)
        callbacks.append(SendCallback(url=address, body=_first_user(detail, secret), secret=secret, once_per=once_per))
    return callbacks


def _once_per(part: str, webhook: SendCallback) -> str | None:
    """Derive a callback's `once_per` from the `once_per` of the status webhook.

    Several events may lead to the same callback. The derived value ensures that the callback is sent only once.

    Args:
        part: A name for the callback, such as `features`. No other callback before the same webhook has this name.
        webhook: The status webhook.

    Returns:
        The value for `SendCallback.once_per`. `None` if the status webhook has no `once_per`.
    """
    return None if webhook.once_per is None else f"{part} before {webhook.once_per}"


def _users_address(detail: BuildDetail, webhook: str) -> str:
    try:
        parts = urlsplit(webhook)
    except ValueError:
        return webhook  # a malformed address is refused when the callback is checked
    before, found, after = parts.path.rpartition("webhook")
    if not found:
        raise ConfigurationError(
            f"tenant {shown(detail.tenant.id)}: the status webhook's path does not contain 'webhook', which is "
            "replaced by manage/users; correct API_ENDPOINT, CONTROL_PLANE_HOST or CALLBACK_URL"
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
    """Return the tenant as a JSON object in which the primary contact, if any, is the first of the `contacts`.

    The first of the `contacts` becomes the tenant's first user.
    """
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
    # The sandbox leaves these out, too, because JSON.stringify omits undefined values.
    return {name: value for name, value in values.items() if value is not None}
