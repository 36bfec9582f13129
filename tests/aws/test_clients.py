"""The AWS clients, and what their requests say about the function."""

from typing import Any

import pytest

from orchestrator.aws.clients import Clients


class Sent(Exception):
    """Ends a request instead of sending it."""


def user_agent() -> str:
    """Return the User-Agent header of a request to DynamoDB."""
    client = Clients().get("dynamodb", "eu-west-1")
    headers: list[str] = []

    def end(request: Any, **_: Any) -> None:
        headers.append(request.headers["User-Agent"].decode())
        raise Sent

    client.meta.events.register("before-send", end)
    with pytest.raises(Sent):
        client.list_tables()
    return headers[0]


@pytest.mark.parametrize(
    ("app_id", "shown"), [(None, "app/orchestrator"), ("my-app", "app/my-app"), ("my äpp\n", "app/my--pp-")]
)
def test_a_request_names_the_application(monkeypatch: pytest.MonkeyPatch, app_id: str | None, shown: str) -> None:
    if app_id is not None:
        monkeypatch.setenv("AWS_SDK_UA_APP_ID", app_id)

    assert shown in user_agent().split()
