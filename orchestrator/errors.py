"""The errors that this package raises: one small tree, one safe line each."""

import traceback

from botocore.exceptions import UnknownServiceError

_SHOWN_LENGTH = 80


class OrchestratorError(Exception):
    """Base of every error that this package raises on purpose.

    Its text is one line that says what went wrong, where, and what to do; it is safe to log, because it
    names things (fields, tiers, jobs, tables) and never repeats the values of an event.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().split())  # one line, whoever wrote it


class InvalidEvent(OrchestratorError):
    """The event cannot be understood. Permanent: whoever sends it must correct it."""


class UnknownTenant(InvalidEvent):
    """The event's tenant has no record: it was not provisioned here, so nobody waits for a job of its."""


class ConfigurationError(OrchestratorError):
    """The function, its tables or its consumers are set up wrongly. Permanent until somebody corrects that."""


class JobRejected(OrchestratorError):
    """The build system refused the job. Permanent until the job or the request changes."""


class Unavailable(OrchestratorError):
    """A service could not be reached, or asked to be left alone for a while. Worth a retry.

    Attributes:
        ambiguous: Whether the service may have acted all the same, as when only its answer got lost. Raise it
            with `ambiguous=False` where it certainly did not.
    """

    def __init__(self, message: str, *, ambiguous: bool = True) -> None:
        super().__init__(message)
        self.ambiguous = ambiguous


class ConsumerFailed(OrchestratorError):
    """A consumer or a builder raised an error of its own; it is kept as the cause, whose text may hold event data."""


def of_name(name: str, message: str) -> OrchestratorError | None:
    """Make a permanent error again of which name and text were kept.

    Args:
        name: The name of its class.
        message: Its text.

    Returns:
        The error, or `None` where no permanent error has that name.
    """
    classes = (InvalidEvent, ConfigurationError, JobRejected)
    return next((error(message) for error in classes if error.__name__ == name), None)


def is_permanent(error: BaseException) -> bool:
    """Say whether an error stays until somebody changes something.

    Args:
        error: What was raised.

    Returns:
        True for `InvalidEvent`, `ConfigurationError` and `JobRejected`.
    """
    return isinstance(error, InvalidEvent | ConfigurationError | JobRejected)


def is_certain(error: BaseException) -> bool:
    """Say whether an error leaves no doubt that nothing was done.

    Args:
        error: What an action raised.

    Returns:
        True for permanent errors and for what is unavailable without a doubt; False for any other error.
    """
    return is_permanent(error) or (isinstance(error, Unavailable) and not error.ambiguous)


def shown(value: object) -> str:
    """Render a name that came from outside so that it can stand in a one-line message.

    Args:
        value: What to show; anything but text is shown by its type, since its content may be secret.

    Returns:
        The quoted text with control characters escaped, cut after 80 characters; or the type's JSON name.
    """
    if not isinstance(value, str):
        return json_type(value)
    text = str.__str__(value)  # of a member of an enumeration, its value
    return ascii(text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "...")


def json_type(value: object) -> str:
    """Name a value's type in the words of JSON.

    Args:
        value: Any Python value.

    Returns:
        `null`, `a boolean`, `a number`, `a text`, `a list`, `an object`, or the Python type's name.
    """
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
    """Wrap a foreign exception, naming its type and line.

    Args:
        who: Whose code it is, as in `consumer 'scale_down'`.
        module: The module that holds that code; of the error's places, the last one in it is named.
        error: What was raised. Its text may hold event data: it stays on the cause, which no log prints.

    Returns:
        `ConfigurationError` where the code uses an AWS service that the artifact leaves out, else `ConsumerFailed`
        with the other error's type and line.
    """
    service = _left_out_service(error)
    failed: OrchestratorError
    if service is None:
        failed = ConsumerFailed(f"{who} raised {type(error).__name__}{_place(error, module)}; correct it there")
    else:
        failed = ConfigurationError(
            f"{who} needs AWS service {shown(service)}, which the artifact leaves out: add it to LAMBDA_AWS_SERVICES "
            "and build again"
        )
    failed.__cause__ = error
    return failed


def _left_out_service(error: BaseException) -> str | None:
    """Name the AWS service whose description the SDK lacks, if that is the reason of an error."""
    reason: BaseException | None = error  # boto3.resource, for one, raises an error of its own because of it
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
