"""Lists what happened to a tenant, from the tenant record and the ledger, which records the performed actions.

The steps are events, jobs, endings of runs, status webhooks, the tenant's present status, and what an event waits for.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from orchestrator.event import Event, EventType, RunEnding
from orchestrator.ledger.record import Record, milliseconds
from orchestrator.lifecycle.provisioning import start_deployment
from orchestrator.lifecycle.webhook import once_per_run
from orchestrator.run import SUCCESS_SUFFIX, Origin, ending_id
from orchestrator.timing import clock
from orchestrator.timing.clock import written

Step: TypeAlias = dict[str, Any]
"""One step of what happened to a tenant, as JSON.

`at` is the step's time; `None` if the time is unknown, or if the step is not over. `step` is `event`, `job`, `ending`,
`webhook`, `status` or `wait`. Each of these has further members. A member whose value is unknown is missing.
"""

# `start_deployment` publishes at this place among its actions.
_DEPLOYMENT_POSITION = 1


def related(record: Record) -> dict[str, str]:
    """Return the ids of the ledger's records about what follows the end of a run: the events and the status webhook.

    The ids are computed, because no index of the ledger finds these records. Some of the records may not exist.

    Args:
        record: The run's record.

    Returns:
        A dictionary with these keys:

        - `ending`: the id of the record about the event that reports the run's ending.
        - `webhook`: the id of the record about the status webhook.
        - `deployment`: the id of the record about the event `TENANT_DEPLOYMENT`; only for a provisioning run.
    """
    job = record.started_job
    event = Event(
        type=job.event_type + SUCCESS_SUFFIX,
        detail={"tenantId": job.tenant_id},
        run_ending=RunEnding(run_id=record.id, succeeded=True),
    )
    follow_up = Origin(event=event, consumer=start_deployment.__name__, position=_DEPLOYMENT_POSITION)
    found = {"ending": ending_id(record.id), "webhook": follow_up.once_per(once_per_run(record.id))}
    if job.event_type == EventType.TENANT_PROVISIONING:
        found["deployment"] = follow_up.run_id
    return found


def story(
    tenant: Mapping[str, Any] | None,
    runs: Sequence[Record],
    others: Mapping[str, Record],
    memory: timedelta,
    holder: str | None = None,
) -> list[Step]:
    """List what happened to a tenant, step by step, in the order of time.

    The last steps come from the tenant record, and show the tenant's present state.

    Args:
        tenant: The tenant's record, without attributes that may be secret; `None` if the tenant has no record.
        runs: The records of the tenant's jobs.
        others: The records about the events and webhooks that followed the ends of these runs, by id (see `related`).
        memory: How long the ledger keeps a record after it has stored the action's outcome. The time at which the
            outcome was stored is computed from this and from the time at which the record expires.
        holder: Id of the event whose runs make the tenant's other jobs wait, if there are such runs.
    """
    steps: list[tuple[str, Step]] = []
    seen: set[str] = set()
    for run in runs:
        _append(steps, _steps_of_run(run, others, memory, seen))
    if tenant is not None:
        begun = tenant.get("startedBy")
        if begun and begun not in seen and not any(step.get("operation") == begun for _, step in steps):
            _append(steps, [_step(tenant.get("startedAt"), "event", eventId=begun, note="began the present operation")])
        # What the record says is the present state, so it goes last, whatever its time is.
        latest = max((at for at, _ in steps), default="")
        sent = {step.get("reason", "") for _, step in steps if step["step"] == "webhook"} - {""}
        _append(steps, _steps_of_record(tenant, sent, holder), latest)
    return [step for _, step in sorted(steps, key=_place)]


def _steps_of_run(run: Record, others: Mapping[str, Record], memory: timedelta, seen: set[str]) -> Iterable[Step]:
    job, ids = run.started_job, related(run)
    if job.event_id not in seen:
        seen.add(job.event_id)
        operation = job.start.event_id if job.start.event_id != job.event_id else None
        yield _step(written(job.since), "event", eventId=job.event_id, eventType=job.event_type, operation=operation)
    outcome: Mapping[str, Any] = run.outcome or {}
    yield _step(
        _settled(run, memory) if run.outcome else None,
        "job",
        eventId=job.event_id,
        builder=job.builder,
        name=job.name,
        runId=run.id,
        id=job.id,
        status=job_status(run),
        link=outcome.get("buildLink") or outcome.get("link"),
        nextCheck=None if run.check_at is None else written(run.check_at),
    )
    ending, deployment, webhook = (others.get(ids.get(name, "")) for name in ("ending", "deployment", "webhook"))
    if run.ending is not None or ending is not None:
        published: Mapping[str, Any] = (ending.outcome if ending else None) or {}
        yield _step(
            _settled(ending, memory) if published and ending else None,
            "ending",
            runId=run.id,
            name=job.name,
            status=None if run.ending is None else str(run.ending),
            eventType=published.get("name"),
            eventId=published.get("id"),
        )
    if deployment is not None and deployment.outcome is not None:
        published = deployment.outcome
        at = _settled(deployment, memory)
        # Its id is the bus's; a job that it led to has the same one.
        seen.add(published.get("id", ""))
        yield _step(at, "event", eventType=published.get("name"), eventId=published.get("id"), note="published")
    if webhook is not None:
        sent: Mapping[str, Any] = webhook.outcome or {}
        yield _step(
            _settled(webhook, memory) if sent else None,
            "webhook",
            runId=run.id,
            host=sent.get("name"),
            status=str(sent["status"]) if sent else "in doubt",
            reason=sent.get("reason"),
        )


def _steps_of_record(tenant: Mapping[str, Any], sent: set[str], holder: str | None) -> Iterable[Step]:
    """Yield the steps that the tenant record shows: its status, a failed status webhook, and what an event waits for.

    Args:
        tenant: The tenant's record.
        sent: The reasons in the webhook steps that were built from the ledger. If the record's `statusWebhook` contains
            one of these reasons, it is about the same webhook, so no second step is yielded for that webhook.
        holder: Id of the event whose runs make the tenant's other jobs wait, if there are such runs.
    """
    if tenant.get("status"):
        yield _step(
            tenant.get("statusAt"),
            "status",
            status=tenant["status"],
            runId=tenant.get("statusRun"),
            build=tenant.get("statusBuild"),
            reason=tenant.get("statusReason"),
        )
    why = tenant.get("statusWebhook")
    if why and not any(reason in why for reason in sent):
        yield _step(None, "webhook", status="not accepted", reason=why)
    if tenant.get("waitingFor"):
        yield _step(None, "wait", reason=tenant["waitingFor"], heldBy=holder)


def job_status(run: Record) -> str:
    """Return a run's status: `being started`, `in doubt`, `running`, `SUCCESS`, `FAILURE` or `started, not followed`.

    `being started` means that a delivery of the event may be starting the run now. `in doubt` means that no delivery is
    starting the run any more, and that it is not known whether the run was started. `started, not followed` means that
    the function does not check whether the run has ended.
    """
    if run.ending is not None:
        return str(run.ending)
    if run.is_in_doubt:
        return "being started" if run.locked_until > milliseconds(clock.now()) else "in doubt"
    return "running" if run.check_at is not None else "started, not followed"


def _settled(record: Record, memory: timedelta) -> str | None:
    """Compute when a record's outcome was stored, from the time at which the record expires.

    Return `None` if the computed time cannot be right, because it is in the future or before the job was requested.
    This happens, for example, if `IDEMPOTENCY_RECORD_MAX_AGE` was changed after the outcome was stored.

    Args:
        memory: How long the ledger keeps a record after it has stored the outcome.
    """
    at = datetime.fromtimestamp(record.expiration, UTC) - memory
    is_possible = at <= clock.now() and (record.job is None or at >= record.job.since - timedelta(seconds=1))
    return written(at) if is_possible else None


def _step(at: str | None, step: str, **known: Any) -> Step:
    return {"at": at, "step": step, **{name: value for name, value in known.items() if value is not None}}


def _append(steps: list[tuple[str, Step]], chain: Iterable[Step], last: str = "") -> None:
    """Add steps whose order must be kept when all steps are sorted by time.

    Each step is sorted by its own time. A step that has no time, or would be sorted before its predecessor, is sorted
    by the same time as its predecessor.

    Args:
        steps: The steps so far, each with the time by which it is sorted. The new steps are added to this list.
        chain: The steps to add, in order.
        last: The earliest time by which an added step is sorted.
    """
    for step in chain:
        last = max(last, step["at"] or last)
        steps.append((last, step))


def _place(entry: tuple[str, Step]) -> str:
    return entry[0]
