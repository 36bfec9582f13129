"""Defines the exceptions of this package. Each message is one line that is safe to log."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from botocore.exceptions import UnknownServiceError

_SHOWN_LENGTH = 80


class OrchestratorError(Exception):
    """The base class of the exceptions that this package raises on purpose.

    The message says what went wrong, where, and what to do. It is safe to log: it contains the names of fields, tiers,
    jobs, tables and the like, but no other values from an event.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().split())  # one line, even if a consumer's message has several


class InvalidEvent(OrchestratorError):
    """The event is invalid. A retry is pointless: the sender must correct the event."""


class UnknownTenant(InvalidEvent):
    """The event's tenant has no tenant record, for example because this function did not provision the tenant.

    The control plane expects no job for such a tenant, so no event about this failure is published.
    """


class ConfigurationError(OrchestratorError):
    """The function, its tables or its consumers are set up wrongly. A retry is pointless until that is corrected."""


class JobRejected(OrchestratorError):
    """The build system refused to start the job. A retry is pointless until the job or the request is corrected."""


class WaitReason(StrEnum):
    """The reason why an event has to wait: its job cannot be started yet.

    Attributes:
        BUILD_QUEUE_FULL: The build system has just refused this or another job, because it has too many runs already.
        BUILD_SYSTEM_DOWN: The build system was unreachable or too busy, or failed.
        TENANT_BUSY: A job of another operation (see `Start`) for the same tenant has not ended.
        SLOT_FULL: As many other runs go on as the job's `Slot` allows.
    """

    BUILD_QUEUE_FULL = "build queue full"
    BUILD_SYSTEM_DOWN = "build system down"
    TENANT_BUSY = "tenant busy"
    SLOT_FULL = "slot full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A job that cannot be started yet, and the limit on concurrent runs or the build system that it waits for.

    Attributes:
        reason: Why the job cannot be started.
        key: The key, in the ledger's table, of the item about the limit or build system.
        is_full: Takes the item with this key, and returns whether there is still no room for the job.
        size: If the limit is a `Slot`, how many runs it allows at the same time; otherwise `None`.
        run_id: The id of the job's run.
        since: The time of the event that began the job's operation, such as the tenant's provisioning.
        was_tried: If the job waits for its build system, whether the build system has just refused the job. False if
            the build system was not asked.
    """

    reason: WaitReason
    key: str
    is_full: Callable[[Mapping[str, Any]], bool]
    size: int | None = None
    run_id: str
    since: datetime
    was_tried: bool


class Unavailable(OrchestratorError):
    """A service could not be reached, or is too busy. A retry of the event may succeed.

    Attributes:
        ambiguous: Whether the service may have acted although it did not answer. Pass `False` only if the service
            certainly did not act.
        waits_for: Why the event's job cannot be started yet; `None` for other failures.
        wait: The job that cannot be started yet, and the limit or build system that it waits for. The ledger sets this
            attribute.
    """

    def __init__(
        self,
        message: str,
        *,
        ambiguous: bool = True,
        waits_for: WaitReason | None = None,
        wait: Wait | None = None,
    ) -> None:
        super().__init__(message)
        self.ambiguous = ambiguous
        self.waits_for = waits_for
        self.wait = wait


class ConsumerFailed(OrchestratorError):
    """A consumer or builder raised an exception that is not an `OrchestratorError`, or a builder returned a wrong type.

    A retry may succeed. If an exception was raised, it is `__cause__`. That exception's text may contain event data.
    """


_STORED = (InvalidEvent, ConfigurationError, JobRejected, Unavailable)


def stored_name(error: OrchestratorError) -> str:
    """Return the class name under which the ledger stores an error.

    For a subclass of `InvalidEvent`, `ConfigurationError`, `JobRejected` or `Unavailable`, this is the name of that
    base class. The function `of_name`, which creates the error again, knows only these four names. For any other error,
    this is the name of the error's own class.
    """
    return next((cls.__name__ for cls in _STORED if isinstance(error, cls)), type(error).__name__)


def of_name(name: str, message: str) -> OrchestratorError | None:
    """Create an error again from the class name and message that the ledger has stored.

    Returns:
        An `InvalidEvent`, `ConfigurationError`, `JobRejected` or `Unavailable`; `None` if `name` is the name of another
        class.
    """
    return next((error(message) for error in _STORED if error.__name__ == name), None)


def is_permanent(error: BaseException) -> bool:
    """Whether a retry is pointless. This is true for `InvalidEvent`, `ConfigurationError` and `JobRejected`."""
    return isinstance(error, InvalidEvent | ConfigurationError | JobRejected)


def is_certain(error: BaseException) -> bool:
    """Whether an action that raised this error certainly did nothing.

    This is true for permanent errors (see `is_permanent`), and for an `Unavailable` that is not `ambiguous`.
    """
    return is_permanent(error) or (isinstance(error, Unavailable) and not error.ambiguous)


def shown(value: object) -> str:
    """Quote a string, such as a name, for an error message.

    The string is cut after 80 characters. Control characters and characters outside ASCII are escaped, so that the
    message stays one line. If `value` is not a string, it may be secret, so only the name of its JSON type is returned.
    """
    if not isinstance(value, str):
        return json_type(value)
    text = str.__str__(value)  # converts a member of a StrEnum to its value
    return ascii(text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "...")


def json_type(value: object) -> str:
    """Return the name of a value's JSON type, such as `a number`. If JSON has no such type, name the Python type."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
        case _:
            return type(value).__name__


def wrapped(who: str, module: str, error: BaseException) -> OrchestratorError:
    """Wrap an exception that a consumer or builder raised.

    Args:
        who: The consumer or builder, for example `consumer 'scale_down'`.
        module: Name of the module that defines the consumer or builder.
        error: The exception. Its text may contain event data, so the new message does not contain that text.

    Returns:
        A `ConfigurationError` if the code uses an AWS service that the deployment artifact leaves out. Otherwise, a
        `ConsumerFailed`. Its message names the exception's type and a line from the traceback: the last line in
        `module`, or the very last line if none is in `module`. The given exception is the `__cause__` of the returned
        exception.
    """
    service = _left_out_service(error)
    failed: OrchestratorError
    if service is None:
        failed = ConsumerFailed(f"{who} raised {type(error).__name__}{_place(error, module)}; correct the code there")
    else:
        failed = ConfigurationError(
            f"{who} needs AWS service {shown(service)}, which the artifact leaves out; add it to LAMBDA_AWS_SERVICES "
            "and build again"
        )
    failed.__cause__ = error
    return failed


def _left_out_service(error: BaseException) -> str | None:
    """Return the AWS service whose missing botocore files caused the error; `None` if the error has another cause.

    The deployment artifact contains botocore's description files only for some services.
    """
    reason: BaseException | None = error  # boto3.resource, for example, wraps UnknownServiceError in its own exception
    while reason is not None and not isinstance(reason, UnknownServiceError):
        reason = reason.__cause__ or reason.__context__
    if reason is None:
        return None
    from botocore.loaders import Loader

    service: str = reason.kwargs["service_name"]
    return None if service in Loader().list_available_services("service-2") else service


def _place(error: BaseException, module: str) -> str:
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return ""
    own = [entry for entry in frames if entry[0].f_globals.get("__name__") == module]
    frame, line = (own or frames)[-1]
    return f" in {frame.f_code.co_name}, {frame.f_code.co_filename.rpartition('/')[2]} line {line}"
