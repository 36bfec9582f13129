"""Performs each action once: claims the action, performs it, and settles it by storing its outcome.

A claim is a lock on the action's record. It expires at the time in the record's `lockedUntil`. The delivery that owns
the claim stops acting before that time. Once the lock has expired, another delivery of the event may take the claim
over. Lambda may have killed the first delivery before or after it acted. Therefore, the other delivery performs the
action as a retry. For example, a retry searches for an earlier run before it starts a job.

An action without an identity is not claimed: every delivery performs it (see `Prepared.action_id`).
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from orchestrator import telemetry
from orchestrator.action import Outcome, OutcomeStatus, repeated
from orchestrator.errors import OrchestratorError, Unavailable, is_certain
from orchestrator.job import StartedJob
from orchestrator.ledger.gate import Overtaken, wait_of
from orchestrator.ledger.record import EndingStatus, Record, State, milliseconds
from orchestrator.timing import clock, deadline

MAX_ACTION_SECONDS = 50.0
"""Longest time that performing one action may take, in seconds.

The action's lock expires soon after that time. Lambda waits one minute before it retries a failed event for the first
time, so the lock has expired by then.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

_NOTHING_DONE = (OutcomeStatus.SKIPPED, OutcomeStatus.SUPERSEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A delivery's claim on an action.

    Attributes:
        is_retry: Whether the ledger has an earlier delivery's claim on the action. If so, the earlier delivery may have
            performed the action.
        since: The `StartedJob.since` that the earlier delivery has stored. No run of the action's job can have started
            before this time. `None` if `is_retry` is false, or if the action starts no job.
    """

    is_retry: bool = False
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An action that has been checked and can be performed.

    Attributes:
        perform: Performs the action under the given claim. It must finish within `deadline.seconds_left()`, because
            another delivery may perform the action again after that time.
        action_id: The action's identity. If it is `None`, the action has no record, and every delivery performs it.
        failure: The beginning of error messages, such as `job 'x' was not started`.
        job: The job that the action starts, if it starts one.
        follow: Whether to follow the job's run, which means to check the run until it ends. The run is marked as
            followed when the action is claimed, before the job is started. So it is followed even if this delivery is
            killed after it has started the job.
    """

    perform: Callable[[Claim], Outcome]
    action_id: str | None = None
    failure: str = ""
    job: StartedJob | None = None
    follow: bool = False


class Records(Protocol):
    """Stores the ledger's records.

    Every method raises `Unavailable` if the store cannot be reached.

    Attributes:
        memory: How long a record is kept. `None` means that there is no table, so that each Lambda environment keeps
            records of its own, in memory.
    """

    memory: timedelta | None

    def claim(
        self, action_id: str, owner: str, locked_until: int, job: StartedJob | None = None, *, follow: bool = False
    ) -> tuple[bool, Record | None]:
        """Claim an action, in one atomic step.

        The claim succeeds in these cases:

        - The action has no record, or the record has expired.
        - The action is not done, and the lock of its latest claim has expired. However, the owner of the first claim
          may not claim the action again after another owner has claimed it; see `Record.may_be_claimed`.
        - The action is not done, and `owner` repeats the latest claim. The response to that claim may have been lost.

        If `follow` is true, the same step makes the job's run count towards the limits on concurrent runs that apply to
        it, if the store has such limits (see `orchestrator.ledger.gate`).

        Args:
            owner: A text that is unique to this claim and identifies it.
            locked_until: When the lock expires, in milliseconds since 1970.
            job: The job that the action starts, if it starts one.
            follow: Whether to check the job's run until it ends.

        Returns:
            Whether the claim succeeded; and the action's record from before the claim, or `None` if there was none.

        Raises:
            Overtaken: The job must not be started any more, because its tenant has had a run for a later event of the
                same type.
            Unavailable: A limit on concurrent runs is reached, or too many other requests change the limit's item, so
                the event must wait. The exception's `waits_for` is set.
        """
        ...

    def settle(self, action_id: str, owner: str, outcome: Outcome) -> bool:
        """Store an action's outcome, mark the action as done, and return True.

        If another owner has claimed the action since, or its record has been deleted, store nothing and return False.

        Args:
            owner: The `owner` that the caller passed to `claim`.
        """
        ...

    def release(self, action_id: str, owner: str) -> None:
        """Delete the action's record, so that the next delivery can claim the action as if for the first time.

        Nothing is deleted if another owner has claimed the action since, or if the action is done.

        Args:
            owner: The `owner` that the caller passed to `claim`.
        """
        ...

    def read(self, action_id: str) -> Record | None:
        """Read an action's record; return `None` if there is none, or if it has expired."""
        ...

    def close(self, run_id: str, ending: EndingStatus) -> EndingStatus | None:
        """Store how a run ended; if the ledger has no such run, store nothing.

        A failure replaces a stored success, because a run may publish a success and fail afterwards. A success is
        stored only if no ending is stored yet.

        The call also marks the action that started the run as done, so that no delivery can claim the action and start
        the job again.

        If the function checks the run (see `Prepared.follow`), the checks go on, because the event about the ending may
        be lost before it is handled. If this call has stored the ending, the next check is due after the time
        `FIRST_CHECK`. By then, the event has normally been handled.

        Returns:
            The ending that was stored before this call; `None` if none was stored.
        """
        ...

    def mark_handled(self, run_id: str, ending: EndingStatus) -> None:
        """Store that a run has itself reported its ending in an event, and that this event has been handled.

        The run is then due for a check at once, because only the build system's answer shows whether the run has really
        ended. If the function no longer checks the run, nothing is stored.

        Args:
            ending: The ending that the event reported.
        """
        ...

    def unfollow(self, run_id: str) -> None:
        """Stop checking whether a run has ended. Unknown ids are ignored."""
        ...

    def give_up(self, record: Record) -> bool:
        """Stop searching for a run that was not found in the build system, and return True.

        A scheduled sweep searches for a run if the run's record has no outcome.

        Change nothing and return False in these cases:

        - Another delivery has claimed the action since the record was read.
        - The record has an outcome by now.
        - The search has been stopped already.
        """
        ...

    def due(self) -> Iterator[Sequence[Record]]:
        """Read the records of the runs for which it is time to check whether they have ended, in pages.

        The run that has been due for longest comes first. The records may be out of date, and may lack `ending`,
        `handled` and `follower`. Read a record again before you rely on one of these.
        """
        ...

    def postpone(self, record: Record) -> None:
        """Schedule the next check of whether the record's run has ended: it is due in `record.pause` from now.

        If the function no longer checks the run, nothing is stored.
        """
        ...

    def check_turn(self, job: StartedJob) -> None:
        """Check that there may be room for the job of an event that has waited.

        If no exception is raised, the caller may try to start the job. If the action that starts the job has a record
        already, nothing is checked.

        Raises:
            Unavailable: The limit on concurrent runs, or the build system, that the job waits for has no room yet. The
                exception's `waits_for` is set.
        """
        ...

    def wake(self) -> None:
        """Make SQS deliver the waiting events for whose jobs there may be room; see `orchestrator.ledger.waiting_line`.

        Raises:
            ConfigurationError: The index `open-jobs` does not exist, or the function may not read it.
        """
        ...

    def adopt(self, record: Record, outcome: Outcome) -> None:
        """Store the outcome of starting a job, after a search has found the job's run.

        Call this only if no delivery has stored the outcome. The action is then done, so no delivery can claim it and
        start the job again. If the function no longer checks the run, nothing is stored.
        """
        ...


class Ledger:
    """Performs each action once."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def perform(self, prepared: Prepared, *, keeps_claim: bool = False, has_waited: bool = False) -> Outcome:
        """Perform an action, unless an earlier delivery has performed it.

        Args:
            prepared: The action.
            keeps_claim: Whether to keep the claim if the action fails, so that no other delivery can perform the action
                while the failure is published.
            has_waited: Whether an earlier delivery may have found that the action's job cannot be started yet. If so,
                `Records.check_turn` is called first.

        Returns:
            The outcome. If an earlier delivery performed the action, the outcome's status begins with `already`. If a
            later event has overtaken the action's job (see `Overtaken`), the status is `superseded`.

        Raises:
            Unavailable: Another delivery is performing the action, or took over while this one performed it; or the
                action's record cannot be stored; or the action's job cannot be started yet (the exception's `wait` is
                set).
            Exception: Any exception that `prepared.perform` raises.
        """
        if prepared.action_id is None:
            return prepared.perform(Claim())
        if has_waited and prepared.job is not None:
            with _failing_as(prepared.failure), _naming(prepared.job, was_tried=False):
                self._records.check_turn(prepared.job)
        with _naming(prepared.job):
            return self._perform(prepared, prepared.action_id, keeps_claim=keeps_claim)

    def _perform(self, prepared: Prepared, action_id: str, *, keeps_claim: bool) -> Outcome:
        owner = secrets.token_hex(8)
        with deadline.within(MAX_ACTION_SECONDS):
            claim = self._claim(prepared, action_id, owner, keeps_claim=keeps_claim)
            if not isinstance(claim, Claim):
                return claim
            try:
                outcome = prepared.perform(claim)
            except Exception as error:
                # Keep the claim of a retry: only its record shows that there was an earlier delivery. Keep the claim
                # after an ambiguous failure, too: the action may still be going on, so no delivery may repeat it now.
                if is_certain(error) and not claim.is_retry and not keeps_claim:
                    self._release(action_id, owner)
                raise
        if outcome["status"] in _NOTHING_DONE:  # a later delivery may still perform the action
            if not claim.is_retry:
                self._release(action_id, owner)
            return outcome
        with _failing_as(prepared.failure):
            if not self._records.settle(action_id, owner, outcome):
                raise Unavailable("it took too long, and another delivery took over; a retry may succeed")
        return outcome

    def _claim(self, prepared: Prepared, action_id: str, owner: str, *, keeps_claim: bool) -> Claim | Outcome:
        """Claim the action.

        Args:
            prepared: The action.
            action_id: The action's identity.
            owner: A text that is unique to this claim and identifies it.
            keeps_claim: Whether to claim the action even if its job must wait. `Unavailable` is raised nevertheless.

        Returns:
            The claim. If an earlier delivery has performed the action, or a later event has overtaken the action's job
            (see `Overtaken`), an outcome that says so.

        Raises:
            Unavailable: Another delivery is performing the action, the store cannot be reached, or the job must wait.
        """
        locked_for = timedelta(seconds=deadline.seconds_left() + deadline.MARGIN_SECONDS)
        locked_until = milliseconds(clock.now() + locked_for) + 1
        with _failing_as(prepared.failure):
            try:
                is_mine, before = self._records.claim(
                    action_id, owner, locked_until, prepared.job, follow=prepared.follow
                )
            except Overtaken:
                return _overtaken(prepared.job)
            except Unavailable as error:
                if not keeps_claim or error.waits_for is None:
                    raise
                # Claim the action although its job must wait, so that no copy of the event starts the job meanwhile.
                is_mine, before = self._records.claim(action_id, owner, locked_until, prepared.job)
                if is_mine and before is not None and before.follower is not None and not before.is_expired:
                    # An earlier delivery may have started the job, so it must not be given up.
                    raise Unavailable(str(error)) from None
                if is_mine:
                    raise
        if is_mine:
            is_retry = before is not None and before.first_owner != owner
            since = before.job.since if is_retry and before is not None and before.job is not None else None
            return Claim(is_retry=is_retry, since=since)
        if before is not None and before.state is State.DONE:
            return repeated(before.known_outcome)
        raise Unavailable(
            f"{prepared.failure}: another delivery of the event is performing it; a retry may succeed", ambiguous=False
        )

    def _release(self, action_id: str, owner: str) -> None:
        try:
            self._records.release(action_id, owner)
        except OrchestratorError as error:  # must not hide the action's own result; the lock expires anyway
            telemetry.logger.info(str(error))


@contextmanager
def _failing_as(failure: str) -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise Unavailable(
            f"{failure}: {error}", ambiguous=error.ambiguous, waits_for=error.waits_for, wait=error.wait
        ) from None


@contextmanager
def _naming(job: StartedJob | None, *, was_tried: bool = True) -> Iterator[None]:
    """If the `with` block raises `Unavailable` because a job cannot be started yet, set the exception's `wait`.

    Args:
        job: The job. If it is `None`, nothing is set.
        was_tried: See `wait_of`.
    """
    try:
        yield
    except Unavailable as error:
        if error.waits_for is None or job is None:
            raise
        wait = wait_of(error.waits_for, job, was_tried=was_tried)
        raise Unavailable(
            str(error), ambiguous=error.ambiguous, waits_for=error.waits_for, wait=wait
        ) from error.__cause__


def _overtaken(job: StartedJob | None) -> Outcome:
    name = "" if job is None else job.name
    reason = "a later event of the same type has run its job for the tenant"
    return Outcome(action="StartJob", status=OutcomeStatus.SUPERSEDED, name=name, reason=reason)
