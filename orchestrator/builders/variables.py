"""A job's variables: which names are allowed, and how values become text."""

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.builders.refused_names import OWN_FAMILY, family_of
from orchestrator.errors import ConfigurationError, InvalidEvent, OrchestratorError, shown
from orchestrator.values.limits import TOO_MANY_DIGITS, has_too_many_digits, place_of
from orchestrator.values.text import to_text
from orchestrator.values.validation import path_of

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def job_variables(trusted: Mapping[str, Any], from_event: Mapping[str, Any], own: Mapping[str, str]) -> dict[str, str]:
    """Put a job's variables together: the tier's, the event's on top, ours on top of both.

    Args:
        trusted: Variables that may have any well-formed name: the tier details.
        from_event: Variables that an event brings.
        own: The `ORCHESTRATOR_…` variables.

    Returns:
        All variables as text.

    Raises:
        ConfigurationError: A trusted variable has a malformed name or a value that is no JSON.
        InvalidEvent: So has one from the event, or its name reaches into the build.
    """
    variables: dict[str, str] = {}
    for name, value in trusted.items():
        _check_form(name, ConfigurationError)
        variables[name] = _text_of(name, value, ConfigurationError)
    for name, value in from_event.items():
        _check_form(name, InvalidEvent)
        _refuse_reaching(name)
        variables[name] = event_text(name, value)
    variables.update((name, event_text(name, value)) for name, value in own.items())
    return variables


def is_name(name: object) -> bool:
    """Say whether something can be the name of a variable: letters, digits and underscores, no digit first."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def event_text(name: str, value: Any) -> str:
    """Write the value of one variable that an event brings.

    Args:
        name: The variable's name, for the message.
        value: Its value.

    Returns:
        The value as `to_text` writes it.

    Raises:
        InvalidEvent: The value cannot be passed to a job.
    """
    return _text_of(name, value, InvalidEvent)


def _check_form(name: object, error: type[OrchestratorError]) -> None:
    if not is_name(name):
        raise error(
            f"job variable {shown(name)} is no name for a variable; use letters, digits and underscores, no digit first"
        )


def _refuse_reaching(name: str) -> None:
    family = family_of(name)
    if family is None:
        return
    remedy = "rename it"
    if family != OWN_FAMILY:
        remedy = (
            "rename it, put it into trusted_variables in your code, or admit it with the tier's allowedVariables, "
            "which then must name all that events set"
        )
    raise InvalidEvent(
        f"job variable {shown(name)} would reach into the build ({family}), so an event may not set it; {remedy}"
    )


def _text_of(name: str, value: Any, error: type[OrchestratorError]) -> str:
    try:
        return to_text(value)
    except (TypeError, ValueError, RecursionError) as reason:
        place = None if isinstance(reason, RecursionError) else place_of(value, has_too_many_digits)
        if place is not None:
            raise error(
                f"job variable {path_of(name, place)} is {TOO_MANY_DIGITS}; use a shorter one, or text"
            ) from None
        raise error(
            f"job variable {shown(name)} has a value that cannot be passed to a job ({type(reason).__name__}); "
            "use text, finite numbers, booleans, null, lists and objects"
        ) from None
