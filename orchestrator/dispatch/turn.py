"""Runs one consumer on one event, and performs the actions that the consumer returns, in order."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.action import Action, Following, Outcome, OutcomeStatus, SaveTenant, StartJob, UpdateTenant, begins
from orchestrator.consumer import Consumer, Context
from orchestrator.dispatch.failure import failure_event
from orchestrator.dispatch.started import is_started, were_started
from orchestrator.errors import (
    ConfigurationError,
    OrchestratorError,
    Unavailable,
    WaitReason,
    is_certain,
    is_permanent,
    of_name,
    shown,
    wrapped,
)
from orchestrator.event import Event
from orchestrator.ledger.ledger import Ledger, Prepared, Records
from orchestrator.ledger.record import Record
from orchestrator.performers import answers
from orchestrator.performers.performer import Performers, is_action, performer_of
from orchestrator.run import Origin, job_position, positions

_CHANGED_RECORD = (OutcomeStatus.SAVED, OutcomeStatus.UPDATED)
_HAS_RUN = (OutcomeStatus.STARTED, OutcomeStatus.ALREADY_STARTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerResult:
    """The result of running one consumer on one event.

    Attributes:
        consumer: The consumer's name.
        outcomes: The outcomes of the actions that were performed or skipped, in order. One more outcome follows if an
            event about the consumer's failure was published (the outcome of publishing it), or if the event waits
            because the consumer's job cannot be started yet (an outcome with the status `waiting`).
        error: The error with which the consumer, or one of its actions, failed. `None` if nothing failed, or if the
            event was sent to the waiting queue for this consumer.
    """

    consumer: str
    outcomes: Sequence[Outcome]
    error: OrchestratorError | None = None

    @property
    def waits_for(self) -> WaitReason | None:
        """Why the consumer's job cannot be started yet; `None` if `error` is `None` or has another cause."""
        return self.error.waits_for if isinstance(self.error, Unavailable) else None

    @property
    def is_waiting(self) -> bool:
        """Whether the event waits because this consumer's job could not be started yet."""
        return bool(self.outcomes) and self.outcomes[-1]["status"] is OutcomeStatus.WAITING

    @property
    def has_failed(self) -> bool:
        """Whether the consumer failed, and the event does not wait for the consumer's job (see `is_waiting`)."""
        return self.error is not None and not self.is_waiting


class Turn:
    """Runs one consumer on one event: call `accept` first, and call `run` if `accept` returned True."""

    def __init__(
        self,
        consumer: Consumer,
        event: Event[Mapping[str, Any]],
        context: Context,
        performers: Performers,
        ledger: Ledger,
        records: Records,
    ) -> None:
        self._consumer = consumer
        self._event = event
        self._context = context
        self._performers = performers
        self._ledger = ledger
        self._records = records
        self._accepted: Event[Any] | None = None
        self._refused: BaseException | None = None
        self._actions: tuple[Action | Following, ...] = ()
        self._tried: list[int | str] = []
        self._outcomes: list[Outcome] = []
        self._published: OrchestratorError | None = None

    def accept(self, seen: Event[Mapping[str, Any]]) -> bool:
        """Check whether the consumer accepts the event. If this method returns False, `run` need not be called.

        Args:
            seen: The event that the consumer receives. It may be a copy, so that the consumer cannot change the detail
                that other consumers read.

        Returns:
            False if the consumer's condition `when` is false. True if the consumer accepts the event, or if the check
            raised an exception, which `run` then treats like an exception of the consumer.
        """
        try:
            self._raise_published_failure()
            self._accepted = self._consumer.accept(seen)
        except BaseException as error:
            self._refused = error
        return self._accepted is not None or self._refused is not None

    def run(self) -> ConsumerResult:
        """Call the consumer and perform its actions. A failure is returned as the result's `error`.

        Raises:
            KeyboardInterrupt: It was raised in the consumer or an action. It must end the program.
        """
        try:
            if self._refused is not None:
                raise self._refused
            self._actions = self._decide()
            self._perform(self._prepare_all())
        except BaseException as error:
            return self._failed(error)
        return ConsumerResult(consumer=self._consumer.name, outcomes=self._outcomes)

    def _decide(self) -> tuple[Action | Following, ...]:
        if self._accepted is None:
            return ()
        decision = self._consumer.decide(self._accepted, self._context)
        if inspect.iscoroutine(decision):
            from orchestrator.dispatch import event_loop  # only functions with async consumers pay for this import

            decision = event_loop.run(decision)
        return self._checked(decision)

    def _checked(self, decision: Any) -> tuple[Action | Following, ...]:
        if decision is None:
            return ()
        actions = tuple(decision) if isinstance(decision, Iterable) else (decision,)
        for action in actions:
            if not is_action(action, self._performers):
                raise ConfigurationError(
                    f"consumer {shown(self._consumer.name)} returned {type(action).__name__}; "
                    "a consumer returns one action, several, or None"
                )
        return actions

    def _prepare_all(self) -> list[Prepared]:
        """Check and prepare all actions before the first one is performed.

        If an action is found to be invalid here, an exception is raised, and no action is performed.
        """
        answers.check(self._actions, self._consumer.name)
        places = zip(self._actions, positions(self._actions), strict=True)
        return [self._prepare(answers.blank(action), position) for action, position in places]

    def _perform(self, prepared: Sequence[Prepared]) -> None:
        kept: dict[str, str | int] = {}
        is_begun = self._is_begun()
        for action, ready, position in zip(self._actions, prepared, positions(self._actions), strict=True):
            if is_begun and begins(action):
                self._outcomes.append(_begun_before(action))
                continue
            if answers.awaited(action):
                ready = self._prepare(answers.fill(action, kept), position)
            self._tried.append(position)
            outcome = self._ledger.perform(
                ready,
                keeps_claim=isinstance(action, StartJob) and self._may_be_given_up(),
                has_waited=self._may_wait_longer(),
            ).copy()
            if outcome["status"] in _HAS_RUN:
                outcome["runId"] = self._origin(position).run_id
            # The answer may be personal data, so it is not part of the outcome; only actions that need it get it.
            kept.update(outcome.pop("answer", {}))
            self._outcomes.append(outcome)
            if outcome["status"] is OutcomeStatus.SUPERSEDED:
                break

    def _prepare(self, action: Action | Following, position: int | str) -> Prepared:
        return performer_of(action, self._performers).prepare(action, self._origin(position))

    def _origin(self, position: int | str) -> Origin:
        consumer, event = self._consumer, self._event
        return Origin(event=event, consumer=consumer.name, position=position, declared=consumer.declared(event))

    def _is_begun(self) -> bool:
        """Return whether an earlier delivery of this event has begun the operation, and has started its job.

        If so, the actions that begin an operation (see `begins`) are skipped: the tenant record may show a later stage
        of the operation already.
        """
        starts_job = any(isinstance(action, StartJob) for action in self._actions)
        may_have_begun = starts_job and any(map(begins, self._actions)) and self._origin(job_position(0)).may_be_retry
        return may_have_begun and is_started(self._read(job_position(0)))

    def _read(self, position: int | str) -> Record | None:
        return self._records.read(self._origin(position).run_id)

    def _failure_origin(self) -> Origin:
        return Origin(event=self._event, consumer=self._consumer.name, position=0, is_failure=True)

    def _raise_published_failure(self) -> None:
        """If an earlier delivery of the event published the consumer's failure, raise that failure again.

        The control plane has been informed that the job was not started, so the job must not start now. However, if
        somebody requested a redelivery after the failure (see `Event.redrive`), the job may start.
        """
        if self._consumer.ending is None:
            return
        origin = self._failure_origin()
        if not origin.may_be_retry:
            return
        record = self._records.read(origin.run_id)
        if record is None or record.outcome is None:
            return
        self._published = of_name(record.outcome["error"], record.outcome["reason"])
        if self._published is not None:
            raise self._published

    def _failed(self, raised: BaseException) -> ConsumerResult:
        """Return the result for an exception, and perhaps publish an event about the failure.

        The event about the failure is published if all of these are true:

        - The consumer declares an `ending`, and the control plane waits for the consumer's job (see `failure_event`).
        - The job was not started (see `were_started`). If it was, the run's ending is published instead. If an earlier
          delivery may have started it, the result's error is an `Unavailable`, so that the event is retried.
        - A retry is pointless; or this is the last delivery of the consumer's event, the job still has to wait, and it
          is certain that this delivery has not started the job.
        - If the event is a replay, the replay has changed a tenant record, or this is the replay's last delivery.

        If publishing fails, that second error is logged, and a retry of the consumer's event publishes the failure. If
        the event came from a queue, and the second error is temporary or this is the last delivery, the result has the
        second error instead of the first, so that the message is retried.

        Raises:
            KeyboardInterrupt: The exception is a `KeyboardInterrupt`, which must end the program.
        """
        if isinstance(raised, KeyboardInterrupt):
            raise raised
        error = self._own_error(raised)
        result = ConsumerResult(consumer=self._consumer.name, outcomes=self._outcomes, error=error)
        # If the original event failed, its failure was published then. A replay that changed no tenant record must not
        # publish a failure, because that could revoke a success.
        # A replay that has waited for its job until its last delivery has certainly not succeeded before.
        is_last = self._is_last_delivery()
        is_idle_replay = self._event.replay_name is not None and not is_last
        is_idle_replay = is_idle_replay and not any(outcome["status"] in _CHANGED_RECORD for outcome in self._outcomes)
        is_final = is_permanent(error) or (is_last and result.waits_for is not None and is_certain(error))
        if self._consumer.ending is None or not is_final or is_idle_replay:
            return result
        try:
            publish = failure_event(self._consumer, self._event, self._actions, error)
            if publish is None:
                return result
            started = raised is not self._published and were_started(self._actions, self._tried, self._read)
            if started:
                return result
            if started is None:
                doubt = "an earlier delivery may have started the job, so the failure is not published"
                return replace(result, error=Unavailable(f"{error} ({doubt}; a retry may succeed)"))
            prepared = performer_of(publish, self._performers).prepare(publish, self._failure_origin())
            self._outcomes.append(self._ledger.perform(prepared))
        except OrchestratorError as second:
            # The event will be retried, and the failure will be published then. A message is retried for long only
            # after a temporary error.
            comes_from_queue = self._event.delivery is not None
            is_kept = comes_from_queue and (is_last or isinstance(second, Unavailable))
            logged, kept = (error, second) if is_kept else (second, error)
            self._context.logger.error(str(logged), error=type(logged).__name__, consumer=self._consumer.name)
            return replace(result, error=kept)
        return result

    def _may_be_given_up(self) -> bool:
        """Return whether a job that cannot be started in this delivery may be given up.

        The result is True if this is the event's last delivery, and the consumer declares an `ending`. The ledger then
        keeps this delivery's claim (a lock) on the action that starts the job, so that no other delivery starts the job
        while an event about the consumer's failure is published (see `_failed`).
        """
        return self._is_last_delivery() and self._consumer.ending is not None

    def _may_wait_longer(self) -> bool:
        """Return whether the event was delivered before, and will wait again if its job still cannot be started."""
        delivery = self._event.delivery
        return delivery is not None and delivery.has_waited and delivery.comes_back

    def _is_last_delivery(self) -> bool:
        return self._event.delivery is not None and self._event.delivery.is_last

    def _own_error(self, raised: BaseException) -> OrchestratorError:
        if isinstance(raised, OrchestratorError):
            return raised
        module = getattr(self._consumer.function, "__module__", "")
        return wrapped(f"consumer {shown(self._consumer.name)}", module, raised)


def _begun_before(action: SaveTenant | UpdateTenant) -> Outcome:
    return Outcome(
        action=type(action).__name__,
        status=OutcomeStatus.SKIPPED,
        name=action.tenant_id,
        reason="an earlier delivery of this event started its job",
    )
