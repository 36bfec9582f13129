"""The way to AWS: clients built once, with time limits, and the SDK's errors in this package's words."""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal, DecimalException, Overflow
from typing import TYPE_CHECKING, Any, Literal, overload

from botocore import exceptions

from orchestrator import telemetry
from orchestrator.errors import ConfigurationError, InvalidEvent, OrchestratorError, Unavailable
from orchestrator.timing import deadline
from orchestrator.values.limits import MAX_KEY_BYTES

if TYPE_CHECKING:
    import boto3
    from types_boto3_codebuild import CodeBuildClient
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef, UniversalAttributeValueTypeDef
    from types_boto3_events import EventBridgeClient
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sqs import SQSClient

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 5
MAX_ATTEMPTS = 3

# What AWS calls a request that is to be repeated later, in the services used here.
_THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
_NOT_ALLOWED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "UnrecognizedClientException",
    }
)
_UNREACHABLE = (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.CredentialRetrievalError)
_NOT_SET_UP = (
    exceptions.NoCredentialsError,
    exceptions.NoRegionError,
    exceptions.PartialCredentialsError,
    exceptions.ProfileNotFound,
)


class Clients:
    """Builds each client on first use and keeps it, so that its connections stay open between events."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: boto3.Session | None = None
        self._clients: dict[tuple[str, str | None], Any] = {}

    @overload
    def get(self, service: Literal["codebuild"], region: str | None) -> "CodeBuildClient": ...
    @overload
    def get(self, service: Literal["dynamodb"], region: str | None) -> "DynamoDBClient": ...
    @overload
    def get(self, service: Literal["events"], region: str | None) -> "EventBridgeClient": ...
    @overload
    def get(self, service: Literal["secretsmanager"], region: str | None) -> "SecretsManagerClient": ...
    @overload
    def get(self, service: Literal["sqs"], region: str | None) -> "SQSClient": ...
    def get(self, service: str, region: str | None) -> Any:
        """Give the client of a service.

        Args:
            service: The SDK's name of the service.
            region: Its region; `None` leaves it to the SDK's configuration.

        Returns:
            The client. It connects within 2 s and takes at most 5 s for an answer, and no longer than the invocation
            may act; tries three times with jittered pauses; and honours `AWS_ENDPOINT_URL` and
            `AWS_ENDPOINT_URL_<SERVICE>`.

        Raises:
            ConfigurationError: There is no region.
        """
        with self._lock:  # a session builds one client at a time
            client = self._clients.get((service, region))
            if client is None:
                what = f"no client for {service} can be made"
                with errors(what):
                    try:
                        client = self._build(service, region)
                    except ValueError:
                        raise ConfigurationError(
                            f"{what}: its endpoint is no http(s) address; correct AWS_ENDPOINT_URL or "
                            f"AWS_ENDPOINT_URL_{service.upper()}"
                        ) from None
                self._clients[service, region] = client
            return client

    def _build(self, service: str, region: str | None) -> Any:
        from botocore.config import Config

        if self._session is None:
            self._session = _session()
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
            tcp_keepalive=True,
        )
        client = self._session.client(service, region_name=region, config=config)  # type: ignore[call-overload]  # the service is a variable
        _keep_time(client._endpoint.http_session)
        client.meta.events.register("before-send", _refuse_late_try)
        client.meta.events.register_first("needs-retry", _end_tries_in_time)
        telemetry.quiet_new_loggers()  # of the SDK's modules that this client is the first to use
        return client


def _session() -> "boto3.Session":
    import boto3
    import botocore.session

    core = botocore.session.Session()
    if any(name.startswith("AWS_CONTAINER_CREDENTIALS_") for name in os.environ):  # so it is with SnapStart
        from botocore.credentials import ContainerProvider
        from botocore.httpsession import URLLib3Session
        from botocore.utils import ContainerMetadataFetcher

        http = URLLib3Session(timeout=ContainerMetadataFetcher.TIMEOUT_SECONDS)
        _keep_time(http)
        fetcher: Any = ContainerMetadataFetcher(session=http, sleep=_sleep_in_time)
        core.get_component("credential_provider").insert_before("container-role", ContainerProvider(fetcher=fetcher))
    telemetry.quiet_new_loggers()  # of the SDK, which is imported here
    return boto3.Session(botocore_session=core)


def _keep_time(http_session: Any) -> None:
    """Bound each try by the clock, and by what is left of the invocation."""
    from orchestrator.timing.http import timed

    # botocore has no setting for this: its own timeouts bound each wait for bytes, and stay as they are set here.
    pools = http_session._pool_classes_by_scheme
    pools.update({scheme: timed(pool) for scheme, pool in pools.items()})


def _sleep_in_time(seconds: float) -> None:
    if not deadline.has_time(seconds):
        raise Unavailable("the function's credentials could not be fetched in time; it will be retried")
    time.sleep(seconds)


def _refuse_late_try(**_: Any) -> None:
    # One of the SDK's earlier tries of the same request may have been acted upon.
    deadline.require("AWS was not asked", ambiguous=True)


def _end_tries_in_time(
    *,
    operation: Any,
    attempts: int,
    response: tuple[Any, Mapping[str, Any]] | None,
    caught_exception: Exception | None,
    **_: Any,
) -> None:
    """Raise the failure of a try where the SDK's pause before the next one could outlast the invocation."""
    # botocore.retries.standard.ExponentialBackoff: for a second at most after the first throttling, for 50 ms after any
    # other failure, and twice as long each time; what AWS asks for comes on top.
    longest_pause = (1.0 if response is not None and _is_throttled(response[1]) else 0.05) * 2 ** (attempts - 1)
    if response is not None and "x-amz-retry-after" in response[0].headers:
        longest_pause += 5
    if deadline.has_time(longest_pause):
        return
    if caught_exception is not None:
        raise caught_exception
    if response is not None and _may_pass(response[1]):
        raise exceptions.ClientError(response[1], operation.name)  # type: ignore[arg-type]  # as botocore parsed it


# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
_LONG, _FIRST_TOO_LARGE = 10**38, 10**126
_LEAST_EXPONENT, _GREATEST_EXPONENT = -130, 125


@contextmanager
def errors(what: str, rejected: type[OrchestratorError] = ConfigurationError) -> Iterator[None]:
    """Raise the SDK's errors as this package's own.

    Args:
        what: What could not be done, as the message's beginning.
        rejected: What a request that AWS understood and refused is raised as.

    Yields:
        Nothing; the calls stand in the body.

    Raises:
        Unavailable: AWS was not reached, failed by itself, or throttled.
        ConfigurationError: Credentials, permissions or a region are missing, or a resource does not exist.
        OrchestratorError: What `rejected` names, for everything else. AWS's own text is left out: it may
            repeat the request's values.
    """
    try:
        yield
    except exceptions.ClientError as error:
        raise _from_answer(error, what, rejected) from None
    except _UNREACHABLE as error:
        raise Unavailable(f"{what}: AWS was not reached ({type(error).__name__}); it will be retried") from None
    except _NOT_SET_UP as error:
        name = type(error).__name__
        raise ConfigurationError(f"{what}: {name}; check the function's role, credentials and region") from None
    except exceptions.BotoCoreError as error:
        raise rejected(f"{what}: the SDK refused the request ({type(error).__name__})") from None


def _from_answer(error: exceptions.ClientError, what: str, rejected: type[OrchestratorError]) -> OrchestratorError:
    code = error.response.get("Error", {}).get("Code", "Unknown")
    if _may_pass(error.response):
        return Unavailable(f"{what}: AWS answered {code}; it will be retried")
    if code in _NOT_ALLOWED:
        return ConfigurationError(f"{what}: AWS answered {code}; allow {error.operation_name} to the function's role")
    if code == "ResourceNotFoundException":
        return ConfigurationError(f"{what}: AWS answered {code}; create it or correct its name or region")
    return rejected(f"{what}: AWS answered {code} to {error.operation_name}; correct the request")


def _may_pass(answer: Mapping[str, Any]) -> bool:
    return _is_throttled(answer) or _status(answer) >= 500


def _is_throttled(answer: Mapping[str, Any]) -> bool:
    return answer.get("Error", {}).get("Code") in _THROTTLED or _status(answer) == 429


def _status(answer: Mapping[str, Any]) -> int:
    status: int = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


def from_item(item: "Mapping[str, AttributeValueTypeDef]") -> dict[str, Any]:
    """Read a DynamoDB item.

    Args:
        item: The item as the low-level client gives it.

    Returns:
        Its attributes; numbers are `Decimal`.
    """
    from boto3.dynamodb.types import TypeDeserializer

    deserialize = TypeDeserializer().deserialize
    return {name: deserialize(value) for name, value in item.items()}


def plain(value: Any) -> Any:
    """Turn the numbers of an item into those that JSON has.

    Args:
        value: What `from_item` gave, or a part of it; sets count as lists.

    Returns:
        The same with `int` and `float` for `Decimal`.
    """
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case Mapping():
            return {name: plain(member) for name, member in value.items()}
        case list() | set():
            return [plain(member) for member in value]
        case _:
            return value


def is_condition_failure(error: exceptions.ClientError) -> bool:
    """Say whether DynamoDB changed nothing because the item does not meet the request's condition.

    Args:
        error: What the client raised.

    Returns:
        Whether it was that.
    """
    return error.response.get("Error", {}).get("Code") == "ConditionalCheckFailedException"


def to_item(attributes: Mapping[str, Any]) -> "dict[str, UniversalAttributeValueTypeDef]":
    """Make a DynamoDB item.

    Args:
        attributes: JSON-like values; a `float` is stored as the number that is written the same way.

    Returns:
        The item for the low-level client.

    Raises:
        DecimalException: A number has more than 38 digits besides zeros at its end, or is not between 1e-130 and
            9.9e125.
        TypeError: A value is not JSON-like or not finite.
    """
    from boto3.dynamodb.types import TypeSerializer

    serialize = TypeSerializer().serialize
    return {name: serialize(_storable(value)) for name, value in attributes.items()}


def is_storable(value: object) -> bool:
    """Say of a part of a record that is no object and no list whether DynamoDB can store it."""
    try:
        to_item({"": value})
    except (DecimalException, TypeError):
        return False
    return True


def is_too_large(error: exceptions.ClientError) -> bool:
    """Say whether DynamoDB refused an item for its size; its error code is that of any invalid request."""
    answer = error.response.get("Error", {})
    return answer.get("Code") == "ValidationException" and "exceeded the maximum allowed size" in answer.get(
        "Message", ""
    )


def check_key(what: str, key: str) -> None:
    """Refuse what is too long for the partition key of a table.

    Args:
        what: What the key names, as the message's beginning.
        key: The key.

    Raises:
        InvalidEvent: It is too long.
    """
    size = len(key.encode())
    if size > MAX_KEY_BYTES:
        raise InvalidEvent(
            f"{what} has {size:,} bytes, and the key of a DynamoDB table at most {MAX_KEY_BYTES:,}; correct the event"
        )


def item_bytes(item: "Mapping[str, UniversalAttributeValueTypeDef]") -> int:
    """Compute the size of a DynamoDB item.

    Args:
        item: The item as `to_item` makes it.

    Returns:
        Its bytes, as https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
        counts them. Those of a number are documented as approximate.
    """
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Any) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "M":
            return 3 + len(content) + item_bytes(content)
        case "L":
            return 3 + len(content) + sum(map(_value_bytes, content))
        case "S":
            return len(content.encode())
        case "B":
            return len(content)
        case "SS" | "NS" | "BS":
            return sum(_value_bytes({kind[0]: member}) for member in content)
        case "N":
            return 1 + len(Decimal(content).normalize().as_tuple().digits) // 2
        case _:
            return 1


def _storable(value: Any) -> Any:
    if isinstance(value, float | Decimal):
        return _in_range(Decimal(repr(value)) if isinstance(value, float) else value)
    if isinstance(value, int) and not -_LONG < value < _LONG:
        return _without_zeros(value)
    if isinstance(value, Mapping):
        return {name: _storable(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(member) for member in value]
    return value


def _in_range(value: Decimal) -> Decimal:
    if value.is_finite() and value and not _LEAST_EXPONENT <= value.adjusted() <= _GREATEST_EXPONENT:
        raise Overflow  # the SDK's own limits are wider
    return value


def _without_zeros(value: int) -> Decimal:
    if not -_FIRST_TOO_LARGE < value < _FIRST_TOO_LARGE:
        raise Overflow  # before the conversion, which takes seconds for a million digits
    digits = str(value)
    significant = digits.rstrip("0")
    return Decimal(f"{significant}E{len(digits) - len(significant)}")
