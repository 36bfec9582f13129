"""Writes an explanation as lines of plain English."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.cli.explanation import FAILS, HANDLED, IGNORED, NOT_TAKEN, REFUSED, WAITS, actions, knowledge
from orchestrator.cli.output import table
from orchestrator.intake.eventbridge import BUS_REPLAY
from orchestrator.local.summary import cut

_WIDTH = 118
_TEXT_LENGTH = 1000
_VARIABLES = ("VARIABLE", "VALUE", "FROM")
_DOES = ("started", "saved", "updated", "published", "sent", "swept")
_VERBS = {
    "StartJob": "start",
    "SaveTenant": "save",
    "UpdateTenant": "update",
    "PublishEvent": "publish",
    "SendCallback": "send",
    "PublishEnding": "publish",
    "SweepRuns": "check",
}
_ENDS = {
    HANDLED: "the event would be handled",
    WAITS: "the event would wait in its queue, and be tried again",
    FAILS: "the event would fail, and be delivered again or go to the failure queue",
    NOT_TAKEN: "no consumer takes the event; it would be logged, and nothing else would happen",
}


def lines(explanation: Mapping[str, Any]) -> list[str]:
    """Write an explanation as lines. Texts from events and records are shortened and escaped."""
    return [line.rstrip() for line in _lines(explanation)]


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    if "messageId" in found:
        yield f"message {_text(found['messageId'])}, delivered for the {_ordinal(found['tries'])} time"
    if "place" in found:
        yield f"array, event {found['place']} of {found['of']}"
    if "eventType" in found:
        yield f"{_text(found['eventType'])} {_text(found['eventId'])}, from {_text(found['source'])} at {found['time']}"
        yield from (f"  {note}" for note in _notes(found))
    if found["verdict"] == REFUSED:
        yield f"the function would refuse this event: {found['error']}: {_text(found['reason'])}"
        return
    yield from _tenant(found)
    if found["verdict"] == IGNORED:
        yield from _wrapped("", f"the function would ignore this event: {_text(found['reason'])}")
    else:
        for consumer in found["consumers"]:
            yield from _consumer(consumer, found)
        if found["verdict"] == NOT_TAKEN and not found["consumers"]:
            known = ", ".join(map(_text, found["otherTypes"])) or "none"
            yield from _wrapped("", f"no consumer is registered for this type; registered are: {known}")
        yield from _effects(found)
    if found["settings"]:
        shown = ((name, "(not set)" if value is None else _text(value)) for name, value in found["settings"].items())
        yield from _wrapped("settings that mattered: ", ", ".join(map("=".join, shown)))
    if found["verdict"] in _ENDS:
        reason = f" ({found['error']}: {_text(found['reason'])})" if "error" in found else ""
        yield from _wrapped("", f"{_ENDS[found['verdict']]}{reason}")


def _notes(found: Mapping[str, Any]) -> Iterator[str]:
    age = found["ageSeconds"]
    if found["replayName"] == BUS_REPLAY:
        yield "sent again by a replay of a custom event bus"
    elif found["replayName"] is not None:
        yield f"sent again by the replay {_text(found['replayName'])}"
    elif found["redrive"]:
        yield "sent again by a person, from the failure queue or as a record of a failed invocation"
    if age < 0:
        yield "its time is in the future, so its age is unknown, and it may be a repeat"
    elif found["mayBeRepeat"]:
        yield f"{_duration(age)} old, so it may be a repeat: the ledger is asked what was done before"
    if found["isOlderThanLedger"]:
        yield "older than the ledger keeps its records: the build system is searched for the run before it is started"
    if found["isLastTry"]:
        yield "it has waited for 13 days, so this is its last try"
    if found["onlyFor"]:
        yield f"it waited for its consumers {', '.join(map(_text, found['onlyFor']))}, and goes only to them"
    if found.get("operation") not in (None, found["eventId"]):
        yield f"it belongs to the operation that event {_text(found['operation'])} began"
    run = found.get("run")
    if run is not None and run["isKnown"]:
        yield f"its run is ours: {_run(run)}"
    elif run is None and found["isAboutRun"]:
        yield "it names no run, so it is not checked against the ledger"
    elif run is not None:
        yield f"the ledger has no record of the run {_text(run['runId'])} that it names"


def _tenant(found: Mapping[str, Any]) -> Iterator[str]:
    tenant, lock = found["tenant"], found["tenantLock"]
    if tenant is None:
        yield "it names no tenant"
        return
    parts = [f"tenant {_text(tenant['tenantId'])}: "]
    if not tenant["hasRecord"]:
        parts.append("no record")
    else:
        parts.append(f"status {_text(tenant['status'])}" if "status" in tenant else "a record without a status")
        parts += [f", tier {_text(tenant['tier'])}"] if "tier" in tenant else []
        parts += [f", an event waits for: {_text(tenant['waitingFor'])}"] if "waitingFor" in tenant else []
    yield "".join(parts)
    if lock is not None:
        whose = "this operation" if lock["operation"] == found["operation"] else f"event {_text(lock['operation'])}"
        for run in lock["runs"]:
            yield f"  locked by a job of {whose}: {_run(run)}"


def _run(run: Mapping[str, Any]) -> str:
    job = f"{_text(run['builder'])} job {_text(run['name'])}"
    return f"{job}, {run['run']}, for {_text(run['eventType'])} {_text(run['eventId'])}"


def _consumer(consumer: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    name = _text(consumer["name"])
    if consumer["takes"]:
        yield from _wrapped("", f"{name} takes it: {_condition(consumer)}")
    elif "error" in consumer:
        yield from _wrapped("", f"{name} fails before it decides: {_failure(consumer)}")
    else:
        yield from _wrapped("", f"{name} does not take it: {_condition(consumer)}")
    for tier in consumer["tiers"]:
        yield f"  tier {_text(tier['name'])}: named by the {tier['from']}, its details are from {_text(tier['source'])}"
    if consumer["takes"] and not consumer["actions"] and "error" not in consumer:
        yield "  it would do nothing"
    for number, action in enumerate(consumer["actions"], 1):
        yield from _wrapped(f"  {number}. ", _sentence(action, found))
        yield from _details(action)
    if consumer["takes"] and "error" in consumer and not _is_shown(consumer):
        yield from _wrapped("  ", f"it would fail: {_failure(consumer)}")
    failure = consumer.get("publishesFailure")
    if failure is not None:
        again = "has published" if failure["outcome"].startswith("already") else "would publish"
        yield f"  the function {again} {_text(failure['eventType'])} with this reason"


def _condition(consumer: Mapping[str, Any]) -> str:
    if consumer["condition"] is None:
        return "it takes every event of this type"
    match consumer["conditionIs"]:
        case True:
            result = "is true"
        case False:
            result = "is false"
        case _:
            result = "was not reached"
    return f"its condition {_text(consumer['condition'])} {result}"


def _failure(about: Mapping[str, Any]) -> str:
    where = "its condition failed, " if about.get("conditionIs") == "failed" else ""
    return f"{where}{about['error']}: {_text(about['reason'])}"


def _is_shown(consumer: Mapping[str, Any]) -> bool:
    return any(action["outcome"] in (actions.FAILS, "waiting") for action in consumer["actions"])


def _sentence(action: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    verb, thing, outcome = _VERBS.get(action["action"], "perform"), _thing(action, found), action["outcome"]
    reason = _text(action.get("reason", ""))
    if outcome in _DOES:
        counts = (
            f" ({action['checked']}), and publish {action['published']} of their endings" if "checked" in action else ""
        )
        return f"would {verb} {thing}{counts}"
    if outcome == actions.FAILS:
        return f"would fail to {verb} {thing}: {action['error']}: {reason}"
    if outcome == actions.NOT_REACHED:
        return f"would not {verb} {thing}: what comes before it ends the consumer's turn"
    if outcome == "waiting":
        return f"would not {verb} {thing} yet: {reason}"
    if outcome.startswith("already "):
        return f"would not {verb} {thing} again{f': {reason}' if reason else ''}"
    return f"would not {verb} {thing}: {outcome}{f', {reason}' if reason else ''}"


def _thing(action: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    match action["action"]:
        case "StartJob":
            job = f"{_text(action['builder'] or 'default')} job {_text(action['name'])}"
            if "nameFrom" not in action:
                return job
            builder = "" if action["builderFrom"] == "DEFAULT_BUILDER" else "the "
            name = _text(action["nameFrom"]) if " of tier " in action["nameFrom"] else "named by the consumer"
            return f"{job} ({name}; build system from {builder}{action['builderFrom']})"
        case "SaveTenant" | "UpdateTenant":
            status = f"status {_text(action['status'])} and " if action["status"] is not None else ""
            count = len(action["attributes"]) - (action["status"] is not None)
            return f"the tenant record: {status}{count} {'more ' if status else ''}attribute{'s' * (count != 1)}"
        case "PublishEvent":
            return f"{_text(action['eventType'])}"
        case "SendCallback":
            return _callback(action)
        case "PublishEnding":
            return f"how {_text(action['builder'])} job {_text(action['name'])} ended"
        case _:
            return "the runs that are due"


def _callback(callback: Mapping[str, Any]) -> str:
    host = f" to {_text(callback['host'])}" if callback["host"] else ""
    if "webhookStatus" in callback:
        return f"the status webhook{host}: status {_text(callback['webhookStatus'])}"
    return f"a callback{host}"


def _details(action: Mapping[str, Any]) -> Iterator[str]:
    ledger = action.get("ledger")
    if ledger is not None and ledger["state"] != knowledge.NEVER_KEPT:
        yield from _wrapped("     ledger: ", _ledger(action, ledger))
    if action.get("followedBy"):
        yield f"     when the run has ended: {' or '.join(map(_text, action['followedBy']))}"
    if "run" in action:
        run = action["run"]
        yield f"     ledger: {_run(run)}" if run["isKnown"] else f"     ledger: no record of run {_text(run['runId'])}"
    variables = action.get("variables")
    if variables:
        rows = [(one["name"], "…" if one["value"] is None else one["value"], one["from"]) for one in variables]
        yield from (f"     {line}" for line in table(_VARIABLES, rows).splitlines())


def _ledger(action: Mapping[str, Any], ledger: Mapping[str, Any]) -> str:
    subject = f"run {action['runId']}" if "runId" in action and action["action"] == "StartJob" else "this action"
    match ledger["state"]:
        case knowledge.NO_TABLE:
            return f"IDEMPOTENCY_TABLE is not set, so nothing is known of {subject}"
        case knowledge.NO_RECORD:
            return f"no record of {subject}"
        case knowledge.UNREADABLE:
            return f"what it has on {subject} cannot be read: {_text(ledger['reason'])}"
        case knowledge.BEING_PERFORMED:
            return f"{subject} is being performed by another delivery, until {ledger['lockedUntil']} at most"
        case knowledge.IN_DOUBT:
            return f"{subject} is in doubt: an earlier delivery began it and stored no outcome"
        case knowledge.WAITING:
            return f"no record of {subject}; the tenant record says that it waits for: {_text(ledger['for'])}"
    outcome = ledger["outcome"]
    parts = [f"{subject} is done: {outcome['status']}", outcome.get("id"), ledger.get("run"), ledger.get("link")]
    return ", ".join(_text(part) for part in parts if part)


def _effects(found: Mapping[str, Any]) -> Iterator[str]:
    for event in found["published"]:
        takers = ", ".join(map(_text, event["takenBy"])) or "no consumer of this handler"
        yield from _wrapped("", f"would publish {_text(event['eventType'])} on bus {_text(event['bus'])}, for {takers}")
    if not found["published"] and not found["callbacks"]:
        yield "would publish nothing, and call nobody back"


def _wrapped(start: str, text: str) -> Iterable[str]:
    indent = " " * (len(start) - len(start.lstrip())) + "  "
    return textwrap.wrap(start + text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _text(value: Any) -> str:
    return cut(str(value), _TEXT_LENGTH)


def _duration(seconds: int) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' * (count != 1)}"
    return f"{seconds} second{'s' * (seconds != 1)}"


def _ordinal(number: int) -> str:
    names: Sequence[str] = ("first", "second", "third")
    return names[number - 1] if 0 < number <= len(names) else f"{number}th"
