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
    """What a killed process looks like from inside: nothing after it runs."""


@pytest.fixture
def handler(aws: Requests, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Application:
    monkeypatch.setattr("orchestrator.performers.callbacks._PAUSE_SECONDS", 0)
    return create_handler(registry())


def registry() -> Registry:
    from tests.examples import app_plane as example  # which makes a handler, with this test's environment

    return example.registry


def event(plane: ControlPlane, kind: str = "TENANT_DEPLOYMENT", **detail: Any) -> dict[str, Any]:
    sent = sample("tenant-deployment-app-plane") | {"detail-type": kind}
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


def test_the_built_in_consumers_set_nothing_up(aws: Requests, control_plane: ControlPlane) -> None:
    invoke(create_handler(lifecycle), event(control_plane))

    assert paths(control_plane) == [WEBHOOK]


def test_it_takes_the_place_of_two_built_in_consumers() -> None:
    assert {consumer.name for consumer in registry()} == {consumer.name for consumer in lifecycle}


# What is sent


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


def test_without_services_there_is_the_webhook_alone_and_the_log_says_so(
    handler: Application, control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(handler, event(control_plane, APP_PLANE_ENDPOINT_FEATURE_SERVICE="", USER_CALLBACK_ENDPOINT=""))

    assert paths(control_plane) == [WEBHOOK]
    assert "the event names no service of the application plane" in capsys.readouterr().out


def test_a_service_that_is_not_allowed_keeps_everything_from_being_sent(
    handler: Application, control_plane: ControlPlane
) -> None:
    with pytest.raises(ConfigurationError, match=r"'elsewhere\.example\.org' was not sent: the host is not in"):
        invoke(handler, event(control_plane, USER_CALLBACK_ENDPOINT="https://elsewhere.example.org/user-callback"))

    assert control_plane.requests == []


# What is decided


def decided(tier: dict[str, Any] | None = None, **detail: Any) -> list[SendCallback]:
    """Let the consumer decide on the sample event with some fields changed, and give the callbacks."""
    sent = {**sample("tenant-deployment-app-plane")["detail"], **detail}
    context = make_context(tiers={"PREMIUM": tier or {}})
    event = Event(type="TENANT_DEPLOYMENT_SUCCESS", detail=BuildDetail.model_validate(sent))
    actions = app_plane.handle_deployment_success(event, context)
    return [action for action in actions if isinstance(action, SendCallback)]


def test_the_primary_contact_is_the_first_user_for_all() -> None:
    other, first = {"email": "other@example.com"}, {"email": "first@example.com", "isPrimary": True, "phone": "1"}

    users, _, user, _ = decided(tenant={**TENANT, "contacts": [other, first]})

    assert users.body["tenant"]["contacts"] == [first, other]
    assert (user.body["email"], user.body["phone"]) == ("first@example.com", "1")


def test_what_is_not_known_is_left_out() -> None:
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
def test_a_service_that_is_not_named_is_not_called(missing: str, sent: list[str]) -> None:
    detail: dict[str, Any] = {missing: ""}

    assert [urlsplit(action.url).path for action in decided(**detail)] == sent


def test_a_tier_vouches_for_the_control_plane_but_not_for_the_application_plane() -> None:
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
def test_users_are_managed_where_the_webhooks_path_says_webhook_last(webhook: str, users: str) -> None:
    assert decided(API_ENDPOINT=webhook)[0].url == users


@pytest.mark.parametrize("url", ["https://webhook.example.com/status?do-not-tell=webhook", "https://c.example.com"])
def test_a_webhook_whose_path_says_no_webhook_is_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match="the status webhook's path does not contain 'webhook'") as caught:
        decided(API_ENDPOINT=url)

    assert "do-not-tell" not in str(caught.value)
    assert decided(API_ENDPOINT=url, USER_CALLBACK_ENDPOINT="")[-1].url == url


# When


def test_where_the_tier_has_a_deployment_job_its_end_is_awaited(
    handler: Application, aws: Requests, control_plane: ControlPlane
) -> None:
    answer = invoke(handler, event(control_plane, tier="STANDARD"))
    assert control_plane.requests == []
    (build,) = aws.of("StartBuild")
    environment = {**variables(build), "CODEBUILD_BUILD_ID": answer["consumers"][0]["outcomes"][1]["id"]}

    invoke(handler, event(control_plane, "TENANT_DEPLOYMENT_SUCCESS", **environment) | {"id": "another"})

    assert paths(control_plane) == EVERYTHING


@pytest.mark.parametrize("kind", ["TENANT_DEPLOYMENT", "TENANT_DEPLOYMENT_SUCCESS"])
def test_of_a_build_that_failed_there_is_only_the_webhook(
    handler: Application, control_plane: ControlPlane, kind: str
) -> None:
    invoke(handler, event(control_plane, kind, CODEBUILD_BUILD_SUCCEEDING="0"))

    assert paths(control_plane) == [WEBHOOK]
    assert control_plane.accepted[0]["data"]["status"] == 0


def test_without_a_webhook_nothing_is_set_up_and_the_log_says_so(
    handler: Application, control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(handler, event(control_plane, API_ENDPOINT=""))

    assert control_plane.requests == []
    assert "the application plane was not set up, because the status webhook cannot be sent" in capsys.readouterr().out
    assert "no address" in stored()["statusWebhook"]


# Failures and redeliveries


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_step_that_fails_keeps_all_that_follow_back_until_it_succeeds(
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


def test_an_answer_without_an_id_keeps_everything_else_back(handler: Application, control_plane: ControlPlane) -> None:
    control_plane.next.answer(204, on=USERS)

    with pytest.raises(Unavailable, match="was accepted, but its answer is not JSON; correct the control plane"):
        invoke(handler, event(control_plane))

    assert paths(control_plane) == [USERS]


def test_a_redelivery_after_a_kill_has_the_id_and_does_not_ask_for_it_again(
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


def test_an_event_that_is_delivered_twice_sends_nothing_twice_and_shows_the_id_to_nobody(
    handler: Application, control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = event(control_plane)

    answers = [invoke(handler, sent) for _ in range(2)]

    assert statuses(answers[1]) == ["updated", *["already sent"] * 4]
    assert paths(control_plane) == EVERYTHING
    assert AUTH_ID not in json.dumps(answers) + capsys.readouterr().out


def test_events_that_follow_from_one_run_set_up_once(
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
