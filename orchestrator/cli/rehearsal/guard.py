"""Prevents AWS clients from changing anything, and records requests that were denied or failed temporarily."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore import exceptions, handlers

from orchestrator.aws.errors import aws_errors, is_denied, is_temporary
from orchestrator.cli.stack import YOUR_ROLE
from orchestrator.errors import ConfigurationError, OrchestratorError

# What operations that only read begin with. `AssumeRole` fetches credentials.
_READING = ("AssumeRole", "BatchGet", "Describe", "Get", "List", "Query", "Scan")
# With these, the SDK renews a person's login.
_RENEWING = {("signin", "CreateOAuth2Token"), ("sso-oidc", "CreateToken")}
_FAILURE = "the event cannot be explained"


class WouldWrite(Exception):
    """A request was not sent, because it could change something."""


class Guard:
    """Refuses requests that could change something, and records requests that were denied or failed temporarily.

    Temporary failures are those that a retry may solve, such as throttling or a connection error.
    """

    def __init__(self) -> None:
        self._errors: list[Exception] = []

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Raise an error at the end of the `with` block if a request was denied, was not sent, or failed temporarily.

        The same request might succeed in the deployed function, so the result of the block may differ from what the
        function would do. The error replaces any `OrchestratorError` that the block raises.

        Raises:
            ConfigurationError: A request was denied or would have changed something, or no credentials were found.
            Unavailable: AWS was not reached, failed or throttled a request.
        """
        self._errors.clear()
        try:
            yield
        except OrchestratorError:
            self._raise_first()
            raise
        self._raise_first()

    def _raise_first(self) -> None:
        for error in self._errors:
            if isinstance(error, WouldWrite):
                raise ConfigurationError(f"{_FAILURE}: {error}")
            with aws_errors(_FAILURE, role=YOUR_ROLE):
                raise error

    def refuse_writing(self, model: Any, **_: Any) -> None:
        """Raise and record `WouldWrite` if an operation may change something. botocore calls this before each request.

        Only operations whose names begin with one of `_READING`, and those in `_RENEWING`, count as changing nothing.

        Args:
            model: botocore's description of the operation.
        """
        service = model.service_model.service_name
        if not model.name.startswith(_READING) and (service, model.name) not in _RENEWING:
            error = WouldWrite(
                f"a consumer or builder of this handler would itself request {service}:{model.name}, and this command "
                "only reads"
            )
            self._errors.append(error)
            raise error

    def note_answer(self, parsed: Mapping[str, Any], model: Any, **_: Any) -> None:
        """Record an answer that denies the request or reports a temporary error.

        botocore calls this method once for each request, with the answer to the last try.

        Args:
            parsed: AWS's answer, as the SDK parsed it.
            model: botocore's description of the operation.
        """
        if "Error" in parsed and (is_denied(parsed) or is_temporary(parsed)):
            answer: Any = parsed
            self._errors.append(exceptions.ClientError(answer, model.name))

    def note_error(self, exception: Exception, **_: Any) -> None:
        """Record the error of a request that got no answer. botocore calls this method."""
        self._errors.append(exception)


@contextmanager
def only_reading() -> Iterator[Guard]:
    """Make AWS clients refuse requests that could change something, if their session is created in the `with` block.

    These clients refuse such requests even after the block.
    """
    guard = Guard()
    # The SDK has no public hook for clients that a handler creates later, so botocore's own list is extended.
    entries = [
        ("before-parameter-build", guard.refuse_writing),
        ("after-call", guard.note_answer),
        ("after-call-error", guard.note_error),
    ]
    handlers.BUILTIN_HANDLERS.extend(entries)
    try:
        yield guard
    finally:
        for entry in entries:
            handlers.BUILTIN_HANDLERS.remove(entry)
