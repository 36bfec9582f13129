"""The artifact of `sam build`, run with Lambda's own runtime client."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boto3
import build_artifact
import pytest
import urllib3
from moto.server import ThreadedMotoServer

from orchestrator.local import sandbox
from tests.examples.own_consumers import TEMPLATE
from tests.support.events import EVENTS, changed, sample
from tests.support.lambda_runtime import PYTHON, ROOT, Function, build_once, copy_runtime, make_artifact, zipped
from tests.support.size import largest

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="Lambda's runtime client is there for Linux alone"),
    pytest.mark.skipif(not shutil.which("make") or not shutil.which("uv"), reason="building takes make and uv"),
]

EXAMPLES = Path(__file__).parents[1] / "examples"
_MAX_ZIPPED_MEGABYTES = 8.0
_MAX_MEMORY_MEGABYTES = 60.0


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder shared by all test workers."""
    here = tmp_path_factory.getbasetemp()
    return here.parent if "PYTEST_XDIST_WORKER" in os.environ else here


@pytest.fixture(scope="session")
def artifact(shared: Path) -> Path:
    """The artifact for the Python that runs the tests, built once for all workers."""
    return build_once(shared / "artifact", lambda artifact: make_artifact(artifact, PYTHON))


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    return copy_runtime(tmp_path / "runtime")


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The settings of a function in an account with the sandbox's tiers and projects."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "TIER_DETAILS_TABLE": "tiers",
        "DATA_STORE_TABLE": "tenants",
        "IDEMPOTENCY_TABLE": "idempotency",
    }
    urllib3.request("POST", f"{settings['AWS_ENDPOINT_URL']}/moto-api/reset")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    sandbox.fill()
    yield settings
    server.stop()


def test_the_artifact_handles_events_as_lambda_sends_them(
    artifact: Path, runtime: Path, variables: dict[str, str]
) -> None:
    before = tree(artifact)
    queued = json.loads((EVENTS / "sqs-batch.json").read_text(encoding="utf-8"))

    with Function(artifact, runtime, variables) as function:
        started = function.invoke(sample("tenant-provisioning"))
        repeated = function.invoke(sample("tenant-provisioning"))
        failed = function.invoke(changed(sample("tenant-provisioning", id="x"), "detail.planConfig.tier", "GOLD"))
        broken = function.invoke({"no": "event"})
        batch = function.invoke(queued)

    outcomes = started.body["consumers"][0]["outcomes"]
    assert (started.path, [outcome["status"] for outcome in outcomes]) == ("response", ["saved", "started"])
    assert repeated.body["consumers"][0]["outcomes"][1]["status"] == "already started"
    assert (failed.path, failed.body["errorType"]) == ("error", "ConfigurationError")
    assert failed.body["errorMessage"].startswith("tier 'GOLD' is not in table tiers")
    assert broken.body["errorType"] == "InvalidEvent"
    assert batch.body == {"batchItemFailures": []}
    assert tree(artifact) == before  # Lambda's disk is read-only, so nothing may be written there


def test_log_lines_are_json_with_the_level_and_the_identity_of_the_event(
    artifact: Path, runtime: Path, variables: dict[str, str]
) -> None:
    event = sample("tenant-provisioning")

    with Function(artifact, runtime, variables) as function:
        reply = function.invoke(event)

    assert reply.path == "response"
    (line,) = [line for line in function.log if line.get("message") == "event handled"]
    assert (line["level"], line["correlation_id"], line["service"]) == ("INFO", event["id"], "orchestrator")
    assert [line["JobStarted"] for line in function.log if "JobStarted" in line] == [[1.0]]
    assert "example-callback-secret" not in function.output


def test_a_wrong_setting_makes_the_start_fail_and_is_named(artifact: Path, runtime: Path) -> None:
    with Function(artifact, runtime, {"DEFAULT_BUILDER": "MAKE"}) as function:
        reply = function.next_reply()

    assert reply.body["errorType"] == "ConfigurationError"
    assert reply.body["errorMessage"].startswith("DEFAULT_BUILDER 'MAKE' is not registered")


def test_the_function_works_after_a_restore_from_a_snapshot(
    artifact: Path, runtime: Path, variables: dict[str, str]
) -> None:
    with Function(artifact, runtime, {**variables, "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}) as function:
        reply = function.invoke(sample("tenant-provisioning"))

    assert function.restored
    assert reply.body["consumers"][0]["outcomes"][1]["status"] == "started"


def test_the_artifact_has_bytecode_that_is_never_compared_with_its_source(artifact: Path) -> None:
    compiled = list(artifact.rglob("*.pyc"))

    assert uncompiled(artifact) == {"pydantic/v1"}
    assert compiled
    for file in compiled:
        assert int.from_bytes(file.read_bytes()[4:8], "little") == 0b01, file  # hash-based and unchecked: PEP 552


def test_the_artifact_has_only_the_package_and_its_dependencies(artifact: Path) -> None:
    names = {entry.name.partition("-")[0] for entry in artifact.iterdir()}

    assert not {"tests", "bin", "moto", "pytest"} & names
    assert not (artifact / "orchestrator" / "local").exists()
    assert not (artifact / "orchestrator" / "testing").exists()
    assert not list((artifact / "orchestrator").glob("cli*"))
    assert not list((artifact / "orchestrator").rglob("*.md"))
    services = {entry.name for entry in (artifact / "botocore" / "data").iterdir() if entry.is_dir()}
    assert services == {"codebuild", "dynamodb", "events", "secretsmanager", "sqs", "stepfunctions"}
    endpoints = json.loads((artifact / "botocore" / "data" / "endpoints.json").read_text())
    assert {name for partition in endpoints["partitions"] for name in partition["services"]} <= {*services, "states"}


def test_two_builds_give_the_same_zip_whatever_the_variables_for_python_say(artifact: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    variables = {"PYTHONPYCACHEPREFIX": str(tmp_path / "elsewhere"), "PYTHONOPTIMIZE": "2", "PYTHONHASHSEED": "1"}
    make_artifact(again, PYTHON, {**variables, "PYTHONDONTWRITEBYTECODE": "1"})

    first, second = zipped(artifact), zipped(again)

    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest()


def test_the_zip_is_small(artifact: Path) -> None:
    archive = zipped(artifact)

    megabytes = len(archive) / 1e6
    assert megabytes <= _MAX_ZIPPED_MEGABYTES, f"{megabytes:.2f} MB; the largest: {'; '.join(largest(archive))}"


def test_an_event_takes_little_memory(artifact: Path, runtime: Path, variables: dict[str, str]) -> None:
    path = os.pathsep.join([str(runtime), str(ROOT / "tests" / "support")])
    with Function(artifact, runtime, {**variables, "PYTHONPATH": path}, "measured_handler.lambda_handler") as function:
        measured = function.invoke(sample("tenant-provisioning")).body

    megabytes = measured["peakMegabytes"]
    assert megabytes <= _MAX_MEMORY_MEGABYTES, (
        f"{megabytes:.1f} MB; the most imported code: {'; '.join(measured['largest'])}"
    )


# With custom consumers and a custom build system, as in DEPLOYING.md.


def own_builder() -> str:
    """Return the example's build system, without the lines that register it."""
    return (EXAMPLES / "own_builder.py").read_text().partition("registry = Registry()")[0]


def write_own(folder: Path) -> dict[str, str]:
    """Write the files of DEPLOYING.md's section, and return the variables that build them."""
    package = folder / "my_consumers"
    package.mkdir(parents=True)
    consumers = (EXAMPLES / "own_consumers.py").read_text()
    (package / "__init__.py").write_text(f"{consumers}\nimport sortedcontainers\n\nimport my_module\n")
    (package / "own_builder.py").write_text(own_builder())
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "stale.pyc").touch()
    (folder / "my_module.py").touch()
    (folder / "requirements.txt").write_text(f"sortedcontainers=={version('sortedcontainers')}\nboto3\n")
    return {
        "LAMBDA_PACKAGES": f"{package}/ {folder / 'my_module.py'}",
        "LAMBDA_REQUIREMENTS": str(folder / "requirements.txt"),
    }


def without_python(folder: Path) -> dict[str, str]:
    """Return an environment in which only uv has a Python of Lambda's version, in the folder `pythons`."""
    (folder / "bin").mkdir(parents=True)
    (folder / "home").mkdir()
    (folder / "pythons").mkdir()
    for tool in ("make", "uv"):
        (folder / "bin" / tool).symlink_to(str(shutil.which(tool)))
    (folder / "bin" / "python3").symlink_to(Path(sys.executable).resolve())  # the build does not search for this name
    cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S607
    return {
        "PATH": str(folder / "bin"),
        "HOME": str(folder / "home"),
        "PYENV_ROOT": str(folder / "home"),
        "XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME", str(Path.home() / ".config")),
        "UV_CACHE_DIR": cache,
        "UV_PYTHON_INSTALL_DIR": str(folder / "pythons"),
        "UV_PYTHON_INSTALL_MIRROR": "http://127.0.0.1:9",  # nothing listens there
    }


@pytest.fixture(scope="session")
def own_artifact(shared: Path) -> Path:
    """An artifact with custom consumers, and with bytecode by a Python that only uv finds."""

    def make(artifact: Path) -> None:
        own = write_own(shared / "own")
        machine = without_python(shared / "own-machine")
        name = f"cpython-{platform.python_version()}-linux-{platform.machine()}-gnu"
        python = Path(machine["UV_PYTHON_INSTALL_DIR"]) / name
        python.mkdir()
        for part in ("bin", "include", "lib"):
            (python / part).symlink_to(Path(sys.base_prefix) / part)
        printed = make_artifact(artifact, PYTHON, {**machine, **own, "LAMBDA_AWS_SERVICES": "cloudformation"})
        (shared / "own-artifact.log").write_text(printed)

    return build_once(shared / "own-artifact", make)


@pytest.fixture
def artifact_without_service(artifact: Path, tmp_path: Path) -> Path:
    """An artifact without a service that its builder uses, because the build cannot read the service's name."""
    without = tmp_path / "artifact"
    shutil.copytree(artifact, without)
    build_artifact.open_to_all(without)
    package = without / "my_consumers"
    package.mkdir()
    (package / "__init__.py").write_text((EXAMPLES / "own_consumers.py").read_text())
    unreadable = own_builder().replace('boto3.client("cloudformation")', 'boto3.client("cloud" + "formation")')
    (package / "own_builder.py").write_text(unreadable)
    return without


@pytest.fixture
def own_variables(variables: dict[str, str]) -> dict[str, str]:
    """The settings that make the custom build system the default; also stores its template."""
    bucket, _, key = TEMPLATE.removeprefix("https://").partition("/")
    place = {"Bucket": bucket.partition(".")[0], "Key": key}
    template = {
        "Parameters": {"TenantId": {"Type": "String"}, "Domain": {"Type": "String"}},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": {"Ref": "TenantId"}}}},
    }
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=place["Bucket"], CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(**place, Body=json.dumps(template).encode())
    return {**variables, "DEFAULT_BUILDER": "CLOUD_FORMATION"}


ADDED = sample("tenant-provisioning") | {
    "detail-type": "TENANT_DOMAIN_ADDED",
    "detail": {"tenantId": "t1", "domain": "shop.example.com"},
}


def test_a_custom_consumer_starts_a_job_on_a_custom_build_system(
    own_artifact: Path, runtime: Path, own_variables: dict[str, str]
) -> None:
    with Function(own_artifact, runtime, own_variables, "my_consumers.lambda_handler") as function:
        first = function.invoke(ADDED)
        second = function.invoke(ADDED)
        built_in = function.invoke(changed(sample("tenant-provisioning"), "detail.builderConfig.type", "CODE_BUILD"))

    (outcome,) = first.body["consumers"][0]["outcomes"]
    (stack,) = boto3.client("cloudformation").describe_stacks()["Stacks"]
    assert (outcome["status"], outcome["builder"]) == ("started", "CLOUD_FORMATION")
    assert outcome["id"] == stack["StackId"]
    assert second.body["consumers"][0]["outcomes"][0]["status"] == "already started"
    assert built_in.body["consumers"][0]["outcomes"][1]["status"] == "started"


def test_a_custom_package_has_its_bytecode_dependencies_and_services(own_artifact: Path, artifact: Path) -> None:
    assert sorted(file.suffix for file in (own_artifact / "my_consumers").rglob("*.py*")) == [".py"] * 2 + [".pyc"] * 2
    pinned = {folder.name for folder in artifact.glob("*.dist-info")}
    added = {folder.name for folder in own_artifact.glob("*.dist-info")} - pinned
    assert added == {f"sortedcontainers-{version('sortedcontainers')}.dist-info"}
    assert (own_artifact / "botocore" / "data" / "cloudformation").is_dir()
    assert not (artifact / "botocore" / "data" / "cloudformation").exists()
    endpoints = json.loads((own_artifact / "botocore" / "data" / "endpoints.json").read_text())
    assert {"cloudformation", "states"} <= endpoints["partitions"][0]["services"].keys()


def test_a_service_that_is_not_in_the_artifact_is_named_with_the_variable(
    artifact_without_service: Path, runtime: Path, own_variables: dict[str, str]
) -> None:
    variables = {**own_variables, "PYTHONDONTWRITEBYTECODE": "1"}  # Lambda's disk is read-only, and root's is not
    with Function(artifact_without_service, runtime, variables, "my_consumers.lambda_handler") as function:
        failed = function.invoke(ADDED)

    assert failed.body["errorType"] == "ConfigurationError"
    assert failed.body["errorMessage"] == (
        "builder 'CLOUD_FORMATION' needs AWS service 'cloudformation', which the artifact leaves out; add it to "
        "LAMBDA_AWS_SERVICES and build again"
    )


def test_uv_provides_a_missing_python(own_artifact: Path) -> None:
    assert own_artifact.with_suffix(".log").read_text() == ""
    assert uncompiled(own_artifact) == {"pydantic/v1"}


def tree(folder: Path) -> dict[str, Any]:
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in folder.rglob("*")}


def uncompiled(artifact: Path) -> set[str]:
    """Return the folders of the modules that have no bytecode."""
    tag = sys.implementation.cache_tag
    modules = artifact.rglob("*.py")
    without = [file for file in modules if not (file.parent / "__pycache__" / f"{file.stem}.{tag}.pyc").exists()]
    return {str(file.parent.relative_to(artifact)) for file in without}
