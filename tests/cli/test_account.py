"""Where the commands find tables and queues: in a deployed stack, or in the shell's settings."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from orchestrator.cli.account import opened
from tests.cli.conftest import TENANT_ID, Command, Deployment
from tests.support.events import sample
from tests.template.stack import STACK


@pytest.fixture
def event(tmp_path: Path) -> str:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(sample("tenant-provisioning")))
    return str(file)


@pytest.fixture(autouse=True)
def _fresh_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "orchestrator.handler", raising=False)


def test_the_settings_are_those_of_the_deployed_function(stack: Deployment) -> None:
    options = argparse.Namespace(stack=STACK)

    settings = opened(options).settings

    names = stack.account.names
    assert settings.data_store_table == names["TenantRecordsTable"]
    assert settings.idempotency_table == names["IdempotencyTable"]
    assert settings.tier_details_table == names["TierDetailsTable"]
    assert settings.failure_queue_url == names["FailureQueue"]
    assert settings.waiting_queue_url == names["WaitingQueue"]
    assert (settings.event_bus_name, settings.aws_region) == ("default", "eu-west-1")


def test_a_stack_is_found_by_its_arn_in_whatever_region_the_shell_has(
    stack: Deployment, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = boto3.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    stack.send(sample("tenant-provisioning"))

    assert command("status", "--stack", found["StackId"], TENANT_ID).code == 0


@pytest.mark.parametrize(
    "arguments", [["status", "t1"], ["jobs"], ["failures"], ["redrive", "--all"]], ids=lambda a: a[0]
)
def test_a_stack_that_is_not_there_is_an_error_in_one_line(
    stack: Deployment, command: Command, arguments: list[str]
) -> None:
    result = command(*arguments, "--stack", "elsewhere")

    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "orchestrator: ConfigurationError: stack 'elsewhere' does not exist; set AWS_PROFILE and AWS_REGION to where "
        "it is deployed\n"
    )


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [(["jobs"], "IDEMPOTENCY_TABLE"), (["failures"], "FAILURE_QUEUE_URL"), (["redrive", "--all"], "FAILURE_QUEUE_URL")],
    ids=["jobs", "failures", "redrive"],
)
def test_without_a_stack_a_missing_setting_is_named(command: Command, arguments: list[str], setting: str) -> None:
    result = command(*arguments)

    assert (result.code, result.out) == (1, "")
    assert f"ConfigurationError: {setting} is not set in this shell's settings; name a deployed stack" in result.err


def test_without_a_stack_the_tables_of_the_environment_are_read(
    stack: Deployment, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.send(sample("tenant-provisioning"))
    monkeypatch.setenv("IDEMPOTENCY_TABLE", stack.account.names["IdempotencyTable"])

    assert len(command("jobs", "--aws", "--json").json["jobs"]) == 1


def test_missing_credentials_are_an_error_in_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    result = command("jobs", "--stack", STACK)

    assert result.err.count("\n") == 1
    assert "could not be read: NoCredentialsError; set AWS_PROFILE, or give the function a role" in result.err


def test_invoke_uses_the_settings_of_the_stack(
    stack: Deployment, command: Command, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_STORE_TABLE", "of-the-shell")

    result = command("invoke", "--stack", STACK, "--yes", event)

    assert result.code == 0
    assert len(stack.runs()) == 1
    assert "with stack orchestrator in eu-west-1: real jobs are started" in result.err


@pytest.mark.parametrize("where", [["--aws"], ["--stack", STACK]], ids=["aws", "stack"])
def test_invoke_acts_on_a_real_account_only_with_consent(
    stack: Deployment, command: Command, event: str, where: list[str]
) -> None:
    result = command("invoke", *where, event)

    assert (result.code, result.out) == (1, "")
    assert result.last_error == (
        "orchestrator: Declined: nothing was done, for there is no terminal to ask on; add --yes to agree"
    )
    assert stack.runs() == []


def test_invoke_reads_every_file_before_it_asks(stack: Deployment, command: Command, event: str) -> None:
    result = command("invoke", "--stack", STACK, "--yes", event, "absent.json")

    assert (result.code, result.out) == (1, "")
    assert result.err == "orchestrator: absent.json: InvalidEvent: cannot be read: No such file or directory\n"
    assert stack.runs() == []


@pytest.mark.parametrize(
    ("variable", "error"),
    [
        ("AWS_ACCESS_KEY_ID", "NoCredentialsError; set AWS_PROFILE, or give the function a role"),
        ("AWS_DEFAULT_REGION", "NoRegionError; set AWS_REGION"),
    ],
)
def test_invoke_looks_for_credentials_and_region_before_it_asks(
    command: Command, event: str, monkeypatch: pytest.MonkeyPatch, variable: str, error: str
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in (variable, "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)

    result = command("invoke", "--aws", event)

    assert (result.code, result.out) == (1, "")
    assert result.err == f"orchestrator: ConfigurationError: nothing was done: {error}\n"


def test_invoke_loads_the_handler_before_it_asks(command: Command, event: str) -> None:
    result = command("invoke", "--aws", "--handler", "absent:x", event)

    assert result.err == "orchestrator: ConfigurationError: --handler absent:x: module absent does not exist\n"


def test_a_script_that_agrees_can_have_it_quiet(stack: Deployment, command: Command, event: str) -> None:
    result = command("invoke", "--stack", STACK, "--yes", "--quiet", event)

    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize("name", ["two words", "9lives", "https://x.example.com", "", "arn:aws:s3:::bucket"])
def test_a_name_that_no_stack_can_have_is_refused_without_a_request(command: Command, name: str) -> None:
    result = command("jobs", "--stack", name)

    assert result.code == 1
    assert result.err == (
        f"orchestrator: ConfigurationError: --stack {name!r} is neither a stack's name, which has letters, digits and "
        "hyphens, nor its ARN\n"
    )


@pytest.mark.parametrize("url", ["orchestrator-failures", "https://sqs.eu-west-1.amazonaws.com", "http://[x/1/q"])
def test_what_is_no_url_of_a_queue_is_refused_without_a_request(
    command: Command, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("FAILURE_QUEUE_URL", url)

    result = command("failures")

    assert result.code == 1
    assert result.err == (
        f"orchestrator: ConfigurationError: FAILURE_QUEUE_URL in this shell's settings is {url!r}, which is not the "
        "URL of a queue; write it as https://sqs.REGION.amazonaws.com/ACCOUNT/NAME\n"
    )


def test_invoke_goes_on_when_the_person_agrees(
    stack: Deployment, command: Command, event: str, answering: Callable[[str], None]
) -> None:
    answering("y")

    assert command("invoke", "--stack", STACK, event).code == 0
    assert len(stack.runs()) == 1


def test_invoke_does_nothing_when_the_person_declines(
    stack: Deployment, command: Command, event: str, answering: Callable[[str], None]
) -> None:
    answering("")

    assert command("invoke", "--stack", STACK, event).code == 1
    assert stack.runs() == []
