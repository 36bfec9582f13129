"""Says whose code raised an error that is not this package's, and where, without the error's own text."""

import traceback

from orchestrator.errors import ConsumerFailed


def blamed(who: str, module: str, error: BaseException) -> ConsumerFailed:
    """Make the error that tells of another.

    Args:
        who: Whose code it is, as in `consumer 'scale_down'`.
        module: The module that holds that code: where it is among the error's places, it is the one to look at.
        error: What was raised. Its text may hold event data: it stays on the cause, which no log prints.

    Returns:
        The error, which names the kind and the place of the other.
    """
    failed = ConsumerFailed(f"{who} raised {type(error).__name__}{_place(error, module)}; correct it there")
    failed.__cause__ = error
    return failed


def _place(error: BaseException, module: str) -> str:
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return ""
    own = [entry for entry in frames if entry[0].f_globals.get("__name__") == module]
    frame, line = (own or frames)[-1]
    return f" in {frame.f_code.co_name}, {frame.f_code.co_filename.rpartition('/')[2]} line {line}"
