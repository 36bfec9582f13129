"""The template matches the Makefile's artifact, and works with `sam local invoke`."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import build_artifact
import pytest
from samtranslator.yaml_helper import yaml_parse

from orchestrator import Settings, create_handler
from orchestrator.cli import emulate
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import environment
from tests.local_invoke.podman import PYTHON

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
FUNCTION = TEMPLATE["Resources"]["OrchestratorFunction"]["Properties"]


def test_the_artifact_is_built_for_the_python_of_the_function() -> None:
    assert re.findall(r"^LAMBDA_PYTHON := (\S+)$", MAKEFILE, re.M) == [FUNCTION["Runtime"].removeprefix("python")]


def test_the_image_has_the_python_of_the_function() -> None:
    dockerfile = (ROOT / "orchestrator" / "Dockerfile").read_text()

    assert f"ARG BASE=public.ecr.aws/lambda/python:{FUNCTION['Runtime'].removeprefix('python')}\n" in dockerfile


def test_the_container_of_local_invoke_has_the_python_of_the_function() -> None:
    assert FUNCTION["Runtime"] == f"python{PYTHON}"


def test_the_artifact_is_built_for_the_architecture_of_the_function() -> None:
    assert FUNCTION["Architectures"] == [{"Ref": "Architecture"}]
    architecture = TEMPLATE["Parameters"]["Architecture"]
    assert re.findall(r"^LAMBDA_ARCHITECTURE \?= (\S+)$", MAKEFILE, re.M) == [architecture["Default"]]
    assert list(build_artifact.PLATFORMS) == architecture["AllowedValues"]


def test_every_parameter_is_in_a_group_and_in_the_table_of_deploying() -> None:
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    page = (ROOT / "orchestrator" / "DEPLOYING.md").read_text()
    table = page.partition("| parameter | is for |\n")[2].partition("\n\n")[0]
    listed = re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()))

    assert sorted(grouped) == sorted(TEMPLATE["Parameters"])
    assert sorted(listed) == sorted(TEMPLATE["Parameters"])


def test_the_time_limit_for_name_servers_is_no_longer_than_for_services() -> None:
    options = FUNCTION["Environment"]["Variables"]["RES_OPTIONS"].split()

    assert sorted(options) == ["attempts:2", "timeout:1"]


def test_the_function_is_traced_and_logs_json() -> None:
    assert FUNCTION["Tracing"] == "Active"
    assert FUNCTION["LoggingConfig"]["LogFormat"] == "JSON"


def test_without_layers_the_list_is_empty_for_sam_local() -> None:
    # `sam local invoke` does not know AWS::NoValue there: "Fn::If is an Invalid Layer Arn".
    assert "AWS::NoValue" not in json.dumps(FUNCTION["Layers"])


@pytest.mark.parametrize("conditions_hold", [True, False])
def test_the_function_starts_with_the_settings_of_sam_local(conditions_hold: bool) -> None:
    variables = FUNCTION["Environment"]["Variables"]
    passed = {name: as_sam_local_passes(value, conditions_hold) for name, value in variables.items()}

    assert (passed["FAILURE_QUEUE_URL"], passed["WAITING_QUEUE_URL"]) == ("FailureQueue", "WaitingQueue")
    assert passed["AWS_ENDPOINT_URL"] == ""
    assert callable(create_handler(lifecycle, settings=Settings.from_environment(passed)))


def test_by_default_sam_local_uses_the_emulator_and_its_tables() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())["default"]["local_invoke"]["parameters"]
    (variables,) = json.loads((ROOT / config["env_vars"]).read_text()).values()

    assert variables["AWS_ENDPOINT_URL"] == f"http://host.docker.internal:{emulate.EMULATOR_PORT}"
    assert variables["WAITING_QUEUE_URL"] == ""  # the emulator has no queue: an event that has to wait fails
    assert config["region"] == environment.REGION
    assert {name: variables[name] for name in environment.TABLES} == environment.TABLES


def test_the_template_is_small_enough_for_a_request_to_cloudformation() -> None:
    assert (ROOT / "template.yaml").stat().st_size <= 51_200


def test_every_variable_of_the_env_file_is_declared_in_the_template() -> None:
    settings = json.loads((ROOT / "events" / "local" / "env.json").read_text())

    assert settings.keys() <= TEMPLATE["Resources"].keys()
    for function, variables in settings.items():
        declared = TEMPLATE["Resources"][function]["Properties"]["Environment"]["Variables"]
        assert variables.keys() <= declared.keys()


def as_sam_local_passes(value: Any, conditions_hold: bool) -> str:
    """Resolve a variable as the SAM CLI does: a resource becomes its logical id, other values become empty."""
    match value:
        case {"Fn::If": [_, first, second]}:
            return as_sam_local_passes(first if conditions_hold else second, conditions_hold)
        case {"Ref": str(name)} if name in TEMPLATE["Parameters"]:
            return str(TEMPLATE["Parameters"][name]["Default"])
        case {"Ref": str(name)} if name in TEMPLATE["Resources"]:
            return name
        case str():
            return value
    return ""
