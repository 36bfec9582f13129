"""The opt-in consumers that set up the application plane before the status webhook."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from orchestrator import (
    Application,
    ConfigurationError,
    Event,
    FromAnswer,
    Registry,
    SendCallback,
    Unavailable,
    create_handler,
)
from orchestrator.details import BuildDetail
from orchestrator.lifecycle import app_plane
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.control_plane import ControlPlane
from orchestrator.performers.callbacks import Callbacks
from orchestrator.testing import make_context
from tests.support.aws import Requests, stored, variables
from tests.support.events import invoke, sample

TENANT = {"id": sandbox.TENANT["tenantId"], "name": "Acme Robotics", "key": "acme"}
AUTH_ID = f"auth0|{TENANT['id']}"
USERS, FEATURES, FIRST_USER, WEBHOOK = "/manage/users", "/features/bootstrap", "/users/bootstrap", "/webhook"
EVERYTHING = [USERS, FEATURES, FIRST_USER, WEBHOOK]


class Killed(KeyboardInterrupt):
    """Simulates a kill: no exception handler of the package catches it."""


@pytest.fixture
def handler(aws: Requests, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Application:
    monkeypatch.setattr("orchestrator.performers.callbacks._PAUSE_SECONDS", 0)
    return create_handler(registry())


def registry() -> Registry:
    from tests.examples import app_plane as example  # importing creates a handler, with this test's environment

    return example.registry


def event(plane: ControlPlane, event_type: str = "TENANT_DEPLOYMENT", **detail: Any) -> dict[str, Any]:
    sent = sample("tenant-deployment-app-plane") | {"detail-type": event_type}
    base = plane.url.partition("/webhook")[0]
    own = {
        "API_ENDPOINT": plane.url,
        "APP_PLANE_ENDPOINT_FEATURE_SERVICE": f"{base}/features",
        "USER_CALLBACK_ENDPOINT": f"{base}/users/user-callback",
    }
    return {**sent, "detail": {**sent["detail"], **own, **detail}}


def statuses(answer: dict[str, Any]) -> list[str]:
    return [outcome["status"] for outcome in answer["consumers"][0]["outcomes"]]


def paths(plane: ControlPlane) -> list[str]:
    return [request.path for request in plane.requests]


def test_the_built_in_consumers_do_not_set_up_the_application_plane(aws: Requests, control_plane: ControlPlane) -> None:
    invoke(create_handler(lifecycle), event(control_plane))

    assert paths(control_plane) == [WEBHOOK]


def test_the_opt_in_consumers_replace_built_in_ones() -> None:
    assert {consumer.name for consumer in registry()} == {consumer.name for consumer in lifecycle}


# Requests


def test_the_users_id_comes_first_and_the_webhook_last(handler: Application, control_plane: ControlPlane) -> None:
    assert statuses(invoke(handler, event(control_plane))) == ["updated", "sent", "sent", "sent", "sent"]

    assert paths(control_plane) == EVERYTHING
    users, features, user, webhook = control_plane.accepted
    assert users == features
    assert features["plan"] == sandbox.TENANT["planConfig"]
    assert features["tenant"]["contacts"][0]["email"] == "zoe.mueller@acme.example.com"
    assert features["tenant"]["identityProvider"] == "auth0"
    assert webhook["data"]["status"] == 1
    assert user.pop("tenant") == features["tenant"]
    assert user == {
        "email": "zoe.mueller@acme.example.com",
        "tenantName": "Acme Robotics",
        "tenantKey": "acme",
        "firstName": "Zoë",
        "lastName": "Müller",
        "authId": AUTH_ID,
        "authClient": {
            "clientId": "example-client-id",
            "clientSecret": "example-client-secret",
            "redirectUrl": "https://acme.example.com",
            "secret": "example-callback-secret",
            "accessTokenExpiration": 900,
            "refreshTokenExpiration": 86400,
            "authCodeExpiration": 180,
        },
    }


def test_an_identity_provider_without_ids_is_no_error(handler: Application, control_plane: ControlPlane) -> None:
    control_plane.next.answer(200, '{"authId": ""}', on=USERS)

    invoke(handler, event(control_plane))

    assert control_plane.accepted[1]["authId"] == ""
    assert paths(control_plane) == EVERYTHING


def test_without_services_only_the_webhook_is_sent_and_a_line_is_logged(
    handler: Application, control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(handler, event(control_plane, APP_PLANE_ENDPOINT_FEATURE_SERVICE="", USER_CALLBACK_ENDPOINT=""))

    assert paths(control_plane) == [WEBHOOK]
    assert "the event names no service of the application plane" in capsys.readouterr().out


def test_if_a_service_is_not_allowed_nothing_is_sent(handler: Application, control_plane: ControlPlane) -> None:
    with pytest.raises(ConfigurationError, match=r"'elsewhere\.example\.org' was not sent: the host is not in"):
        invoke(handler, event(control_plane, USER_CALLBACK_ENDPOINT="https://elsewhere.example.org/user-callback"))

    assert control_plane.requests == []


# Decisions


def decided(tier: dict[str, Any] | None = None, **detail: Any) -> list[SendCallback]:
    """Call the consumer with the sample event, some fields changed, and return its callbacks."""
    sent = {**sample("tenant-deployment-app-plane")["detail"], **detail}
    context = make_context(tiers={"PREMIUM": tier or {}})
    event = Event(type="TENANT_DEPLOYMENT_SUCCESS", detail=BuildDetail.model_validate(sent))
    actions = app_plane.handle_deployment_success(event, context)
    return [action for action in actions if isinstance(action, SendCallback)]


def test_the_primary_contact_is_the_first_user_for_every_service() -> None:
    other, first = {"email": "other@example.com"}, {"email": "first@example.com", "isPrimary": True, "phone": "1"}

    users, _, user, _ = decided(tenant={**TENANT, "contacts": [other, first]})

    assert users.body["tenant"]["contacts"] == [first, other]
    assert (user.body["email"], user.body["phone"]) == ("first@example.com", "1")


def test_unknown_fields_of_the_user_are_left_out() -> None:
    unknown = dict.fromkeys(("CLIENT_ID", "CLIENT_SECRET", "ACCESS_TOKEN_EXPIRATION", "APP_PLANE_REDIRECT_URL"))

    users, _, user, _ = decided(tenant=TENANT, REFRESH_TOKEN_EXPIRATION="soon", AUTH_CODE_EXPIRATION="", **unknown)

    assert users.body == {"tenant": TENANT}
    assert user.body == {
        "tenant": TENANT,
        "tenantName": "Acme Robotics",
        "tenantKey": "acme",
        "authId": FromAnswer("authId"),
        "authClient": {"secret": "example-callback-secret"},
    }


@pytest.mark.parametrize(
    ("missing", "sent"),
    [
        ("APP_PLANE_ENDPOINT_FEATURE_SERVICE", ["/manage/users", "/user-tenant/bootstrap", "/webhook"]),
        ("USER_CALLBACK_ENDPOINT", ["/feature-toggle/bootstrap", "/webhook"]),
    ],
)
def test_a_service_without_an_address_is_not_called(missing: str, sent: list[str]) -> None:
    detail: dict[str, Any] = {missing: ""}

    assert [urlsplit(action.url).path for action in decided(**detail)] == sent


def test_a_tier_allows_the_host_of_the_control_plane_but_not_of_the_application_plane() -> None:
    actions = decided({"CONTROL_PLANE_HOST": "https://control.example.com"}, API_ENDPOINT="")

    assert actions[0].url == "https://control.example.com/tenant-mgmt-facade/manage/users"
    assert [list(action.allowed_hosts) for action in actions] == [
        ["control.example.com"],
        [],
        [],
        ["control.example.com"],
    ]


def test_only_the_webhook_is_signed_with_the_context() -> None:
    assert [action.context for action in decided()] == [None, None, None, "example-callback-context"]


@pytest.mark.parametrize(
    ("webhook", "users"),
    [
        ("https://c.example.com/webhook", "https://c.example.com/manage/users"),
        (
            "https://webhook.example.com:8443/webhooks/webhook/",
            "https://webhook.example.com:8443/webhooks/manage/users/",
        ),
        ("https://c.example.com/a/webhook?to=webhook", "https://c.example.com/a/manage/users?to=webhook"),
        ("https://[webhook", "https://[webhook"),  # refused when the callbacks are checked
    ],
)
def test_the_users_address_replaces_the_last_webhook_in_the_path(webhook: str, users: str) -> None:
    assert decided(API_ENDPOINT=webhook)[0].url == users


@pytest.mark.parametrize("url", ["https://webhook.example.com/status?do-not-tell=webhook", "https://c.example.com"])
def test_a_webhook_without_webhook_in_its_path_is_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match="the status webhook's path does not contain 'webhook'") as caught:
        decided(API_ENDPOINT=url)

    assert "do-not-tell" not in str(caught.value)
    assert decided(API_ENDPOINT=url, USER_CALLBACK_ENDPOINT="")[-1].url == url


# Order of events


def test_with_a_deployment_job_the_set_up_follows_its_end(
    handler: Application, aws: Requests, control_plane: ControlPlane
) -> None:
    answer = invoke(handler, event(control_plane, tier="STANDARD"))
    assert control_plane.requests == []
    (build,) = aws.of("StartBuild")
    environment = {**variables(build), "CODEBUILD_BUILD_ID": answer["consumers"][0]["outcomes"][1]["id"]}

    invoke(handler, event(control_plane, "TENANT_DEPLOYMENT_SUCCESS", **environment) | {"id": "another"})

    assert paths(control_plane) == EVERYTHING


@pytest.mark.parametrize("event_type", ["TENANT_DEPLOYMENT", "TENANT_DEPLOYMENT_SUCCESS"])
def test_after_a_failed_build_only_the_webhook_is_sent(
    handler: Application, control_plane: ControlPlane, event_type: str
) -> None:
    invoke(handler, event(control_plane, event_type, CODEBUILD_BUILD_SUCCEEDING="0"))

    assert paths(control_plane) == [WEBHOOK]
    assert control_plane.accepted[0]["data"]["status"] == 0


def test_without_a_webhook_nothing_is_set_up_and_a_warning_is_logged(
    handler: Application, control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(handler, event(control_plane, API_ENDPOINT=""))

    assert control_plane.requests == []
    assert "the application plane was not set up, because the status webhook cannot be sent" in capsys.readouterr().out
    assert "no address" in stored()["statusWebhook"]


# Failures and redeliveries


@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_steps_after_a_failed_one_wait_until_it_succeeds(
    handler: Application, control_plane: ControlPlane, position: int
) -> None:
    control_plane.next.answer(429, on=EVERYTHING[position], times=3)
    sent = event(control_plane)

    with pytest.raises(Unavailable, match="the host answered 429"):
        invoke(handler, sent)
    assert paths(control_plane) == [*EVERYTHING[:position], *[EVERYTHING[position]] * 3]

    control_plane.requests.clear()
    invoke(handler, sent)
    assert paths(control_plane) == EVERYTHING[position:]


def test_after_an_answer_without_an_id_nothing_else_is_sent(handler: Application, control_plane: ControlPlane) -> None:
    control_plane.next.answer(204, on=USERS)

    with pytest.raises(Unavailable, match="was accepted, but its answer is not JSON; correct the control plane"):
        invoke(handler, event(control_plane))

    assert paths(control_plane) == [USERS]


def test_a_redelivery_after_a_kill_uses_the_kept_id(
    handler: Application, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = event(control_plane, APP_PLANE_ENDPOINT_FEATURE_SERVICE="")
    check = Callbacks.check

    def die_with_the_id(self: Callbacks, action: Any) -> str:
        if action.body.get("authId"):
            raise Killed
        return check(self, action)

    with monkeypatch.context() as killed:
        killed.setattr(Callbacks, "check", die_with_the_id)
        with pytest.raises(Killed):
            invoke(handler, sent)
    assert paths(control_plane) == [USERS]

    assert statuses(invoke(handler, sent)) == ["updated", "already sent", "sent", "sent"]

    assert paths(control_plane) == [USERS, FIRST_USER, WEBHOOK]
    assert control_plane.accepted[1]["authId"] == AUTH_ID


def test_a_redelivered_event_sends_nothing_twice_and_does_not_show_the_id(
    handler: Application, control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = event(control_plane)

    answers = [invoke(handler, sent) for _ in range(2)]

    assert statuses(answers[1]) == ["updated", *["already sent"] * 4]
    assert paths(control_plane) == EVERYTHING
    assert AUTH_ID not in json.dumps(answers) + capsys.readouterr().out


def test_the_events_of_one_run_set_up_the_application_plane_once(
    handler: Application, aws: Requests, control_plane: ControlPlane
) -> None:
    answer = invoke(handler, sample("tenant-provisioning"))
    environment = {
        "ORCHESTRATOR_RUN_ID": variables(aws.of("StartBuild")[0])["ORCHESTRATOR_RUN_ID"],
        "CODEBUILD_BUILD_ID": answer["consumers"][0]["outcomes"][1]["id"],
    }
    sent = event(control_plane, **environment)
    invoke(handler, {**sent, "detail-type": "TENANT_PROVISIONING_SUCCESS", "id": "success"})

    for event_id in ("one", "another"):
        invoke(handler, {**sent, "id": event_id})

    assert paths(control_plane) == EVERYTHING
