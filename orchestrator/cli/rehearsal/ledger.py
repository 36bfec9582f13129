"""A store for the ledger that reads the records of the real store, and keeps changes in memory only.

The ledger records which actions were performed, so that each is performed once (see `orchestrator.ledger.ledger`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from orchestrator.action import Outcome
from orchestrator.cli.records import LedgerTable
from orchestrator.job import StartedJob
from orchestrator.ledger import gate
from orchestrator.ledger.gate import Overtaken
from orchestrator.ledger.ledger import Records
from orchestrator.ledger.record import EndingStatus, Record, State, expiration
from orchestrator.timing import clock


class ReadOnlyRecords:
    """Implements `Records`: reads from another store, and keeps changes in memory only.

    The changes are kept because a later action of the same event may have the same identity as an earlier action.
    """

    def __init__(self, records: Records, table: LedgerTable | None, *, locks_tenants: bool) -> None:
        """Store the arguments.

        Args:
            records: The store to read from.
            table: The store's table; `None` if it has none.
            locks_tenants: Whether a job waits while its tenant has runs of another operation (see `TenantLock`).
        """
        self.memory: timedelta | None = records.memory
        self._records = records
        self._table = table
        self._locks_tenants = locks_tenants
        self._changed: dict[str, Record] = {}

    def claim(
        self, action_id: str, owner: str, locked_until: int, job: StartedJob | None = None, *, follow: bool = False
    ) -> tuple[bool, Record | None]:
        """Claim an action, in memory only, if no delivery is performing or has performed it; see `Records.claim`."""
        before = self.read(action_id)
        if before is not None and not before.may_be_claimed(owner):
            return False, before
        if follow and job is not None:
            self._join(job)
        self._changed[action_id] = Record(
            id=action_id,
            state=State.CLAIMED,
            owner=owner,
            first_owner=owner if before is None else before.first_owner,
            locked_until=locked_until,
            expiration=expiration(self.memory),
            job=job,
            follower=owner if follow else None,
        )
        return True, before

    def _join(self, job: StartedJob) -> None:
        """Check the limits on concurrent runs, and raise the error with which `Records.claim` would refuse the job.

        Raises:
            Overtaken: The tenant has had a run of a later event of the same type.
            Unavailable: A limit is reached, so the job must wait.
        """
        if self._table is None:
            return
        for one in gate.gates_of(job, locks_tenants=self._locks_tenants):
            item = self._table.gate(one.key)
            if one.admits(item) and not one.is_full(item):
                continue
            records = {member: self.read(gate.run_of(member)) for member in gate.runs_in(item)}
            gone = {member: record for member, record in records.items() if not gate.is_in(member, record)}
            item = gate.without(one.key, item, gone)
            if not one.admits(item):
                raise one.busy() if one.is_full(item) else Overtaken

    def settle(self, action_id: str, owner: str, outcome: Outcome) -> bool:
        """Store the outcome in memory, and return True."""
        self._changed[action_id] = replace(self._changed[action_id], state=State.DONE, outcome=outcome)
        return True

    def release(self, action_id: str, owner: str) -> None:
        """Remove the record that `claim` has kept in memory."""
        self._changed.pop(action_id, None)

    def read(self, action_id: str) -> Record | None:
        """Read an action's record, as the rehearsal has changed it."""
        return self._changed.get(action_id) or self._records.read(action_id)

    def close(self, run_id: str, ending: EndingStatus) -> EndingStatus | None:
        """Return the ending that the ledger has stored for the run, or `None`. Do not store the new ending."""
        record = self.read(run_id)
        return None if record is None else record.ending

    def mark_handled(self, run_id: str, ending: EndingStatus) -> None:
        """Do nothing, because a rehearsal does not change runs."""

    def unfollow(self, run_id: str) -> None:
        """Do nothing, because a rehearsal does not change runs."""

    def give_up(self, record: Record) -> bool:
        """Return whether the real store would stop searching for the record's run. Change nothing."""
        return record.is_in_doubt and record.check_at is not None

    def due(self) -> Iterator[Sequence[Record]]:
        """Read the records of the runs whose next check is due, the longest overdue first, as a single page."""
        if self._table is None:
            return
        found = [one for one in self._table.open_jobs() if one.check_at is not None and one.check_at <= clock.now()]
        if found:
            yield sorted(found, key=_check)

    def postpone(self, record: Record) -> None:
        """Do nothing, because a rehearsal does not schedule checks."""

    def check_turn(self, job: StartedJob) -> None:
        """Do nothing: if a limit on concurrent runs makes the job wait, `claim` raises the error.

        Whether the build system has refused a job in the last minute is not checked.
        """

    def wake(self) -> None:
        """Do nothing, because a rehearsal must not cause the delivery of events that wait."""

    def adopt(self, record: Record, outcome: Outcome) -> None:
        """Do nothing, because a rehearsal does not change records."""


def _check(record: Record) -> str:
    return str(record.check_at)
