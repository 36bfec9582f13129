"""Explains what would happen to each action of a consumer, and why."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from orchestrator.action import (
    Outcome,
    OutcomeStatus,
    PublishEnding,
    PublishEvent,
    SaveTenant,
    SendCallback,
    StartJob,
    UpdateTenant,
)
from orchestrator.cli.explanation import values
from orchestrator.cli.explanation.knowledge import NO_RECORD, WAITING, Knowledge
from orchestrator.cli.rehearsal.run import Rehearsal, Watched
from orchestrator.details import find_tier, unwrapped
from orchestrator.dispatch.turn import ConsumerResult
from orchestrator.ending_event import DEFAULT
from orchestrator.errors import OrchestratorError
from orchestrator.ledger.ledger import Prepared
from orchestrator.performers import answers
from orchestrator.performers.performer import is_action, performer_of
from orchestrator.performers.start_job import JobStarter
from orchestrator.run import Origin, positions
from orchestrator.stores.tenants import STARTED_BY, WAITING_FOR

FAILS, NOT_REACHED = "fails", "not reached"
"""What may happen to an action, in addition to the values of `OutcomeStatus`."""


def explained(rehearsal: Rehearsal, watched: Watched, result: ConsumerResult, known: Knowledge) -> list[dict[str, Any]]:
    """Explain each action of a consumer, in the order in which the actions would be performed.

    Args:
        rehearsal: The rehearsal of the event.
        watched: The consumer, with what it did in the rehearsal.
        result: The consumer's result in the rehearsal.
        known: Reads what is stored about the actions.
    """
    actions = [action for action in watched.actions or () if is_action(action, rehearsal.performers)]
    places = positions(actions)
    prepared = [_prepared(rehearsal, watched, action, place) for action, place in zip(actions, places, strict=True)]
    refused = next((place for place, one in enumerate(prepared) if isinstance(one, OrchestratorError)), None)
    fates = _fates(result, len(actions), refused)
    found = []
    for action, place, ready, fate in zip(actions, places, prepared, fates, strict=True):
        about = {} if isinstance(ready, OrchestratorError) else _about(rehearsal, watched, action, place, ready, known)
        found.append({"action": type(action).__name__, **fate, **_described(action), **about})
    return found


def failure_outcome(result: ConsumerResult) -> Outcome | None:
    """Return the outcome of publishing the event about the consumer's failure; `None` if no such event is published."""
    return next((outcome for outcome in result.outcomes if "error" in outcome), None)


def _origin(rehearsal: Rehearsal, watched: Watched, place: int | str) -> Origin:
    consumer, event = watched.consumer, rehearsal.event
    return Origin(event=event, consumer=consumer.name, position=place, declared=consumer.declared(event))


def _prepared(rehearsal: Rehearsal, watched: Watched, action: Any, place: int | str) -> Prepared | OrchestratorError:
    try:
        performer = performer_of(action, rehearsal.performers)
        return performer.prepare(answers.blank(action), _origin(rehearsal, watched, place))
    except OrchestratorError as error:
        return error


def _fates(result: ConsumerResult, actions: int, refused: int | None) -> Sequence[dict[str, Any]]:
    """Return what happens to each of a consumer's actions: its `outcome`, and perhaps a `reason` or other details.

    If an action cannot be prepared (see `Performer.prepare`), none of the consumer's actions is performed.

    Args:
        result: The consumer's result.
        actions: The number of the consumer's actions.
        refused: The index of the first action that could not be prepared; `None` if all actions were prepared.
    """
    waits = next((one for one in result.outcomes if one["status"] is OutcomeStatus.WAITING), None)
    performed = [one for one in result.outcomes if "error" not in one and one is not waits]
    fates: list[dict[str, Any]] = [_fate(outcome) for outcome in performed[:actions]]
    if refused is not None:
        fates = [{"outcome": NOT_REACHED} for _ in range(refused)]
    if waits is not None:
        fates.append(_fate(waits))
    elif result.error is not None:
        fates.append({"outcome": FAILS, "error": type(result.error).__name__, "reason": str(result.error)})
    return [*fates, *({"outcome": NOT_REACHED} for _ in range(actions - len(fates)))][:actions]


def _fate(outcome: Outcome) -> dict[str, Any]:
    reason = {"reason": outcome["reason"]} if "reason" in outcome else {}
    counts = {name: value for name, value in outcome.items() if name in ("checked", "published")}
    return {"outcome": str(outcome["status"]), **reason, **counts}


def _described(action: Any) -> dict[str, Any]:
    """Return what may be shown of an action, by the names that the JSON output uses.

    Of a tenant record, the tenant's id, the status and the attributes' names are returned; of an event's detail, only
    the members' names.
    """
    match action:
        case StartJob():
            return {"builder": action.builder, "name": action.name}
        case SaveTenant():
            return {"tenantId": action.tenant_id, "status": _status(action.record), "attributes": sorted(action.record)}
        case UpdateTenant():
            removed = sorted(name for name, value in action.changes.items() if value is None)
            changed = sorted(action.changes.keys() - set(removed))
            status = _status(action.changes)
            return {"tenantId": action.tenant_id, "status": status, "attributes": changed, "removed": removed}
        case PublishEvent():
            return {"eventType": action.type, "source": action.source, "detail": sorted(action.detail)}
        case SendCallback():
            return callback(action)
        case PublishEnding():
            return {"builder": action.builder, "name": action.name, "runId": action.run_id, "build": action.build}
        case _:
            return {}


def callback(action: SendCallback) -> dict[str, Any]:
    """Describe a callback: its host, the names of its body's members and, for a status webhook, the status.

    The host is `None` if the callback's address has none.
    """
    try:
        host = urlsplit(action.url).hostname
    except ValueError:
        host = None
    data = action.body.get("data")
    status = data.get("status") if "initiatorId" in action.body and isinstance(data, Mapping) else None
    webhook = {} if status is None else {"webhookStatus": status}
    return {"host": host, "body": sorted(map(str, action.body)), **webhook}


def _about(
    rehearsal: Rehearsal, watched: Watched, action: Any, place: int | str, prepared: Prepared, known: Knowledge
) -> dict[str, Any]:
    """Describe how an action would be performed, and what is stored about the action.

    Args:
        rehearsal: The rehearsal of the event.
        watched: The consumer, with what it did in the rehearsal.
        action: The action.
        place: The action's position among the consumer's actions (see `positions`).
        prepared: The result of preparing the action.
        known: Reads what is stored about the action.
    """
    about: dict[str, Any] = {"identity": prepared.action_id, "ledger": known.of_action(prepared.action_id)}
    origin = _origin(rehearsal, watched, place)
    if isinstance(action, PublishEnding):
        about["run"] = known.of_run(action.run_id)
    starter = performer_of(action, rehearsal.performers)
    if not isinstance(action, StartJob) or not isinstance(starter, JobStarter) or prepared.job is None:
        return about
    if about["ledger"]["state"] == NO_RECORD and prepared.job.tenant_id is not None:
        record = known.ports["tenants"].get(prepared.job.tenant_id) or {}
        if record.get(WAITING_FOR) and record.get(STARTED_BY) == origin.start.event_id:
            about["ledger"] = {"state": WAITING, "for": record[WAITING_FOR]}
    _, job = starter.job(action, origin)
    tiers = watched.tiers.values()
    records = [record for record in watched.records.values() if record is not None]
    ending = watched.consumer.ending or DEFAULT
    return {
        **about,
        "builder": prepared.job.builder,
        "builderFrom": _builder_from(rehearsal, watched, action),
        "nameFrom": _name_from(watched, action),
        "runId": job.run_id,
        "tenantId": prepared.job.tenant_id,
        "followedBy": list(ending.types(rehearsal.event.type)) if prepared.follow else [],
        "variables": values.variables(
            action, job.variables, tiers=tiers, detail=rehearsal.event.detail, records=records
        ),
    }


def _builder_from(rehearsal: Rehearsal, watched: Watched, action: StartJob) -> str:
    if action.builder is None:
        return "DEFAULT_BUILDER"
    places = [
        (values.EVENT, [unwrapped(rehearsal.event.detail).get("builderConfig")]),
        (values.RECORD, [(record or {}).get("builderConfig") for record in watched.records.values()]),
        (values.TIER, [{"type": tier.get("builder")} for tier in watched.tiers.values()]),
    ]
    for place, configs in places:
        if any(isinstance(config, Mapping) and config.get("type") == action.builder for config in configs):
            return place
    return values.CONSUMER


def _name_from(watched: Watched, action: StartJob) -> str:
    for tier in watched.tiers.values():
        for attribute, value in tier.items():
            if value == action.name:
                return f"{attribute} of tier {tier.get('tier')}"
    return values.CONSUMER


def tier_from(rehearsal: Rehearsal, watched: Watched, name: str) -> str:
    """Return where a consumer got the name of a tier from: the event, a tenant record or the consumer's own code."""
    detail = rehearsal.event.detail
    if name in (find_tier(detail), detail.get("tier")):
        return values.EVENT
    is_recorded = any(find_tier(record) == name for record in watched.records.values() if record is not None)
    return values.RECORD if is_recorded else values.CONSUMER


def _status(attributes: Mapping[str, Any]) -> str | None:
    status = attributes.get("status")
    return status if isinstance(status, str) else None
