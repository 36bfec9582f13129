"""Exactly once: an action is claimed before it is performed, and settled after.

A claim is a lock until `lockedUntil`, after which its holder does not act any more. Then another delivery may take it
over as a retry, because the holder may have acted before it was killed. A model test explores everything that two
deliveries can do to each other.
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
"""How long one action may take, and so its lock last: shorter than Lambda waits before its first retry."""

_NOTHING_DONE = (OutcomeStatus.SKIPPED, OutcomeStatus.SUPERSEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an action's performance may need to know.

    Attributes:
        is_retry: An earlier attempt may have succeeded.
        since: When that attempt asked for its job; `None` where there is no such attempt.
    """

    is_retry: bool = False
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An action that was checked and can be performed.

    Attributes:
        perform: Performs it. What it does when its time is up (`deadline.seconds_left`) may be done twice.
        action_id: Its identity; `None` performs it at every delivery, without a record.
        failure: What has not happened if it fails, as the beginning of messages; empty where there is no record.
        job: The job that it starts.
        follow: Whether that job's run is followed, from before it is started.
    """

    perform: Callable[[Claim], Outcome]
    action_id: str | None = None
    failure: str = ""
    job: StartedJob | None = None
    follow: bool = False


class Records(Protocol):
    """Where the ledger's records are kept.

    Every method raises `Unavailable` where that cannot be reached.

    Attributes:
        memory: How long all environments remember an action; `None` where each remembers only its own.
    """

    memory: timedelta | None

    def claim(
        self, action_id: str, owner: str, locked_until: int, job: StartedJob | None = None, *, follow: bool = False
    ) -> tuple[bool, Record | None]:
        """Claim an action that is not claimed, or whose lock or record has run out, in one atomic step.

        Args:
            action_id: The action's identity.
            owner: A text that is different for each claim.
            locked_until: The end of the lock, in milliseconds since 1970.
            job: The job that the action starts.
            follow: Whether that job's run is followed.

        Returns:
            Whether it is claimed now, and the record before. A claim that is repeated because its answer got lost
            succeeds again.
        """
        ...

    def settle(self, action_id: str, owner: str, outcome: Outcome) -> bool:
        """Store an action's outcome unless another owner has claimed it; returns whether it was stored."""
        ...

    def release(self, action_id: str, owner: str) -> None:
        """Delete a claim, unless it is settled or another owner's."""
        ...

    def read(self, action_id: str) -> Record | None:
        """Read a record; `None` where there is none, or it has expired."""
        ...

    def close(self, run_id: str, ending: EndingStatus, *, unfollow: bool = True) -> EndingStatus | None:
        """Store how a run ended, so that it is not claimed again.

        A success does not replace a failure: a run may fail after it has published a success, but not the reverse.

        Args:
            run_id: The run id.
            ending: How it ended.
            unfollow: Whether to stop following it.

        Returns:
            How it had ended as far as was known.
        """
        ...

    def unfollow(self, run_id: str) -> None:
        """Stop following a run; unknown ids are ignored."""
        ...

    def due(self) -> Iterator[Sequence[Record]]:
        """Read the followed runs that are due to be checked, those first that have waited longest, in pages."""
        ...

    def postpone(self, record: Record) -> None:
        """Check a run again later; see `Record.pause`."""
        ...

    def adopt(self, record: Record, outcome: Outcome) -> None:
        """Store the outcome of a start whose run was found later, until a delivery settles it."""
        ...


class Ledger:
    """Performs each action once."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def perform(self, prepared: Prepared) -> Outcome:
        """Perform an action, unless that has been done.

        Args:
            prepared: The action.

        Returns:
            The outcome: of this performance or, with a status that says so, of an earlier one.

        Raises:
            Unavailable: Another delivery is performing the action, or its record cannot be stored.
            Exception: What the performance raises.
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
                # A lock that was taken over is the only trace of the attempt before, and after a failure in doubt it
                # is the only thing that keeps another delivery from acting at the same time.
                if is_certain(error) and not claim.is_retry:
                    self._release(prepared.action_id, owner)
                raise
        if outcome["status"] in _NOTHING_DONE:  # the next time something may be
            if not claim.is_retry:
                self._release(prepared.action_id, owner)
            return outcome
        with _failing_as(prepared.failure):
            if not self._records.settle(prepared.action_id, owner, outcome):
                raise Unavailable("it took so long that another delivery has taken over; it will be retried")
        return outcome

    def _claim(self, prepared: Prepared, action_id: str, owner: str) -> Claim | Outcome:
        """Claim the action, or give the outcome of the delivery that has performed it."""
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
        except OrchestratorError as error:  # why the action failed matters more, and a lock has an end
            telemetry.logger.info(str(error))


@contextmanager
def _failing_as(failure: str) -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise Unavailable(f"{failure}: {error}") from None
