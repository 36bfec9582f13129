"""Performs each action exactly once: claims the action, performs it, and settles it by storing its outcome.

A claim is a lock that expires at `lockedUntil`. The delivery that owns the claim stops acting before then. Once the
lock has expired, another delivery may take the claim over. It performs the action as a retry, because the first
delivery may have acted before it was killed.
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
from orchestrator.ledger.record import EndingStatus, Record, State, milliseconds
from orchestrator.timing import clock, deadline

MAX_ACTION_SECONDS = 50.0
"""Time limit of one action. Its lock expires soon after, within the minute that Lambda waits before its first retry.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

_NOTHING_DONE = (OutcomeStatus.SKIPPED, OutcomeStatus.SUPERSEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim on an action.

    Attributes:
        is_retry: Whether an earlier delivery has claimed the action; it may have performed it.
        since: When that delivery requested the action's job; `None` if this is no retry, or the action starts no job.
    """

    is_retry: bool = False
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An action that has been checked and can be performed.

    Attributes:
        perform: Performs the action. It must finish within `deadline.seconds_left`, because after that another delivery
            may perform the action again.
        action_id: The action's identity. If it is `None`, the action has no record, and every delivery performs it.
        failure: The beginning of error messages, such as `job 'x' was not started`.
        job: The job that the action starts, if it starts one.
        follow: Whether to follow the job's run. Following begins with the claim, before the job is started.
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
        memory: How long records are kept; `None` if each Lambda environment has records of its own.
    """

    memory: timedelta | None

    def claim(
        self, action_id: str, owner: str, locked_until: int, job: StartedJob | None = None, *, follow: bool = False
    ) -> tuple[bool, Record | None]:
        """Claim an action, in one atomic step.

        The claim succeeds if the action has no record, if its record has expired, or if the action is not done and the
        lock of its last claim has expired.

        Args:
            owner: A text that is unique to this claim.
            locked_until: When the lock expires, in milliseconds since 1970.
            job: The job that the action starts, if it starts one.
            follow: Whether to follow the job's run.

        Returns:
            Whether the claim succeeded, and the record as it was before. A claim that is repeated with the same owner
            succeeds again, so it can be repeated if its response is lost.
        """
        ...

    def settle(self, action_id: str, owner: str, outcome: Outcome) -> bool:
        """Store an action's outcome and return True.

        If another owner has claimed the action since, store nothing and return False.
        """
        ...

    def release(self, action_id: str, owner: str) -> None:
        """Delete this owner's claim, unless the action is settled."""
        ...

    def read(self, action_id: str) -> Record | None:
        """Read a record; `None` if it does not exist or has expired."""
        ...

    def close(self, run_id: str, ending: EndingStatus, *, unfollow: bool = True) -> EndingStatus | None:
        """Store how a run ended; after that, the action that started the run cannot be claimed.

        A failure replaces a stored success, because a run may fail after publishing a success; a success never
        replaces a failure.

        Args:
            unfollow: Whether to stop following the run.

        Returns:
            The ending that was stored before, if any.
        """
        ...

    def unfollow(self, run_id: str) -> None:
        """Stop following a run; unknown ids are ignored."""
        ...

    def due(self) -> Iterator[Sequence[Record]]:
        """Read the records of the followed runs that are due for a check, in pages, the longest overdue first."""
        ...

    def postpone(self, record: Record) -> None:
        """Postpone the next check of a run until `Record.pause` from now."""
        ...

    def adopt(self, record: Record, outcome: Outcome) -> None:
        """Store the outcome of a start whose run a search has found; the action can still be claimed and settled."""
        ...


class Ledger:
    """Performs each action once."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def perform(self, prepared: Prepared) -> Outcome:
        """Perform an action, unless an earlier delivery has performed it.

        Returns:
            The outcome. If an earlier delivery performed the action, the outcome's status begins with `already`.

        Raises:
            Unavailable: Another delivery is performing the action, or the action's record cannot be stored.
            Exception: Any exception that `prepared.perform` raises.
        """
        if prepared.action_id is None:
            return prepared.perform(Claim())
        owner = secrets.token_hex(8)
        with deadline.within(MAX_ACTION_SECONDS):
            claim = self._claim(prepared, prepared.action_id, owner)
            if not isinstance(claim, Claim):
                return claim
            try:
                outcome = prepared.perform(claim)
            except Exception as error:
                # Keep the claim of a retry: only its record shows that there was an earlier delivery. Keep the claim
                # after an ambiguous failure, too: the action may still be going on, so no delivery may repeat it now.
                if is_certain(error) and not claim.is_retry:
                    self._release(prepared.action_id, owner)
                raise
        if outcome["status"] in _NOTHING_DONE:  # a later delivery may still perform the action
            if not claim.is_retry:
                self._release(prepared.action_id, owner)
            return outcome
        with _failing_as(prepared.failure):
            if not self._records.settle(prepared.action_id, owner, outcome):
                raise Unavailable("it took too long, and another delivery took over; it will be retried")
        return outcome

    def _claim(self, prepared: Prepared, action_id: str, owner: str) -> Claim | Outcome:
        """Claim the action, or return its outcome if it is done already."""
        locked_for = timedelta(seconds=deadline.seconds_left() + deadline.MARGIN_SECONDS)
        locked_until = milliseconds(clock.now() + locked_for) + 1
        with _failing_as(prepared.failure):
            is_mine, before = self._records.claim(action_id, owner, locked_until, prepared.job, follow=prepared.follow)
        if is_mine:
            is_retry = before is not None and before.first_owner != owner
            since = before.job.since if is_retry and before is not None and before.job is not None else None
            return Claim(is_retry=is_retry, since=since)
        if before is not None and before.state is State.DONE:
            return repeated(before.known_outcome)
        raise Unavailable(
            f"{prepared.failure}: another delivery of the event is performing it; it will be retried", ambiguous=False
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
        raise Unavailable(f"{failure}: {error}") from None
