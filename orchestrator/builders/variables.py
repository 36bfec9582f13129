"""Checks the names of a job's variables, and converts their values to text."""

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
    """Check a job's variables, convert their values to text, and merge the variables into one mapping.

    If a name occurs more than once, `own` takes precedence over `from_event`, and `from_event` over `trusted`.

    Args:
        trusted: Variables from the tier or from the consumer's code, and variables from the event that the tier's
            `allowedVariables` lists. Every well-formed name is allowed (see `is_name`).
        from_event: Other variables. Names that change how a build runs are refused (see `refused_names`).
        own: The `ORCHESTRATOR_…` variables. Some of their values come from the event, such as the event's id.

    Raises:
        ConfigurationError: A variable in `trusted` has a malformed name, or a value that cannot be converted to text.
        InvalidEvent: A variable in `from_event` has a malformed or refused name, or a value in `from_event` or `own`
            cannot be converted to text.
    """
    variables: dict[str, str] = {}
    for name, value in trusted.items():
        _check_form(name, ConfigurationError)
        variables[name] = _text_of(name, value, ConfigurationError)
    for name, value in from_event.items():
        _check_form(name, InvalidEvent)
        _check_allowed(name)
        variables[name] = event_text(name, value)
    variables.update((name, event_text(name, value)) for name, value in own.items())
    return variables


def is_name(name: object) -> bool:
    """Return whether a value is a well-formed name of a variable.

    A well-formed name is a text of ASCII letters, digits and underscores that does not begin with a digit.
    """
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def event_text(name: str, value: Any) -> str:
    """Convert a value from an event to the text of a job variable; see `to_text`.

    Args:
        name: The variable's name, for the error message.

    Raises:
        InvalidEvent: The value cannot be converted to text.
    """
    return _text_of(name, value, InvalidEvent)


def _check_form(name: object, error: type[OrchestratorError]) -> None:
    if not is_name(name):
        raise error(
            f"job variable {shown(name)} has a malformed name; use letters, digits and underscores, no digit first"
        )


def _check_allowed(name: str) -> None:
    family = family_of(name)
    if family is None:
        return
    remedy = "rename it"
    if family != OWN_FAMILY:
        remedy = (
            "rename it, pass it as trusted_variables in your code, or list it in the tier's allowedVariables, together "
            "with every other variable that events set"
        )
    raise InvalidEvent(
        f"job variable {shown(name)} can change how a build runs ({family}), so an event may not set it; {remedy}"
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
