"""Performs `SaveTenant` and `UpdateTenant`."""

from functools import partial

from orchestrator.action import Outcome, OutcomeStatus, SaveTenant, UpdateTenant
from orchestrator.errors import shown
from orchestrator.ledger.ledger import Claim, Prepared
from orchestrator.run import Origin
from orchestrator.stores.tenants import Refusal, TenantRecords, checks_records


class TenantWriter:
    """Performs `SaveTenant` and `UpdateTenant` by writing the tenant record."""

    def __init__(self, tenants: TenantRecords) -> None:
        self._tenants = tenants
        self._checks = tenants if checks_records(tenants) else None

    def prepare(self, action: SaveTenant | UpdateTenant, origin: Origin) -> Prepared:
        """Check the data that an action stores in a tenant record, and prepare to store them.

        Nothing is checked if the store of tenant records does not implement `ChecksRecords`.

        Raises:
            InvalidEvent: A value cannot be stored, or the record would be too large.
        """
        if self._checks is not None:
            self._checks.check(action, origin)
        if isinstance(action, SaveTenant):
            return Prepared(perform=partial(self._save, action, origin))
        update = partial(self._update, action, origin)
        if action.starts or action.status is not None:
            return Prepared(perform=update)
        # The ledger ensures that this update is performed only once. The event's time is not enough to recognize a
        # redelivery, because other events may have the same time.
        failure = f"tenant {shown(action.tenant_id)} was not updated"
        return Prepared(perform=update, action_id=origin.run_id, failure=failure)

    def _save(self, action: SaveTenant, origin: Origin, claim: Claim) -> Outcome:
        return _outcome(action, OutcomeStatus.SAVED, self._tenants.save(action, origin))

    def _update(self, action: UpdateTenant, origin: Origin, claim: Claim) -> Outcome:
        return _outcome(action, OutcomeStatus.UPDATED, self._tenants.update(action, origin))


def _outcome(action: SaveTenant | UpdateTenant, done: OutcomeStatus, refusal: Refusal | None) -> Outcome:
    outcome = Outcome(action=type(action).__name__, status=done, name=action.tenant_id)
    if refusal is not None:
        outcome["status"] = OutcomeStatus.SUPERSEDED if refusal.supersedes else OutcomeStatus.SKIPPED
        outcome["reason"] = refusal.reason
    return outcome
