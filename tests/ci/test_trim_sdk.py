"""Which services the build keeps of the AWS SDK, and which it refuses to leave out."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import trim_sdk


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """An artifact whose SDK has three services, one of them with an endpoint of another name."""
    artifact = tmp_path / "artifact"
    (artifact / "boto3" / "data" / "sqs").mkdir(parents=True)
    data = artifact / "botocore" / "data"
    for service, prefix in {"codebuild": "codebuild", "sqs": "sqs", "stepfunctions": "states"}.items():
        version = data / service / "2016-11-23"
        version.mkdir(parents=True)
        description = {"metadata": {"endpointPrefix": prefix}, "documentation": "<p>Long.</p>"}
        (version / "service-2.json.gz").write_bytes(gzip.compress(json.dumps(description).encode()))
    endpoints: dict[str, Any] = {"partitions": [{"services": {"codebuild": {}, "sqs": {}, "states": {}}}]}
    (data / "endpoints.json").write_text(json.dumps(endpoints))
    return artifact


def trim(artifact: Path, services: Iterable[str], *packages: Path) -> str:
    """Trim the SDK, and return the message that stops the build."""
    try:
        trim_sdk.trim(artifact, services, packages)
    except SystemExit as stopped:
        return str(stopped.code)
    return ""


def test_the_named_services_stay_with_their_endpoints(artifact: Path) -> None:
    assert trim(artifact, ["codebuild", "stepfunctions"]) == ""

    data = artifact / "botocore" / "data"
    assert sorted(folder.name for folder in data.iterdir()) == ["codebuild", "endpoints.json", "stepfunctions"]
    endpoints = json.loads((data / "endpoints.json").read_text())
    assert endpoints == {"partitions": [{"services": {"codebuild": {}, "states": {}}}]}
    description = json.loads((data / "stepfunctions" / "2016-11-23" / "service-2.json").read_text())
    assert description == {"metadata": {"endpointPrefix": "states"}}
    assert list((artifact / "boto3" / "data").iterdir()) == []


def test_unknown_services_are_named(artifact: Path) -> None:
    assert trim(artifact, ["sqs", "sms", "StepFunctions"]) == (
        "LAMBDA_AWS_SERVICES names services that boto3 does not have: StepFunctions sms"
    )


@pytest.mark.parametrize(
    "code",
    [
        'import boto3\nclient = boto3.client("stepfunctions")\n',
        'from boto3 import client\nx = client(service_name="stepfunctions", region_name="eu-west-1")\n',
        'import boto3\nasync def f(): return boto3.Session().resource("stepfunctions")\n',
    ],
)
def test_a_client_whose_service_is_left_out_stops_the_build(artifact: Path, tmp_path: Path, code: str) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "module.py").write_text(code)
    problem = "uses AWS service stepfunctions, which the artifact lacks: add it to LAMBDA_AWS_SERVICES"

    assert trim(artifact, ["codebuild"], package) == f"{package}/module.py line 2 {problem}"
    assert trim(artifact, ["codebuild"], package / "module.py") == f"{package}/module.py line 2 {problem}"
    assert trim(artifact, ["codebuild", "stepfunctions"], package) == ""


@pytest.mark.parametrize(
    "code", ['make.client("oauth")', "client()", "client(*names)", 'x["client"]("sqs")', "not Python", 'f("sqs")']
)
def test_other_code_does_not_stop_the_build(artifact: Path, tmp_path: Path, code: str) -> None:
    module = tmp_path / "module.py"
    module.write_text(code)

    assert trim(artifact, ["codebuild"], module) == ""
