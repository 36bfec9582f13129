"""What is imported and built when, and SnapStart support."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import botocore.session
import pytest
from pydantic import BaseModel, ConfigDict

from orchestrator import Event, Registry, create_handler
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local.http_server import Answer, LocalServer
from orchestrator.local.lambda_context import LocalContext
from tests.benchmarks import instant_aws
from tests.support.aws import Requests
from tests.support.events import sample

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


@pytest.fixture
def credentials() -> Iterator[LocalServer]:
    """Serve credentials, as Lambda does with SnapStart."""
    answer = {"AccessKeyId": "k", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
    server = LocalServer(lambda request: Answer(200, json.dumps(answer))).start()
    yield server
    server.stop()


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


def test_after_a_restore_the_first_event_of_a_codebuild_job_imports_nothing_and_nothing_imports_boto3() -> None:
    code = (
        "import json, sys, types\n"
        "before = []\n"
        "hooks = types.SimpleNamespace(register_before_snapshot=before.append, register_after_restore=id)\n"
        "sys.modules['snapshot_restore_py'] = hooks\n"
        "from orchestrator.handler import lambda_handler\n"
        "from orchestrator.local.lambda_context import LocalContext\n"
        "event, context = json.load(sys.stdin), LocalContext()\n"
        "for hook in before: hook()\n"
        "snapshot = set(sys.modules)\n"
        "lambda_handler(event, context)\n"
        "print([name for name in sys.modules if name not in snapshot or name == 'boto3'])"
    )
    with instant_aws.running() as address:
        environment = {
            **instant_aws.environment(address),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{address}/credentials",
        }
        del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(sample("tenant-provisioning")),
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("initialization", ["on-demand", "provisioned-concurrency", "snap-start"])
def test_on_lambda_the_first_event_finds_its_clients_built(
    initialization: str, hooks: dict[str, list[Hook]], aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", initialization)
    handler = create_handler(lifecycle)

    with monkeypatch.context() as patch:
        patch.delattr(botocore.session.Session, "create_client")
        answer = handler(sample("tenant-provisioning"), LocalContext())

    assert answer["consumers"][0]["outcomes"][-1]["status"] == "started"


def test_a_snapshot_contains_no_credentials(
    credentials: LocalServer, hooks: dict[str, list[Hook]], aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://{credentials.address}/")
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")

    handler = create_handler(lifecycle)
    for hook in hooks["before"]:
        hook()
    fetched_before_snapshot = len(credentials.requests)
    handler(sample("tenant-provisioning"), LocalContext())

    assert (fetched_before_snapshot, len(credentials.requests)) == (0, 1)


def test_a_snapshot_contains_the_schemas_of_all_consumers_models(
    hooks: dict[str, list[Hook]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Detail(BaseModel):
        model_config = ConfigDict(defer_build=True)

        value: int

    def consume(event: Event[Detail]) -> None: ...

    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    registry = Registry()
    create_handler(registry)
    registry.consumer("X")(consume)
    was_complete = Detail.__pydantic_complete__

    for hook in hooks["before"]:
        hook()

    assert (was_complete, Detail.__pydantic_complete__) == (False, True)


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


def test_outside_lambda_creating_a_handler_imports_no_sdk() -> None:
    code = "import sys, orchestrator.handler; print('boto3' in sys.modules, 'botocore.session' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False"]
