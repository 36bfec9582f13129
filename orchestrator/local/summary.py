"""Formats and prints an event's effects as lines of text: jobs, tenant records, published events and callbacks."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from orchestrator.action import OutcomeStatus
from orchestrator.local.http_server import Request

if TYPE_CHECKING:
    from orchestrator.local.results import Handled

_VALUE_LENGTH = 200
_BODY_LENGTH = 2000


def handled_lines(result: "Handled", left_out: Collection[OutcomeStatus] = ()) -> Iterator[str]:
    """Yield lines that say what the consumers of an event did, or that the event waits.

    Args:
        result: The outcomes of the event's consumers.
        left_out: Outcomes with these statuses get no line.
    """
    for name in result.idle:
        yield f"  {cut(name)}: nothing to do"
    for outcome in result.outcomes:
        if outcome["status"] not in left_out:
            yield from _outcome_lines(outcome)


def _outcome_lines(outcome: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines that describe the outcome of one action.

    Args:
        outcome: The members of `orchestrator.action.Outcome`.
    """
    status, name = str(outcome["status"]), cut(str(outcome.get("name")))
    reason = f": {cut(outcome['reason'])}" if "reason" in outcome else ""
    match outcome["status"]:
        case OutcomeStatus.STARTED | OutcomeStatus.ALREADY_STARTED:
            yield from job_lines(status, outcome)
        case OutcomeStatus.SAVED | OutcomeStatus.UPDATED:
            yield f"  tenant record {status}: {name}"
        case OutcomeStatus.PUBLISHED | OutcomeStatus.ALREADY_PUBLISHED:
            yield f"  {status}: {name}"
        case OutcomeStatus.SENT | OutcomeStatus.ALREADY_SENT:
            yield f"  callback {status} to {name}"
        case OutcomeStatus.SWEPT:
            yield f"  swept: {outcome.get('checked')} runs checked, {outcome.get('published')} endings published"
        case OutcomeStatus.WAITING:
            yield f"  waits{reason}"
        case _:
            yield f"  {outcome['action']} {status}{reason}"


def job_lines(status: str, job: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines that describe a job: its builder and name, and its run's ids and link, if they are known.

    Args:
        status: What happened to the job, such as `started`.
        job: Members of the job's `orchestrator.action.Outcome`, such as `builder` and `name`.
    """
    yield f"  job {status}: {cut(str(job.get('builder')))} {cut(str(job.get('name')))}"
    if "runId" in job:
        yield f"    run {cut(str(job['runId']))}"
    if "id" in job:
        yield f"    id {cut(str(job['id']))}"
    if link := job.get("buildLink") or job.get("link"):
        yield f"    {cut(str(link), _BODY_LENGTH)}"


def builds(stream: TextIO, variables: Mapping[str, Mapping[str, str]], *, values_shown: bool) -> None:
    """Print the requested builds with their variables.

    Args:
        variables: The variables of each build, by name. The keys of the outer mapping are the run ids.
        values_shown: Whether to print the variables' values as well as their names. Real values may be secret.
    """
    for run_id, sent in variables.items():
        print(f"   run {run_id} was requested with {len(sent)} variables:", file=stream)
        width = max(map(len, sent), default=0)
        for name, value in sent.items():
            print(f"     {name:<{width}}  {cut(value) if values_shown else '…'}", file=stream)
    stream.flush()


def events(stream: TextIO, published: Iterable[Mapping[str, Any]], *, values_shown: bool) -> None:
    """Print the published events.

    Args:
        published: The entry of each event, as it was given to PutEvents.
        values_shown: Whether to print the events' details as well as their types. Real details may be secret.
    """
    for entry in published:
        print(f"   event {cut(entry['DetailType'])} was published:", file=stream)
        print(f"     {cut(entry['Detail'], _BODY_LENGTH) if values_shown else '…'}", file=stream)


def callbacks(stream: TextIO, requests: Iterable[Request]) -> None:
    """Print the addresses and bodies of the callbacks that the emulated control plane received."""
    for request in requests:
        print(f"   callback to {request.headers['Host']}{request.path}:", file=stream)
        print(f"     {cut(request.body.decode(), _BODY_LENGTH)}", file=stream)


def cut(value: str, length: int = _VALUE_LENGTH) -> str:
    """Cut a text after `length` characters, and escape its unprintable characters.

    If the text is cut, an ellipsis and the length of the whole text follow.
    """
    short = value if len(value) <= length else f"{value[:length]}… ({len(value)} characters)"
    # The value comes from an event or a record. It is escaped, so it can neither move the cursor nor begin a line.
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in short)
