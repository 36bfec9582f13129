"""The standard handler."""

import pytest

from orchestrator import (
    Application,
    create_handler,
)
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local.codebuild import CodeBuildServer


@pytest.fixture
def handler(codebuild: CodeBuildServer) -> Application:
    return create_handler(lifecycle)
