"""What is imported when, and SnapStart support."""

import random
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from orchestrator import Registry, create_handler

Hook = Callable[[], object]


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Hook]]:
    """Replace the module of Lambda's runtime that registers hooks, and return the registered ones."""
    kept: dict[str, list[Hook]] = {"before": [], "after": []}
    runtime = SimpleNamespace(
        register_before_snapshot=kept["before"].append, register_after_restore=kept["after"].append
    )
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", runtime)
    return kept


def test_restored_environments_do_not_share_their_random_numbers(
    hooks: dict[str, list[Hook]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    create_handler(Registry())
    snapshot = random.getstate()
    drawn = set()
    for _ in range(3):
        random.setstate(snapshot)
        for hook in hooks["after"]:
            hook()
        drawn.add(random.getrandbits(64))

    assert len(drawn) == 3


def test_the_first_event_after_a_restore_imports_no_sdk(
    hooks: dict[str, list[Hook]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    create_handler(Registry())
    monkeypatch.delitem(sys.modules, "boto3.dynamodb.types", raising=False)

    for hook in hooks["before"]:
        hook()

    assert "boto3.dynamodb.types" in sys.modules


def test_without_snapstart_nothing_is_registered(hooks: dict[str, list[Hook]]) -> None:
    create_handler(Registry())

    assert hooks == {"before": [], "after": []}


def test_builders_that_are_not_used_are_not_imported() -> None:
    code = (
        "import sys\n"
        "import orchestrator.handler\n"
        "print([name for name in sys.modules if name.startswith('orchestrator.builders.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "orchestrator.builders.codebuild" in done.stdout
    assert "jenkins" not in done.stdout
    assert "step_functions" not in done.stdout
