"""The function's settings, read from environment variables."""

import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.errors import ConfigurationError
from orchestrator.values.validation import explain

# The template passes an unset parameter as an empty text.
_Text = Annotated[str | None, BeforeValidator(lambda value: (value or "").strip() or None)]


def _region(name: str | None) -> str | None:
    if name is not None and not re.fullmatch(r"[a-z]{2,}(-[a-z]+)+-\d+", name):
        raise PydanticCustomError("region", "it must be the name of an AWS region, such as eu-west-1")
    return name


_Region = Annotated[_Text, AfterValidator(_region)]


def _names(value: Any) -> Any:
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


_Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


def _server_address(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host or parts.scheme not in ("http", "https") or not url.isprintable() or " " in url:
        raise PydanticCustomError("server_address", "it must be an http(s) address, such as https://host.example.com")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise PydanticCustomError("server_address", "it must be an address without user, password, query and fragment")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host is `localhost` or a loopback IP address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _callback_address(url: str | None) -> str | None:
    address = _server_address(url)
    if (
        address is not None
        and urlsplit(address).scheme != "https"
        and not is_loopback(urlsplit(address).hostname or "")
    ):
        raise PydanticCustomError("callback_address", "it must be an https address, unless the host is loopback")
    return address


class Settings(BaseModel):
    """The settings. Each attribute is read from the environment variable with the same name in capitals.

    Attributes:
        tier_details_table: DynamoDB table of the tiers. Without it, any tier name is valid, and the tier's job has the
            name `{tier}-job`.
        tier_details_max_age: How long tier details are cached, in seconds.
        data_store_table: DynamoDB table of the tenant records. Without it, no tenant records are stored.
        dynamo_db_region: Region of all DynamoDB tables; by default, the function's own region.
        code_build_region: Region of the CodeBuild projects; by default, the function's own region.
        aws_region: The function's own region; by default, the region in the SDK's configuration.
        default_builder: Name of the builder that starts a job if the job names no builder.
        event_bus_name: Name of the bus on which events are published.
        event_bus_aws_region: The bus's region; by default, the function's own region.
        callback_url: Address of the status webhook. It is used if no event, tenant record or tier names an address.
        deprovisioning_webhook_type: The value of `type` in the body of a status webhook about a deprovisioning. Without
            this setting, no status webhook is sent about a deprovisioning.
        callback_allowed_hosts: Hosts that callbacks may go to, in addition to the host in `callback_url` and the hosts
            in the tier's `API_ENDPOINT` and `CONTROL_PLANE_HOST`. The entry `.example.com` allows all subdomains of
            `example.com`.
        idempotency_table: DynamoDB table of the ledger, which records the actions that were performed. Without it, each
            Lambda environment has only its own records, and an event that is delivered twice may start its job twice.
        idempotency_record_max_age: How long the ledger keeps a record, in seconds. The function checks whether a run
            has ended only while the run's record is kept.
        require_run_id: Whether to refuse an event about a run's ending, or a `TENANT_DEPLOYMENT` event, if the detail
            has no `ORCHESTRATOR_RUN_ID`. Without this id, the event cannot be checked against the ledger's record of
            the run: anyone who may publish on the bus could have sent the event. Events that this function published
            are accepted without the id. This setting needs `idempotency_table`.
        publish_build_endings: Whether this function publishes how a build of CodeBuild or an execution of Step
            Functions ended, when EventBridge reports the ending. Set it to false if builds and executions publish their
            endings themselves. The scheduled sweep then still publishes endings that they did not publish.
        failure_queue_url: URL of the SQS queue to which messages that cannot be handled are moved. Without this
            setting, these messages stay in their own queue, whose redrive policy applies. The URL is checked only when
            it is used, because `sam local` passes the queue's name instead of its URL.
        waiting_queue_url: URL of the SQS queue to which an event is sent if its job cannot be started yet, unless the
            event came from a queue. Without this setting, the event fails instead. An event that came from a queue
            stays in its own queue, and is delivered again. This setting needs `failure_queue_url`. The URL is checked
            only when it is used.
        tenant_serialization: Whether a job waits while the same tenant has a job of another operation. An operation is
            an event and all that follows from it, such as a provisioning and the deployment after it. Without
            `idempotency_table`, this setting has no effect.
        sqs_parallel_records: How many messages of a batch are handled at the same time. The messages of a FIFO queue
            are always handled one at a time.
        jenkins_url: Address of the Jenkins server, including the path at which Jenkins is installed, if any.
        jenkins_allow_http: Whether `jenkins_url` may be an `http` address, without TLS. For a loopback host, `http` is
            always allowed.
        jenkins_credentials_secret: Name or ARN of the secret in Secrets Manager that holds a JSON object with
            `username` and `token`.
        jenkins_ca_bundle: Path of a PEM file with the certificates of a private certificate authority. By default, the
            system's certificate authorities are trusted.
        jenkins_build_lookup: Whether to look once for the build, right after starting a Jenkins job. If the build
            exists already, the outcome contains its number.
    """

    model_config = ConfigDict(frozen=True, alias_generator=str.upper, populate_by_name=True)

    tier_details_table: _Text = None
    tier_details_max_age: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300.0
    data_store_table: _Text = None
    dynamo_db_region: _Region = None
    code_build_region: _Region = None
    aws_region: _Region = None
    default_builder: Annotated[str, Field(min_length=1)] = "CODE_BUILD"
    event_bus_name: Annotated[str, Field(min_length=1)] = "default"
    event_bus_aws_region: _Region = None
    callback_url: Annotated[_Text, AfterValidator(_callback_address)] = None
    deprovisioning_webhook_type: Annotated[int | None, Field(ge=1)] = None
    callback_allowed_hosts: _Names = ()
    idempotency_table: _Text = None
    idempotency_record_max_age: Annotated[float, Field(ge=2 * 86400, allow_inf_nan=False)] = 30 * 86400.0
    require_run_id: bool = False
    publish_build_endings: bool = True
    failure_queue_url: _Text = None
    waiting_queue_url: _Text = None
    tenant_serialization: bool = True
    sqs_parallel_records: Annotated[int, Field(ge=1, le=100)] = 10
    jenkins_allow_http: bool = False  # must come before jenkins_url, whose validator reads it
    jenkins_url: Annotated[_Text, AfterValidator(_server_address)] = None
    jenkins_credentials_secret: _Text = None
    jenkins_ca_bundle: _Text = None
    jenkins_build_lookup: bool = False

    @field_validator("jenkins_url")
    @classmethod
    def _require_tls(cls, url: str | None, info: ValidationInfo) -> str | None:
        parts = urlsplit(url or "")
        if (
            parts.scheme == "http"
            and not info.data.get("jenkins_allow_http", True)
            and not is_loopback(parts.hostname or "")
        ):
            raise PydanticCustomError(
                "without_tls",
                "without TLS, others on the network can read the API token and the jobs' variables; use https, or set "
                "JENKINS_ALLOW_HTTP to true for a network that you trust",
            )
        return url

    @field_validator("require_run_id")
    @classmethod
    def _require_table(cls, required: bool, info: ValidationInfo) -> bool:
        if required and info.data.get("idempotency_table") is None:
            raise PydanticCustomError("no_runs", "it needs IDEMPOTENCY_TABLE, which stores the runs")
        return required

    @field_validator("waiting_queue_url")
    @classmethod
    def _require_failure_queue(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is not None and info.data.get("failure_queue_url") is None:
            raise PydanticCustomError("no_end", "it needs FAILURE_QUEUE_URL, for events that have waited for too long")
        return url

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings from environment variables. An empty variable counts as unset.

        Raises:
            ConfigurationError: A variable's value is invalid; the message names the variable.
        """
        try:
            return cls.model_validate({name: value for name, value in environment.items() if value.strip()})
        except ValidationError as error:
            raise ConfigurationError(f"environment variable {explain(error)}; correct or remove it") from None
