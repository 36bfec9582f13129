"""Decides whether an event was handled or refused as it should be."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.errors import ConfigurationError, InvalidEvent, JobRejected, Unavailable
from tests.mutations.samples import MARK
from tests.mutations.world import Delivered

LONGEST_ERROR = 4096
LONGEST_LINE = 16_384
_TYPED = (InvalidEvent, ConfigurationError, JobRejected, Unavailable)
# Subclasses of these are typed, too. The log has only their names.
_LOGGED = frozenset(
    {"InvalidEvent", "UnknownTenant", "ConfigurationError", "JobRejected", "Unavailable", "Untraceable"}
)


def outcome_of(delivered: Delivered) -> str:
    """Name what came of an event: the class of the error, or what the answer says."""
    if isinstance(delivered.error, ExceptionGroup):
        return "several errors"
    if delivered.error is not None:
        return next((cls.__name__ for cls in _TYPED if isinstance(delivered.error, cls)), "untyped error")
    answer = delivered.answer
    if "batchItemFailures" in answer:
        return "batch, some come back" if answer["batchItemFailures"] else "batch, none comes back"
    members = answer.get("events", [answer])
    return "handled" if any(member["consumers"] for member in members) else "ignored, or taken by no consumer"


def faults_of(delivered: Delivered) -> Iterator[str]:
    """Yield what is wrong with how an event was handled."""
    if delivered.error is not None:
        yield from _of_error(delivered.error)
    else:
        yield from _of_answer(delivered.answer)
    yield from _of_output(delivered.output)
    yield from (f"AWS would not accept {surprise}" for surprise in delivered.surprises)


def _of_error(error: Exception) -> Iterator[str]:
    for one in _leaves(error):
        if not isinstance(one, _TYPED):
            yield f"raised {type(one).__name__}"
    yield from _of_text(str(error), "the error's text")


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def _of_text(text: str, where: str) -> Iterator[str]:
    if not text.isprintable() or not text.strip():
        yield f"{where} is not one line"
    if len(text) > LONGEST_ERROR:
        yield f"{where} has {len(text):,} characters"
    if MARK.lower() in text.lower():
        yield f"{where} has a secret"


def _of_answer(answer: Any) -> Iterator[str]:
    try:
        text = json.dumps(answer, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield f"the answer is not JSON ({type(error).__name__})"
        return
    if MARK.lower() in text.lower():
        yield "the answer has a secret"


def _of_output(output: str) -> Iterator[str]:
    if MARK.lower() in output.lower():
        yield "the log or a metric has a secret"
    for line in filter(None, output.split("\n")):
        try:
            entry = json.loads(line, parse_constant=_refuse)
        except ValueError:
            yield "a line of the log is not JSON"
            continue
        yield from _of_line(line, entry)


def _of_line(line: str, entry: Mapping[str, Any]) -> Iterator[str]:
    if len(line) > LONGEST_LINE:
        yield f"a line of the log has {len(line):,} characters"
    error = entry.get("error")
    if isinstance(error, str) and error not in _LOGGED:
        yield f"the log has {error}"
    if "exception" in entry or "stack_trace" in entry:
        yield "the log has a traceback"
    message = entry.get("message")
    if isinstance(message, str):
        yield from _of_text(message, "a message of the log")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
