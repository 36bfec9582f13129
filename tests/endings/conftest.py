"""Fixtures: the standard handler, and a movable clock."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator import (
    Application,
    create_handler,
)
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.timing import clock


@pytest.fixture
def handler(codebuild: CodeBuildServer) -> Application:
    return create_handler(lifecycle)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Return a function that moves the clock."""

    def move(by: timedelta) -> None:
        monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + by)

    return move
