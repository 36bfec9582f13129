"""Keeps the ledger's records in the memory of the process, for tests and for functions without a table."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from orchestrator.action import Outcome
from orchestrator.job import StartedJob
from orchestrator.ledger.record import EndingStatus, Record, State, expiration, first_check
from orchestrator.timing import clock

# A later claim keeps the values that the first claim gave these fields.
_KEPT = ("first_owner", "job", "check_at", "follower")


class MemoryRecords:
    """Implements `Records` in the memory of this process, and keeps only the newest ten thousand records.

    This store does not limit concurrent runs (see `orchestrator.ledger.gate`), because it has no records of the runs
    that other Lambda environments started.
    """

    _MOST = 10_000

    def __init__(self, memory: timedelta | None = None, warn: Callable[[str], None] | None = None) -> None:
        """Create an empty store.

        Args:
            memory: How long a record is kept. `None` means that there is no table (see `Records`); a record is then
                kept for a day. Only tests pass a time.
            warn: Logs a warning. At the first claim, it is called with the warning that an event may start its job
                twice, because there is no table. `None` if nothing is to be logged.
        """
        self.memory = memory
        self._warn = warn
        self._records: dict[str, Record] = {}
        self._lock = threading.Lock()

    def claim(
        self, action_id: str, owner: str, locked_until: int, job: StartedJob | None = None, *, follow: bool = False
    ) -> tuple[bool, Record | None]:
        """Claim an action, unless another delivery is performing it or has performed it; see `Records.claim`."""
        warn, self._warn = self._warn, None
        if warn is not None:
            warn(
                "IDEMPOTENCY_TABLE is not set: an event that is delivered twice may start its job twice; set it to a "
                "DynamoDB table with the key id"
            )
        with self._lock:
            before = self._records.get(action_id)
            if before is not None and not before.may_be_claimed(owner):
                return False, before
            claimed = Record(
                id=action_id,
                state=State.CLAIMED,
                owner=owner,
                first_owner=owner,
                locked_until=locked_until,
                expiration=expiration(self.memory),
                job=job,
                check_at=first_check() if follow else None,
                follower=owner if follow else None,
            )
            if before is not None:
                kept = {name: getattr(before, name) or getattr(claimed, name) for name in _KEPT}
                claimed = replace(claimed, **kept)
            self._records[action_id] = claimed
            while len(self._records) > self._MOST:
                del self._records[next(iter(self._records))]
            return True, before

    def settle(self, action_id: str, owner: str, outcome: Outcome) -> bool:
        """Store an action's outcome, unless another owner has claimed the action; see `Records.settle`."""
        with self._lock:
            record = self._records.get(action_id)
            if record is None or record.owner != owner:
                return False
            self._records[action_id] = replace(
                record, state=State.DONE, outcome=outcome, expiration=expiration(self.memory)
            )
            return True

    def release(self, action_id: str, owner: str) -> None:
        """Delete the record of an action that is not done; see `Records.release`."""
        with self._lock:
            record = self._records.get(action_id)
            if record is not None and record.owner == owner and record.state is State.CLAIMED:
                del self._records[action_id]

    def read(self, action_id: str) -> Record | None:
        """Read an action's record; see `Records.read`."""
        record = self._records.get(action_id)
        return None if record is None or record.is_expired else record

    def close(self, run_id: str, ending: EndingStatus) -> EndingStatus | None:
        """Store how a run ended; see `Records.close`."""
        with self._lock:
            record = self._records.get(run_id)
            if record is None or record.job is None:
                return None
            if ending is EndingStatus.FAILURE or record.ending is None:
                check_at = None if record.check_at is None else first_check()
                self._records[run_id] = replace(record, state=State.DONE, ending=ending, check_at=check_at)
            return record.ending

    def mark_handled(self, run_id: str, ending: EndingStatus) -> None:
        """Store that an event in which a run reported its ending has been handled; see `Records.mark_handled`."""
        self._change(run_id, handled=ending, check_at=clock.now())

    def unfollow(self, run_id: str) -> None:
        """Stop checking whether a run has ended."""
        self._change(run_id, check_at=None, follower=None)

    def give_up(self, record: Record) -> bool:
        """Stop searching for a run that was not found in the build system; see `Records.give_up`."""
        with self._lock:
            found = self._records.get(record.id)
            if found is None or found.check_at is None or not found.is_in_doubt or found.owner != record.owner:
                return False
            self._records[record.id] = replace(found, check_at=None, follower=None)
            return True

    def due(self) -> Iterator[Sequence[Record]]:
        """Read the records of the runs whose next check is due, all in one page; see `Records.due`."""
        now = clock.now()
        found = [record for record in self._records.values() if record.check_at is not None and record.check_at <= now]
        if found:
            yield sorted(found, key=lambda record: str(record.check_at))

    def postpone(self, record: Record) -> None:
        """Schedule the next check of whether the record's run has ended; see `Records.postpone`."""
        self._change(record.id, check_at=clock.now() + record.pause)

    def check_turn(self, job: StartedJob) -> None:
        """Do nothing: without a table, it is not known which events wait, so every job may be tried."""

    def wake(self) -> None:
        """Do nothing: without a table, it is not known which events wait."""

    def adopt(self, record: Record, outcome: Outcome) -> None:
        """Store the outcome of starting a job, after a search has found the job's run; see `Records.adopt`."""
        self._change(record.id, state=State.DONE, outcome=outcome)

    def _change(self, action_id: str, **changes: object) -> None:
        with self._lock:
            record = self._records.get(action_id)
            if record is not None and record.check_at is not None:
                self._records[action_id] = replace(record, **changes)  # type: ignore[arg-type]  # callers pass fields of Record
