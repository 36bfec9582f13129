"""The opt-in consumer that sets up the application plane."""

from typing import Any

import boto3
import pytest

from orchestrator import ConfigurationError, Handler, InvalidEvent, create_handler
from orchestrator.lifecycle import app_plane
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.control_plane import ControlPlane
from tests.conftest import Requests, changed, invoke, sample

TENANT = {"id": sandbox.TENANT["tenantId"], "name": "Acme Robotics", "key": "acme"}


@pytest.fixture
def handler(aws: Requests, control_plane: ControlPlane) -> Handler:
    return create_handler(app_plane.registry)


def event(plane: ControlPlane, **detail: Any) -> dict[str, Any]:
    sent = sample("tenant-deployment-app-plane")
    base = plane.url.partition("/webhook")[0]
    own = {
        "APP_PLANE_ENDPOINT_FEATURE_SERVICE": f"{base}/features",
        "USER_CALLBACK_ENDPOINT": f"{base}/users/user-callback",
    }
    return {**sent, "detail": {**sent["detail"], **own, **detail}}


def statuses(answer: dict[str, Any]) -> list[str]:
    return [outcome["status"] for outcome in answer["consumers"][0]["outcomes"]]


def test_it_is_no_part_of_the_built_in_consumers() -> None:
    assert "bootstrap_app_plane" not in lifecycle


def test_features_come_first_and_then_the_first_user(handler: Handler, control_plane: ControlPlane) -> None:
    sent = event(control_plane)

    assert statuses(invoke(handler, sent)) == ["sent", "sent"]

    assert [request.path for request in control_plane.requests] == ["/features/bootstrap", "/users/bootstrap"]
    features, user = control_plane.accepted
    assert features["plan"] == sandbox.TENANT["planConfig"]
    assert features["tenant"]["contacts"][0]["email"] == "zoe.mueller@acme.example.com"
    assert user.pop("tenant") == features["tenant"]
    assert user == {
        "email": "zoe.mueller@acme.example.com",
        "tenantName": "Acme Robotics",
        "tenantKey": "acme",
        "firstName": "Zoë",
        "lastName": "Müller",
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


def test_the_primary_contact_is_the_first_user(handler: Handler, control_plane: ControlPlane) -> None:
    contacts = [{"email": "other@example.com"}, {"email": "first@example.com", "isPrimary": True, "phone": "1"}]

    invoke(handler, event(control_plane, tenant={**TENANT, "contacts": contacts}))

    assert (control_plane.accepted[1]["email"], control_plane.accepted[1]["phone"]) == ("first@example.com", "1")


def test_what_is_not_known_is_left_out(handler: Handler, control_plane: ControlPlane) -> None:
    sent = event(control_plane, tenant=TENANT)
    for name in ("CLIENT_ID", "CLIENT_SECRET", "ACCESS_TOKEN_EXPIRATION", "APP_PLANE_REDIRECT_URL"):
        del sent["detail"][name]
    sent["detail"] |= {"REFRESH_TOKEN_EXPIRATION": "soon", "AUTH_CODE_EXPIRATION": ""}

    invoke(handler, sent)

    assert control_plane.accepted[1] == {
        "tenant": TENANT,
        "tenantName": "Acme Robotics",
        "tenantKey": "acme",
        "authClient": {"secret": "example-callback-secret"},
    }


@pytest.mark.parametrize(
    ("missing", "path"),
    [("APP_PLANE_ENDPOINT_FEATURE_SERVICE", "/users/bootstrap"), ("USER_CALLBACK_ENDPOINT", "/features/bootstrap")],
)
def test_a_service_that_is_not_named_is_not_called(
    handler: Handler, control_plane: ControlPlane, missing: str, path: str
) -> None:
    assert statuses(invoke(handler, event(control_plane, **{missing: ""}))) == ["sent"]

    assert [request.path for request in control_plane.requests] == [path]


def test_without_services_nothing_is_sent_and_the_log_says_so(
    handler: Handler, control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = event(control_plane, APP_PLANE_ENDPOINT_FEATURE_SERVICE="", USER_CALLBACK_ENDPOINT="")

    assert statuses(invoke(handler, sent)) == []

    assert "the event names no service of the application plane" in capsys.readouterr().out


def test_the_record_has_the_secret_where_the_event_has_none(handler: Handler, control_plane: ControlPlane) -> None:
    assert statuses(invoke(handler, event(control_plane, secret=""))) == ["sent", "sent"]

    boto3.client("dynamodb").put_item(TableName="tenants", Item={"tenantId": {"S": TENANT["id"]}})
    with pytest.raises(InvalidEvent, match=r"detail\.secret is missing, and so it is in the tenant's record"):
        invoke(handler, event(control_plane, secret="") | {"id": "another"})


def test_a_service_that_is_not_allowed_is_not_called(handler: Handler, control_plane: ControlPlane) -> None:
    with pytest.raises(ConfigurationError, match=r"'elsewhere\.example\.org' was not sent: the host is not among"):
        invoke(handler, event(control_plane, USER_CALLBACK_ENDPOINT="https://elsewhere.example.org/user-callback"))

    assert not control_plane.requests


def test_it_runs_beside_the_webhook(aws: Requests, control_plane: ControlPlane) -> None:
    from tests.examples import app_plane as example

    sent = changed(event(control_plane), "detail.API_ENDPOINT", control_plane.url)

    answer = invoke(create_handler(example.registry), sent)

    assert {consumer["name"] for consumer in answer["consumers"]} == {"deploy_tenant", "bootstrap_app_plane"}
    assert len(control_plane.accepted) == 3
