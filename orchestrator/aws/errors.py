"""Converts the AWS SDK's errors into this package's own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore import exceptions

from orchestrator.errors import ConfigurationError, OrchestratorError, Unavailable

# Error codes that mean "try again later" in the services that this package uses.
_THROTTLED = frozenset(
    {
        "KmsThrottlingException",
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


_NOT_SET_UP = {
    exceptions.NoCredentialsError: "set AWS_PROFILE, or give the function a role",
    exceptions.NoRegionError: "set AWS_REGION",
    exceptions.PartialCredentialsError: "correct the AWS credentials",
    exceptions.ProfileNotFound: "correct AWS_PROFILE",
}


@contextmanager
def aws_errors(
    failure: str, rejected: type[OrchestratorError] = ConfigurationError, *, role: str = "the function's role"
) -> Iterator[None]:
    """Convert each error that the SDK raises in the `with` block into an error of this package.

    AWS's own text is left out of the messages, because it may repeat the request's values.

    Args:
        failure: Start of the error message, such as `tier 'BASIC' could not be read`.
        rejected: The type of the error if the request is refused for a reason that is not listed below under
            `Unavailable` or `ConfigurationError`, for example because the request is invalid.
        role: Whose permissions the request needs, for the error message.

    Raises:
        Unavailable: AWS or the source of the credentials was not reached or gave no answer, or AWS failed internally or
            throttled the request.
        ConfigurationError: Credentials or permissions are missing or wrong, no region is set, or AWS answered
            `ResourceNotFoundException`.
        OrchestratorError: AWS or the SDK refused the request for another reason. The error's type is `rejected`.
    """
    try:
        yield
    except exceptions.ClientError as error:
        raise _from_answer(error, failure, rejected, role) from None
    except _UNREACHABLE as error:
        raise Unavailable(f"{failure}: AWS was not reached ({type(error).__name__}); a retry may succeed") from None
    except tuple(_NOT_SET_UP) as error:
        remedy = next(_NOT_SET_UP[cls] for cls in type(error).__mro__ if cls in _NOT_SET_UP)
        raise ConfigurationError(f"{failure}: {type(error).__name__}; {remedy}") from None
    except exceptions.BotoCoreError as error:
        raise rejected(f"{failure}: the SDK refused the request ({type(error).__name__})") from None


def _from_answer(
    error: exceptions.ClientError, failure: str, rejected: type[OrchestratorError], role: str
) -> OrchestratorError:
    code = code_of(error)
    if is_temporary(error.response):
        return Unavailable(f"{failure}: AWS answered {code}; a retry may succeed")
    if is_denied(error.response):
        return ConfigurationError(f"{failure}: AWS answered {code}; allow {error.operation_name} to {role}")
    if code == "ResourceNotFoundException":
        return ConfigurationError(f"{failure}: AWS answered {code}; create it or correct its name or region")
    return rejected(f"{failure}: AWS answered {code} to {error.operation_name}; correct the request")


def raise_in_doubt(error: exceptions.ClientError, failure: str) -> None:
    """Raise `Unavailable` if the SDK tried a request more than once, and AWS refused the last try.

    In that case, AWS may have carried out an earlier try whose answer was lost. If there was only one try, do nothing.

    Args:
        error: The error with which AWS refused the last try.
        failure: Start of the error message.
    """
    if error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0:
        raise Unavailable(
            f"{failure}: AWS answered {code_of(error)} to the SDK's second try; a retry may succeed"
        ) from None


def code_of(error: exceptions.ClientError) -> str:
    """Return the code by which AWS names an error, such as `AccessDenied`; `Unknown` if there is none."""
    return str(error.response.get("Error", {}).get("Code", "Unknown"))


def is_denied(answer: Mapping[str, Any]) -> bool:
    """Return whether AWS refused a request because of missing permissions or wrong credentials.

    Args:
        answer: AWS's answer to the request, as the SDK parsed it.
    """
    return answer.get("Error", {}).get("Code") in _NOT_ALLOWED


def is_temporary(answer: Mapping[str, Any]) -> bool:
    """Return whether a request that failed may succeed later, because AWS throttled it or failed internally.

    Args:
        answer: AWS's answer to the request, as the SDK parsed it.
    """
    return is_throttled(answer) or _status(answer) >= 500


def is_throttled(answer: Mapping[str, Any]) -> bool:
    """Return whether AWS asks to send a request again later, in most cases because there were too many requests.

    Args:
        answer: AWS's answer to the request, as the SDK parsed it.
    """
    return answer.get("Error", {}).get("Code") in _THROTTLED or _status(answer) == 429


def _status(answer: Mapping[str, Any]) -> int:
    status: int = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status
