"""Says whose code raised an error that is not this package's, and where, without the error's own text."""

import traceback

from botocore.exceptions import UnknownServiceError

from orchestrator.errors import ConfigurationError, ConsumerFailed, OrchestratorError, shown


def blamed(who: str, module: str, error: BaseException) -> OrchestratorError:
    """Wrap a foreign exception, naming its type and line.

    Args:
        who: Whose code it is, as in `consumer 'scale_down'`.
        module: The module that holds that code: where it is among the error's places, it is the one to look at.
        error: What was raised. Its text may hold event data: it stays on the cause, which no log prints.

    Returns:
        `ConfigurationError` where the code uses an AWS service that the artifact leaves out, else `ConsumerFailed`
        with the kind and the place of the other error.
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
