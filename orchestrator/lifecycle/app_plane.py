"""Opt-in: sets up a deployed tenant's features and first user in the application plane, as the reference sandbox does.

Include `registry` to use it. Callbacks go to hosts in `CALLBACK_ALLOWED_HOSTS` only.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.actions import SendCallback
from orchestrator.context import Context
from orchestrator.details import BuildDetail, Contact, given_variables
from orchestrator.errors import InvalidEvent, shown
from orchestrator.event import Event, EventType
from orchestrator.limits import MAX_DIGITS, TOO_MANY_DIGITS
from orchestrator.registry import Registry

FEATURE_SERVICE = "APP_PLANE_ENDPOINT_FEATURE_SERVICE"
USER_SERVICE = "USER_CALLBACK_ENDPOINT"

_NUMBERS = {
    "accessTokenExpiration": "ACCESS_TOKEN_EXPIRATION",
    "refreshTokenExpiration": "REFRESH_TOKEN_EXPIRATION",
    "authCodeExpiration": "AUTH_CODE_EXPIRATION",
}

registry = Registry()


@registry.consumer(EventType.TENANT_DEPLOYMENT, leads_to=["service callbacks"])
def bootstrap_app_plane(event: Event[BuildDetail], context: Context) -> list[SendCallback]:
    """Send the tenant and its plan to the feature service, then its first user to the user service.

    Args:
        event: A TENANT_DEPLOYMENT event; its detail names the services that there are.
        context: Gives the tenant's record, which holds the plan.

    Returns:
        A service callback for each service that the detail names.

    Raises:
        InvalidEvent: Neither the detail nor the record has the secret that signs a callback.
    """
    detail = event.detail
    if detail.has_failed:
        return []
    features, users = (detail.as_sent.get(name) for name in (FEATURE_SERVICE, USER_SERVICE))
    if not features and not users:
        context.logger.info(f"tenant {shown(detail.tenant.id)}: the event names no service of the application plane")
        return []
    record = context.tenants.get(detail.tenant.id) or {}
    secret = detail.secret or given_variables(record).get("secret")
    if not isinstance(secret, str) or not secret:
        raise InvalidEvent(
            f"{shown(event.type)} event {shown(event.id)}: detail.secret is missing, and so it is in the tenant's "
            "record; add it to the detail"
        )
    callbacks = []
    if features:
        body = _known({"tenant": _tenant(detail), "plan": record.get("planConfig")})
        callbacks.append(SendCallback(url=f"{str(features).rstrip('/')}/bootstrap", body=body, secret=secret))
    if users:
        # The variable holds the address for users to come; the first is set up beside it.
        url = str(users).replace("user-callback", "bootstrap")
        callbacks.append(SendCallback(url=url, body=_first_user(detail, secret), secret=secret))
    return callbacks


def _first_user(detail: BuildDetail, secret: str) -> dict[str, Any]:
    contact = _primary(detail)
    person = contact.model_dump(by_alias=True) if contact is not None else {}
    sent = detail.as_sent
    client = {
        "clientId": sent.get("CLIENT_ID"),
        "clientSecret": sent.get("CLIENT_SECRET"),
        "redirectUrl": detail.app_plane_url,
        "secret": secret,
        **{name: _number(variable, sent.get(variable)) for name, variable in _NUMBERS.items()},
    }
    user = {
        "tenant": _tenant(detail),
        **{name: person.get(name) for name in ("email", "phone", "username")},
        "tenantName": detail.tenant.name,
        "tenantKey": detail.tenant.key,
        **{name: person.get(name) for name in ("firstName", "lastName", "middleName")},
        "cognitoAuthId": sent.get("COGNITO_AUTH_ID"),
        "authClient": _known(client),
    }
    return _known(user)


def _tenant(detail: BuildDetail) -> dict[str, Any]:
    return detail.tenant.model_dump(by_alias=True, exclude_unset=True)


def _primary(detail: BuildDetail) -> Contact | None:
    contacts = detail.tenant.contacts or []
    return next((contact for contact in contacts if contact.is_primary is True), contacts[0] if contacts else None)


def _number(variable: str, text: Any) -> int | None:
    if not isinstance(text, str) or not text.isascii() or not text.isdigit():
        return None
    if len(text) > MAX_DIGITS:
        raise InvalidEvent(f"detail.{variable} is {TOO_MANY_DIGITS}; correct the sender")
    return int(text)


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    # JSON.stringify leaves out what is undefined.
    return {name: value for name, value in values.items() if value is not None}
