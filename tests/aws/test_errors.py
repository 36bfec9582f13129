"""Converts the AWS SDK's errors into this package's own."""

import socket
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import exceptions

from orchestrator import ConfigurationError, InvalidEvent, JobRejected, OrchestratorError, Unavailable
from orchestrator.aws.clients import Clients
from orchestrator.aws.errors import aws_errors
from orchestrator.builders.codebuild import CodeBuild, console_link
from orchestrator.job import Job


def answer(code: str, status: int = 400) -> exceptions.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": "value 'secret' is bad"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return exceptions.ClientError(response, "PutItem")


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        (answer("ThrottlingException"), Unavailable),
        (answer("ProvisionedThroughputExceededException"), Unavailable),
        (answer("SomethingElse", 500), Unavailable),
        (answer("SomethingElse", 503), Unavailable),
        (answer("SomethingElse", 429), Unavailable),
        (answer("AccessDeniedException"), ConfigurationError),
        (answer("UnrecognizedClientException"), ConfigurationError),
        (answer("ResourceNotFoundException"), ConfigurationError),
        (answer("ValidationException"), InvalidEvent),
        (exceptions.EndpointConnectionError(endpoint_url="http://secret"), Unavailable),
        (exceptions.ReadTimeoutError(endpoint_url="http://secret"), Unavailable),
        (exceptions.ConnectTimeoutError(endpoint_url="http://secret"), Unavailable),
        (exceptions.SSLError(endpoint_url="http://secret", error=OSError()), Unavailable),
        (exceptions.NoCredentialsError(), ConfigurationError),
        (exceptions.NoRegionError(), ConfigurationError),
        (exceptions.ParamValidationError(report="secret"), InvalidEvent),
    ],
)
def test_an_error_is_one_line_without_its_values(error: Exception, error_type: type[OrchestratorError]) -> None:
    with pytest.raises(error_type) as caught, aws_errors("it failed", rejected=InvalidEvent):
        raise error
    message = str(caught.value)
    assert message.startswith("it failed: ")
    assert message.isprintable()
    assert "secret" not in message


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), aws_errors("it failed"):
        raise ZeroDivisionError


class Answering:
    """A CodeBuild client whose StartBuild raises the given error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def start_build(self, **_: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("code", "error_type", "message"),
    [
        ("ResourceNotFoundException", JobRejected, "the project does not exist"),
        ("AccountLimitExceededException", Unavailable, "queue is full"),
        ("ValidationException", JobRejected, "answered ValidationException"),
        ("AccessDeniedException", ConfigurationError, "allow PutItem to the function's role"),
        ("ThrottlingException", Unavailable, "a retry may succeed"),
    ],
)
def test_an_error_of_codebuild_is_converted(code: str, error_type: type[OrchestratorError], message: str) -> None:
    client: Any = Answering(answer(code))

    with pytest.raises(error_type, match=message) as caught:
        CodeBuild(lambda: client).start(Job(name="premium", run_id="r", since=datetime.now(UTC), variables={}))
    assert "CodeBuild project 'premium' was not started: " in str(caught.value)


@pytest.mark.parametrize(
    ("arn", "link"),
    [
        (
            "arn:aws-cn:codebuild:cn-north-1:123456789012:build/p:1-2",
            "https://cn-north-1.console.amazonaws.cn/codesuite/codebuild/123456789012/projects/p/build/p%3A1-2/"
            "?region=cn-north-1",
        ),
        ("arn:aws-iso:codebuild:us-iso-east-1:123456789012:build/p:1", None),
    ],
)
def test_the_console_follows_the_partition(arn: str, link: str | None) -> None:
    assert console_link(arn) == link


def test_a_configured_endpoint_is_used_and_a_closed_port_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    client = Clients().get("codebuild", "eu-west-1")
    assert client.meta.endpoint_url == f"http://127.0.0.1:{port}"

    with pytest.raises(Unavailable, match="EndpointConnectionError"):
        CodeBuild(lambda: client).start(Job(name="premium", run_id="r", since=datetime.now(UTC), variables={}))


def test_a_client_is_built_once_with_time_limits() -> None:
    clients = Clients()

    client = clients.get("codebuild", "eu-west-1")

    assert clients.get("codebuild", "eu-west-1") is client
    assert clients.get("codebuild", "eu-west-2") is not client
    config: Any = client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (2, 5)


def test_a_missing_region_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    with pytest.raises(ConfigurationError, match="codebuild was not created: NoRegionError; set AWS_REGION"):
        Clients().get("codebuild", None)


def test_the_remedy_names_the_role_that_needs_the_permission() -> None:
    refused = answer("AccessDeniedException")

    with pytest.raises(ConfigurationError, match="allow PutItem to your role"), aws_errors("x", role="your role"):
        raise refused
