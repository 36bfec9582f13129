"""Fixtures: an emulated CodeBuild, the standard handler, and a movable clock."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator import (
    Application,
    create_handler,
)
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.timing import clock
from tests.support.aws import Requests
from tests.support.codebuild_server import CodeBuildServer
from tests.support.endings import PROJECT


@pytest.fixture
def codebuild(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeBuildServer]:
    """A CodeBuild server that keeps variables, unlike moto's."""
    with CodeBuildServer([PROJECT], now=datetime.now(UTC).timestamp()) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", server.url)
        yield server


@pytest.fixture
def handler(codebuild: CodeBuildServer) -> Application:
    return create_handler(lifecycle)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Return a function that moves the clock."""

    def move(by: timedelta) -> None:
        monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + by)

    return move
