"""Turns each action into what performs it, and performs it once."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.action import (
    Action,
    Outcome,
    PublishEvent,
    ReportJob,
    SaveTenant,
    SendCallback,
    StartJob,
    SweepJobs,
    UpdateTenant,
)
from orchestrator.endings.endings import Endings
from orchestrator.endings.sweep import Sweep
from orchestrator.errors import OrchestratorError, of_name, shown
from orchestrator.ledger.ledger import Claim, Ledger
from orchestrator.performers.publish_event import EventBus
from orchestrator.performers.start_job import Jobs
from orchestrator.run import Origin
from orchestrator.stores.tenants import STATUS_WEBHOOK, Refusal, TenantRecords

if TYPE_CHECKING:
    from orchestrator.performers.send_callback import Callbacks


class Performer:
    """Knows, for every kind of action, who performs it."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        tenants: TenantRecords,
        bus: EventBus,
        callbacks: "Callable[[], Callbacks]",
        ledger: Ledger,
        endings: Endings,
    ) -> None:
        self._jobs = jobs
        self._tenants = tenants
        self._check_record: Callable[[SaveTenant | UpdateTenant, Origin], None] = getattr(tenants, "check", _accept)
        self._bus = bus
        self._callbacks = callbacks
        self._ledger = ledger
        self._endings = endings
        self._sweep = Sweep(endings, ledger)

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
        match action:
            case SaveTenant():
                self._check_record(action, origin)
                return partial(self._save_tenant, action, origin)
            case UpdateTenant():
                self._check_record(action, origin)
                if action.starts or action.status is not None:
                    return partial(self._update_tenant, action, origin)
                # Once, because events of one second cannot be told apart by their times.
                what = f"tenant {shown(action.tenant_id)} was not updated"
                return partial(self._ledger.perform, origin.run_id, what, partial(self._update_tenant, action, origin))
            case StartJob():
                what = f"job {shown(action.name)} was not started"
                job = self._jobs.prepare(action, origin)
                return partial(self._ledger.perform, origin.run_id, what, job.start, job.job, follow=job.follow)
            case PublishEvent():
                what = f"event {shown(action.type)} was not published"
                publish = self._bus.prepare(action, origin.run_id, origin.start, origin.time)
                return partial(self._ledger.perform, _identity(action, origin), what, publish)
            case SendCallback():
                if action.missing is not None:
                    what, send = "callback was not sent", partial(self._leave, action, action.missing, origin)
                else:
                    host = self._callbacks().check(action)
                    what, send = f"callback to {shown(host)} was not sent", partial(self._send, action, host, origin)
                return partial(self._ledger.perform, _identity(action, origin), what, send)
            case ReportJob():
                return partial(self._endings.report, action, origin.time)
            case SweepJobs():
                return self._sweep.run

    def is_done(self, origin: Origin) -> bool:
        """Say whether an action has been performed, by whichever delivery of its event.

        Raises:
            Unavailable: The ledger cannot be asked.
        """
        record = self._ledger.read(origin.run_id)
        return record is not None and record.state == "done"

    def published_failure(self, origin: Origin) -> OrchestratorError | None:
        """Look for the failure that an earlier delivery of an event has published.

        Args:
            origin: The origin of such an event.

        Returns:
            The failure; `None` where no delivery through the same carrier has published one.

        Raises:
            Unavailable: The ledger cannot be asked.
        """
        record = self._ledger.read(origin.run_id)
        if record is None or record.outcome is None:
            return None
        return of_name(record.outcome["error"], record.outcome["reason"])

    def _save_tenant(self, action: SaveTenant, origin: Origin) -> Outcome:
        return _kept("SaveTenant", "saved", action.tenant_id, self._tenants.save(action, origin))

    def _update_tenant(self, action: UpdateTenant, origin: Origin, _: Claim | None = None) -> Outcome:
        return _kept("UpdateTenant", "updated", action.tenant_id, self._tenants.update(action, origin))

    def _leave(self, action: SendCallback, missing: str, origin: Origin, _: Claim) -> Outcome:
        reason = f"not sent, for it has {missing}"
        self._note(action, reason, origin)
        return Outcome(action="SendCallback", status="skipped", name=action.tenant_id or "", reason=reason)

    def _note(self, action: SendCallback, note: str, origin: Origin) -> None:
        if action.tenant_id is not None:
            self._tenants.update(UpdateTenant(tenant_id=action.tenant_id, changes={STATUS_WEBHOOK: note}), origin)

    def _send(self, action: SendCallback, host: str, origin: Origin, claim: Claim) -> Outcome:
        from orchestrator.performers.send_callback import Delivery

        if action.keeps:
            answer = self._callbacks().ask(action)
            return Outcome(action="SendCallback", status="sent", name=host, answer=answer)
        delivery = self._callbacks().send(action, is_repeat=claim.is_retry)
        if delivery is Delivery.ACCEPTED:
            return Outcome(action="SendCallback", status="sent", name=host)
        # A 401 may mean either, so the reason names both.
        if delivery is Delivery.REFUSED:
            reason = "it was answered 401: the tenant is settled already, or the signature is refused"
            self._note(action, f"refused: {reason}", origin)
            return Outcome(action="SendCallback", status="refused", name=host, reason=reason)
        reason = "a repeat was answered 401: the first was accepted, or the signature is refused"
        return Outcome(action="SendCallback", status="already sent", name=host, reason=reason)


def _identity(action: PublishEvent | SendCallback, origin: Origin) -> str:
    return origin.run_id if action.once_per is None else origin.once_per(action.once_per)


def _accept(action: SaveTenant | UpdateTenant, origin: Origin) -> None:
    """Accept every record: tenant records of one's own need no `check`."""


def _kept(action: str, status: str, name: str, refusal: Refusal | None) -> Outcome:
    if refusal is None:
        return Outcome(action=action, status=status, name=name)
    refused = "superseded" if refusal.supersedes else "skipped"
    return Outcome(action=action, status=refused, name=name, reason=refusal.reason)
