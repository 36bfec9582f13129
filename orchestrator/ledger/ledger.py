"""Performs each action exactly once: claims it before and settles it after.

A claim is a lock that expires at `lockedUntil`; its owner stops acting before then. After that, another delivery may
take the claim over. It then runs as a retry, because the first owner may have acted before it was killed.
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
"""Time limit of one action, and so of its lock: shorter than the minute that Lambda waits before its first retry.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

_NOTHING_DONE = (OutcomeStatus.SKIPPED, OutcomeStatus.SUPERSEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim on an action.

    Attributes:
        is_retry: An earlier attempt may have succeeded.
        since: When the earlier attempt requested its job; `None` if there was no earlier attempt.
    """

    is_retry: bool = False
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An action that was checked and can be performed.

    Attributes:
        perform: Performs the action. It must finish within `deadline.seconds_left`; later effects may happen twice.
        action_id: The action's identity; `None` performs it at every delivery, without a record.
        failure: The beginning of error messages, such as `job 'x' was not started`.
        job: The job that the action starts.
        follow: Whether to follow the job's run; following begins before the job starts.
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
        """Claim an action atomically, if it has no record or its lock or record has expired.

        Args:
            owner: A text that is unique to this claim.
            locked_until: When the lock expires, in milliseconds since 1970.
            job: The job that the action starts.

        Returns:
            Whether the claim succeeded, and the record as it was before. Repeating a claim with the same owner
            succeeds, so a claim can be retried if its response is lost.
        """
        ...

    def settle(self, action_id: str, owner: str, outcome: Outcome) -> bool:
        """Store an action's outcome; return False, storing nothing, if another owner has claimed the action."""
        ...

    def release(self, action_id: str, owner: str) -> None:
        """Delete this owner's claim, unless it is settled."""
        ...

    def read(self, action_id: str) -> Record | None:
        """Read a record; `None` if it does not exist or has expired."""
        ...

    def close(self, run_id: str, ending: EndingStatus, *, unfollow: bool = True) -> EndingStatus | None:
        """Store how a run ended; its action cannot be claimed after that.

        A failure replaces a stored success, because a run may fail after publishing a success; a success never
        replaces a failure.

        Args:
            unfollow: Whether to stop following the run.

        Returns:
            The ending that was stored before.
        """
        ...

    def unfollow(self, run_id: str) -> None:
        """Stop following a run; unknown ids are ignored."""
        ...

    def due(self) -> Iterator[Sequence[Record]]:
        """Read the followed runs that are due for a check, in pages, the longest overdue first."""
        ...

    def postpone(self, record: Record) -> None:
        """Set the next check of a run to `Record.pause` from now."""
        ...

    def adopt(self, record: Record, outcome: Outcome) -> None:
        """Store the outcome of a start whose run a search found, until a delivery settles it."""
        ...


class Ledger:
    """Performs each action once."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def perform(self, prepared: Prepared) -> Outcome:
        """Perform an action unless an earlier delivery has.

        Returns:
            The outcome; that of an earlier delivery has an `already …` status.

        Raises:
            Unavailable: Another delivery is performing the action, or its record cannot be stored.
            Exception: Any error of the action itself.
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
                # Keep the claim of a retry: only it shows that there was an earlier attempt. Keep it after an
                # ambiguous failure, too: the action may still be going on, so no other delivery may start it.
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
        """Claim the action; if it is done already, return its outcome."""
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
        except OrchestratorError as error:  # the action's own failure matters more, and the lock expires anyway
            telemetry.logger.info(str(error))


@contextmanager
def _failing_as(failure: str) -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise Unavailable(f"{failure}: {error}") from None
