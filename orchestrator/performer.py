"""Turns each action into what performs it, and performs it once."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.actions import (
    Action,
    CloseJob,
    PublishEvent,
    ReportJob,
    SaveTenant,
    SendCallback,
    StartJob,
    SweepJobs,
    UpdateTenant,
)
from orchestrator.bus import EventBus
from orchestrator.errors import shown
from orchestrator.idempotency import Once, Performance
from orchestrator.jobs import Jobs
from orchestrator.open_jobs import OpenJobs
from orchestrator.outcome import Outcome
from orchestrator.reporter import Reporter
from orchestrator.run import Origin
from orchestrator.sweep import Sweep
from orchestrator.tenants import STATUS_WEBHOOK, TenantRecords

if TYPE_CHECKING:
    from orchestrator.callback import Callbacks


class Performer:
    """Knows, for every kind of action, who performs it."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        tenants: TenantRecords,
        bus: EventBus,
        callbacks: "Callable[[], Callbacks]",
        once: Once,
        open_jobs: OpenJobs,
        reporter: Reporter,
    ) -> None:
        self._jobs = jobs
        self._tenants = tenants
        self._check_record: Callable[[str, Mapping[str, Any]], None] = getattr(tenants, "check", _accept)
        self._bus = bus
        self._callbacks = callbacks
        self._once = once
        self._open_jobs = open_jobs
        self._reporter = reporter
        self._sweep = Sweep(reporter, open_jobs)

    def prepare(self, action: Action, origin: Origin) -> Callable[[], Outcome]:
        """Check an action before anything is done.

        Args:
            action: What a consumer decided.
            origin: Where the action comes from.

        Returns:
            What performs it; a job, an event and a callback only if no earlier delivery has.

        Raises:
            ConfigurationError: Something that the action needs is not set up.
            InvalidEvent: The action holds what it may not.
        """
        performance: Performance
        note: Mapping[str, Any] = {}
        match action:
            case SaveTenant():
                self._check_record(action.tenant_id, action.record)
                return partial(self._save_tenant, action, origin)
            case UpdateTenant():
                kept = {name: value for name, value in action.changes.items() if value is not None}
                self._check_record(action.tenant_id, kept)
                # Once, because events of one second cannot be told apart by their times.
                what = f"tenant {shown(action.tenant_id)} was not updated"
                performance = partial(self._update_tenant, action, origin)
            case StartJob():
                what = f"job {shown(action.name)} was not started"
                prepared = self._jobs.prepare(action, origin)
                performance = prepared.start
                if prepared.to_follow is not None:
                    note = self._open_jobs.note(prepared.to_follow)
            case PublishEvent():
                what = f"event {shown(action.type)} was not published"
                performance = self._bus.prepare(action, origin.run_id)
            case SendCallback():
                host = self._callbacks().check(action)
                what = f"callback to {shown(host)} was not sent"
                performance = partial(self._send, action, host, origin)
            case ReportJob():
                return partial(self._reporter.report, action)
            case SweepJobs():
                return self._sweep.run
            case CloseJob():
                return partial(self._close, action)
        return partial(self._once.perform, origin.run_id, what, performance, note)

    def _save_tenant(self, action: SaveTenant, origin: Origin) -> Outcome:
        refused = self._tenants.save(action.tenant_id, action.record, origin.time)
        return _kept("SaveTenant", "saved", action.tenant_id, refused)

    def _update_tenant(self, action: UpdateTenant, origin: Origin, _: bool) -> Outcome:
        refused = self._tenants.update(action.tenant_id, action.changes, origin.time, create=action.create)
        return _kept("UpdateTenant", "updated", action.tenant_id, refused)

    def _close(self, action: CloseJob) -> Outcome:
        return _kept("CloseJob", "closed", action.run_id, self._open_jobs.close(action.run_id))

    def _send(self, action: SendCallback, host: str, origin: Origin, is_repeat: bool) -> Outcome:
        from orchestrator.callback import Delivery

        delivery = self._callbacks().send(action, is_repeat=is_repeat)
        if delivery is Delivery.ACCEPTED:
            return Outcome(action="SendCallback", status="sent", name=host)
        # A 401 may mean either, so the reason names both.
        if delivery is Delivery.REFUSED:
            reason = "it was answered 401: the tenant is settled already, or the signature is refused"
            if action.tenant_id is not None:
                self._tenants.update(action.tenant_id, {STATUS_WEBHOOK: f"refused: {reason}"}, origin.time)
            return Outcome(action="SendCallback", status="refused", name=host, reason=reason)
        reason = "a repeat was answered 401: the first was accepted, or the signature is refused"
        return Outcome(action="SendCallback", status="already sent", name=host, reason=reason)


def _accept(tenant_id: str, attributes: Mapping[str, Any]) -> None:
    """Accept every record: tenant records of one's own need no `check`."""


def _kept(action: str, status: str, name: str, refused: str | None) -> Outcome:
    if refused is None:
        return Outcome(action=action, status=status, name=name)
    return Outcome(action=action, status="skipped", name=name, reason=refused)
