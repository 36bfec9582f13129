"""Lets this process's AWS clients read only, and remembers which requests were not answered."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore import exceptions, handlers

from orchestrator.aws.errors import aws_errors, is_denied, is_temporary
from orchestrator.cli.stack import YOUR_ROLE
from orchestrator.errors import ConfigurationError, OrchestratorError

# What operations that only read begin with. `AssumeRole` fetches credentials.
_READING = ("AssumeRole", "BatchGet", "Describe", "Get", "List", "Query", "Scan")
_FAILURE = "the event cannot be explained"


class WouldWrite(Exception):
    """Raised in place of a request that could change something."""


class Guard:
    """The requests that keep an explanation from being true."""

    def __init__(self) -> None:
        self._errors: list[Exception] = []

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Raise an error at the end of the `with` block if what it has found is not what the function would find.

        That is so if AWS refused this person a request, or did not answer one, or if a request was not sent because it
        would have written. The error takes the place of an `OrchestratorError` from the block.

        Raises:
            ConfigurationError: A request was denied, no credentials were found, or a request would have written.
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
        """Raise an error if an operation may change something."""
        if not model.name.startswith(_READING):
            service = model.service_model.service_name
            error = WouldWrite(
                f"a consumer or builder of this handler would itself request {service}:{model.name}, and this command "
                "only reads"
            )
            self._errors.append(error)
            raise error

    def note_answer(self, parsed: Mapping[str, Any], model: Any, **_: Any) -> None:
        """Keep an answer that says more about the person's access than about the event."""
        if "Error" in parsed and (is_denied(parsed) or is_temporary(parsed)):
            answer: Any = parsed
            self._errors.append(exceptions.ClientError(answer, model.name))

    def note_error(self, exception: Exception, **_: Any) -> None:
        """Keep the error of a request that got no answer."""
        self._errors.append(exception)


@contextmanager
def only_reading() -> Iterator[Guard]:
    """Within the `with` block, refuse the requests of new AWS clients that could change something.

    Clients that were created before the block are not affected.
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
