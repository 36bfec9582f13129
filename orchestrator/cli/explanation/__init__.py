"""Explains, as JSON, what a handler would do with an event, and why.

The JSON holds no secrets, and never an event's whole detail.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from orchestrator.application import Application
from orchestrator.cli.explanation import actions, settings
from orchestrator.cli.explanation.knowledge import Knowledge
from orchestrator.cli.flow import condition
from orchestrator.cli.rehearsal.ports import ledger_table
from orchestrator.cli.rehearsal.run import Rehearsal, Watched, rehearse
from orchestrator.details import find_tenant_id
from orchestrator.dispatch.turn import ConsumerResult
from orchestrator.endings.admission import is_about_run
from orchestrator.errors import InvalidEvent, OrchestratorError
from orchestrator.event import Event
from orchestrator.intake import envelopes, eventbridge
from orchestrator.intake.batch import Parse, parsing
from orchestrator.intake.message import as_eventbridge_event, tries
from orchestrator.run import Origin, named_run
from orchestrator.stores.tiers import DynamoDBTierDetails, StaticTierDetails
from orchestrator.timing import clock
from orchestrator.timing.clock import written

REFUSED, IGNORED, NOT_TAKEN = "refused", "ignored", "not taken"
HANDLED, WAITS, FAILS = "handled", "waits", "fails"
"""The values of `verdict`: what would become of an event."""


def explain(application: Application, raw: Any) -> list[dict[str, Any]]:
    """Explain what a handler would do with each event in a payload.

    An event of an array or batch is explained as if the other events did not exist.

    Args:
        application: The handler. Only its consumers are called. Their actions change and send nothing (see `rehearse`).
        raw: What Lambda would pass to the handler: an event, an array of events, or a batch of SQS messages.

    Returns:
        One explanation for each event. Its key `verdict` says what would become of the event, such as `handled`.

    Raises:
        OrchestratorError: The ledger or a tenant record cannot be read.
    """
    explainer = Explainer(application)
    if not eventbridge.is_sqs_batch(raw):
        return explainer.events(raw)
    return [found for record in raw["Records"] for found in explainer.message(SQSRecord(record))]


class Explainer:
    """Explains what one handler would do with events."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._ports = application.ports
        self._table = ledger_table(application.ports)
        self._known = Knowledge(application.ports, self._table)

    def events(self, payload: Any, parse: Parse = eventbridge.parse) -> list[dict[str, Any]]:
        """Explain the event in a payload. If the payload contains an array of events, explain each of them."""
        members = envelopes.members(payload)
        if members is None:
            return [self._event(partial(parse, payload))]
        count = len(members)
        return [
            {"place": place, "of": count, **self._event(partial(parse, member, f"event {place} of {count}"))}
            for place, member in enumerate(members, 1)
        ]

    def message(self, record: SQSRecord) -> list[dict[str, Any]]:
        """Explain the event in an SQS message. If the message holds an array of events, explain each of them."""
        parse, _ = parsing(record, comes_back=self._ports["settings"].failure_queue_url is not None)
        known = {"messageId": record.message_id, "tries": tries(record)}
        try:
            payload = as_eventbridge_event(record)
        except OrchestratorError as error:
            return [{**known, **_refused(error)}]
        return [{**known, **found} for found in self.events(payload, parse)]

    def _event(self, parse: Callable[[], Event[Mapping[str, Any]]]) -> dict[str, Any]:
        try:
            received = parse()
        except OrchestratorError as error:
            return _refused(error)
        return self._explained(received)

    def _explained(self, received: Event[Mapping[str, Any]]) -> dict[str, Any]:
        rehearsal = rehearse(self._application, received, self._table)
        event, tenant_id = rehearsal.event, find_tenant_id(rehearsal.event.detail)
        found: dict[str, Any] = {
            **_verdict(rehearsal),
            **self._about(rehearsal),
            "isAboutRun": self._is_about_run(received),
            "run": self._run(received),
            "tenant": None if tenant_id is None else self._known.of_tenant(tenant_id),
            "tenantLock": None if tenant_id is None else self._known.of_lock(tenant_id),
            "operation": Origin(event=event, consumer="", position=0).start.event_id,
            "consumers": [self._consumer(rehearsal, watched) for watched in rehearsal.watched],
            "published": [self._published(entry) for entry in rehearsal.asked.published],
            "callbacks": [actions.callback(action) for action in rehearsal.asked.callbacks],
        }
        names = {watched.consumer.name for watched in rehearsal.watched}
        for result in rehearsal.results:
            if result.consumer not in names and result.error is not None:  # it is not registered any more
                gone = {"name": result.consumer, "takes": False, "tiers": [], "actions": [], **_error(result.error)}
                found["consumers"].append(gone)
        return {**found, "settings": settings.that_mattered(rehearsal, found, self._ports["settings"])}

    def _about(self, rehearsal: Rehearsal) -> dict[str, Any]:
        received, memory = rehearsal.received, self._ports["records"].memory
        age = clock.now() - received.time
        delivery = received.delivery
        return {
            "eventId": received.id,
            "eventType": received.type,
            "source": received.source,
            "time": written(received.time),
            "ageSeconds": round(age.total_seconds()),
            "replayName": received.replay_name,
            "redrive": received.redrive is not None,
            "mayBeRepeat": Origin(event=received, consumer="", position=0).may_be_retry,
            "isOlderThanLedger": memory is not None and age > memory,
            "isLastTry": delivery is not None and delivery.is_last,
            "onlyFor": list(delivery.consumers) if delivery is not None else [],
            "otherTypes": [] if rehearsal.watched else self._types(),
        }

    def _types(self) -> list[str]:
        return list(dict.fromkeys(event_type for one in self._application.registry for event_type in one.types))

    def _is_about_run(self, received: Event[Mapping[str, Any]]) -> bool:
        return is_about_run(received, self._application.registry)

    def _run(self, received: Event[Mapping[str, Any]]) -> dict[str, Any] | None:
        """Return what the ledger has stored about the run that an event is about (see `Knowledge.of_run`).

        Return `None` if the event is not about a run, or contains no run id.
        """
        run_id = named_run(received) if self._is_about_run(received) else None
        return None if run_id is None else self._known.of_run(run_id)

    def _consumer(self, rehearsal: Rehearsal, watched: Watched) -> dict[str, Any]:
        consumer = watched.consumer
        result = next((one for one in rehearsal.results if one.consumer == consumer.name), None)
        found: dict[str, Any] = {
            "name": consumer.name,
            "condition": condition(consumer),
            "conditionIs": "failed" if watched.has_condition_failed else watched.condition,
            "takes": watched.was_called,
            "tiers": [self._tier(rehearsal, watched, name) for name in watched.tiers],
            "actions": [],
        }
        return found if result is None else {**found, **self._result(rehearsal, watched, result)}

    def _result(self, rehearsal: Rehearsal, watched: Watched, result: ConsumerResult) -> dict[str, Any]:
        failure = actions.failure_outcome(result)
        return {
            "actions": actions.explained(rehearsal, watched, result, self._known),
            **({} if result.error is None else _error(result.error)),
            "waitsFor": _waits_for(result),
            "publishesFailure": failure and {"eventType": failure["name"], "outcome": failure["status"]},
        }

    def _tier(self, rehearsal: Rehearsal, watched: Watched, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "from": actions.tier_from(rehearsal, watched, name),
            "source": self._source_of_tiers(),
            "attributes": sorted(watched.tiers[name]),
        }

    def _source_of_tiers(self) -> str:
        tiers, table = self._ports["tiers"], self._ports["settings"].tier_details_table
        if isinstance(tiers, DynamoDBTierDetails) and table is not None:
            return f"table {table}"
        if isinstance(tiers, StaticTierDetails):
            return "the handler's code, or its default without TIER_DETAILS_TABLE"
        return f"the handler's {type(tiers).__name__}"

    def _published(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        takers = self._application.registry.consumers_of(entry["DetailType"])
        return {
            "eventType": entry["DetailType"],
            "source": entry["Source"],
            "bus": entry["EventBusName"],
            "detail": sorted(json.loads(entry["Detail"])),
            "takenBy": [consumer.name for consumer in takers],
        }


def _verdict(rehearsal: Rehearsal) -> dict[str, Any]:
    if isinstance(rehearsal.refused, InvalidEvent):
        return _refused(rehearsal.refused)
    if rehearsal.refused is not None:
        return {"verdict": FAILS, **_error(rehearsal.refused)}
    if rehearsal.ignored is not None:
        return {"verdict": IGNORED, "reason": rehearsal.ignored}
    if not rehearsal.results:
        return {"verdict": NOT_TAKEN}
    if any(result.has_failed for result in rehearsal.results):
        return {"verdict": FAILS}
    return {"verdict": WAITS if any(result.is_waiting for result in rehearsal.results) else HANDLED}


def _refused(error: OrchestratorError) -> dict[str, Any]:
    return {"verdict": REFUSED, **_error(error)}


def _error(error: OrchestratorError) -> dict[str, Any]:
    return {"error": type(error).__name__, "reason": str(error)}


def _waits_for(result: ConsumerResult) -> str | None:
    """Return why the consumer's job cannot be started yet, such as `tenant busy`; `None` if no job has to wait."""
    if result.is_waiting:
        return result.outcomes[-1]["reason"]
    return None if result.waits_for is None else str(result.waits_for)
