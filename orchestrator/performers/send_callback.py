"""Performs `SendCallback`, and stores in the tenant record why a callback was skipped or refused.

A callback is skipped if its `missing` is set. A callback counts as refused if its outcome is `OutcomeStatus.REFUSED`;
not every answer 401 leads to this outcome (see `SendCallback.may_be_settled`).
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.action import Outcome, OutcomeStatus, SendCallback, UpdateTenant
from orchestrator.errors import UnknownTenant, shown
from orchestrator.ledger.ledger import Claim, Prepared
from orchestrator.run import Origin
from orchestrator.stores.tenants import STATUS_WEBHOOK, TenantRecords

if TYPE_CHECKING:
    from orchestrator.performers.callbacks import Callbacks

# An answer 401 has two possible causes, so each of these reasons names both.
_SETTLED = "the answer was 401: the tenant is not being provisioned, or the signature is wrong"
_REPEATED = "the answer to a repeat was 401: an earlier attempt was accepted, or the signature is wrong"


class CallbackSender:
    """Performs `SendCallback`."""

    def __init__(self, callbacks: "Callable[[], Callbacks]", tenants: TenantRecords) -> None:
        """Store the arguments.

        Args:
            callbacks: Returns the `Callbacks`. The first call imports modules that only callbacks need. Therefore,
                `callbacks` is called only when a callback must be checked or sent.
            tenants: The tenant records, in which the reason is stored why a callback was skipped or refused.
        """
        self._callbacks = callbacks
        self._tenants = tenants

    def prepare(self, action: SendCallback, origin: Origin) -> Prepared:
        """Check a callback's address, body, secret and context, and prepare to send it.

        If `action.missing` is set, nothing is checked, and the callback will be skipped.

        Raises:
            ConfigurationError: The host is not allowed, the scheme `http` is used for a host other than the local
                machine, or `CALLBACK_ALLOWED_HOSTS` is malformed.
            InvalidEvent: The address, the body, the secret or the context is invalid.
        """
        action_id = origin.run_id if action.once_per is None else origin.once_per(action.once_per)
        if action.missing is not None:
            perform = partial(self._skip, action, f"not sent, because it has {action.missing}", origin)
            return Prepared(perform=perform, action_id=action_id, failure="callback was not sent")
        host = self._callbacks().check(action)
        return Prepared(
            perform=partial(self._send, action, host, origin),
            action_id=action_id,
            failure=f"callback to {shown(host)} was not sent",
        )

    def _skip(self, action: SendCallback, reason: str, origin: Origin, claim: Claim) -> Outcome:
        self._store(action, reason, origin)
        outcome = Outcome(action="SendCallback", status=OutcomeStatus.SKIPPED, reason=reason)
        if action.tenant_id is not None:
            outcome["name"] = action.tenant_id
        return outcome

    def _send(self, action: SendCallback, host: str, origin: Origin, claim: Claim) -> Outcome:
        outcome = Outcome(action="SendCallback", status=OutcomeStatus.SENT, name=host)
        if action.keeps:
            outcome["answer"] = self._callbacks().ask(action)
            return outcome
        outcome["status"] = self._callbacks().send(action, is_repeat=claim.is_retry)
        if outcome["status"] is OutcomeStatus.REFUSED:
            self._store(action, f"refused: {_SETTLED}", origin)
            outcome["reason"] = _SETTLED
        if outcome["status"] is OutcomeStatus.ALREADY_SENT:
            outcome["reason"] = _REPEATED
        return outcome

    def _store(self, action: SendCallback, reason: str, origin: Origin) -> None:
        if action.tenant_id is None:
            return
        with suppress(UnknownTenant):  # the callback's own outcome says the same
            self._tenants.update(UpdateTenant(tenant_id=action.tenant_id, changes={STATUS_WEBHOOK: reason}), origin)
