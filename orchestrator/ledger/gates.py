"""Finds the limits on concurrent runs (gates) for a job, and removes runs from them; see `orchestrator.ledger.gate`."""

from collections.abc import Callable
from contextlib import suppress

from orchestrator import telemetry
from orchestrator.errors import Unavailable
from orchestrator.job import StartedJob
from orchestrator.ledger import gate
from orchestrator.ledger.changes import Conflict, Item, Refused, Table
from orchestrator.ledger.gate import Gate, Overtaken
from orchestrator.ledger.record import OPEN_JOB, Record, is_run_id
from orchestrator.ledger.waiting_line import WaitingLine
from orchestrator.timing import deadline


class Gates:
    """The gates in the ledger's table, which limit concurrent runs (see `orchestrator.ledger.gate`).

    If the table cannot be used, `make_room` and `clear` raise `Unavailable`.
    """

    def __init__(
        self,
        table: Table,
        read: Callable[[str], Record | None],
        line: WaitingLine | None,
        *,
        locks_tenants: bool,
    ) -> None:
        """Store the arguments.

        Args:
            table: The table.
            read: Reads the record of the run with a given id; returns `None` if there is none.
            line: Makes SQS deliver an event that waits for a gate; `None` if events wait until SQS delivers them by
                itself.
            locks_tenants: Whether a job waits while its tenant has runs of another operation.
        """
        self._table = table
        self._read = read
        self._line = line
        self._locks_tenants = locks_tenants

    def of(self, job: StartedJob) -> list[Gate]:
        """Return the limits on concurrent runs that apply to a job; see `gate.gates_of`."""
        return gate.gates_of(job, locks_tenants=self._locks_tenants)

    def make_room(self, full: Gate, item: Item) -> None:
        """Make room under a limit on concurrent runs: remove the runs that no longer count (see `clear`).

        Args:
            full: The limit. It has refused a job.
            item: The limit's item in the ledger's table.

        Raises:
            Overtaken: There is room under the limit, but the job must not be started any more. The room is given to the
                next event that waits for it.
            Unavailable: No run could be removed, so the job must wait (`waits_for` is set).
        """
        if not full.is_full(item):
            self._wake_next(full.key, item)  # this job does not need the room, so the next event gets it
            raise Overtaken
        if self.clear(full.key, item) is item:
            raise full.busy()

    def leave(self, record: Record) -> None:
        """Remove a run that is over, or was never started, from the limits on concurrent runs that apply to it.

        For each of these limits, also make SQS deliver the next event that waits for the limit.

        A failure is only logged, because the run can still be removed when another job needs the room (see
        `make_room`).

        Args:
            record: The run's record, as it was while the function still checked the run. If it has no `follower`,
                nothing is done.
        """
        if record.job is None or record.follower is None:
            return
        member = gate.member_of(record.id, record.follower)
        for one in self.of(record.job):
            try:
                item = self._table.change(gate.leaving(one.key, member, record))
            except Unavailable as error:
                telemetry.logger.info(str(error))
                continue
            if item is not None and not isinstance(item, Refused):
                self._wake_next(one.key, gate.without(one.key, item, {member: record}))

    def clear(self, key: str, item: Item) -> Item:
        """Remove from a limit on concurrent runs the runs that no longer count, and make SQS deliver waiting events.

        A run counts as long as the Lambda function follows it (see `Prepared.follow`). If the limit lists more than ten
        runs, only ten of them are looked up, chosen at random. For each removed run, at most one event that waits for
        the limit is delivered.

        Args:
            key: The key of the limit's item in the ledger's table.
            item: The limit's item.

        Returns:
            The item after the removal. If no run was removed, the argument `item` itself.
        """
        taken = 0
        for member in gate.some_runs_in(item):
            run_id, follower = gate.run_of(member), gate.follower_of(member)
            record = self._read(run_id)
            if not is_run_id(run_id) or not follower:  # a person wrote it
                changes = [gate.leaving(key, member, None)]
            elif gate.is_in(member, record):
                continue
            else:
                changes = [gate.gone(run_id, follower), gate.leaving(key, member, record)]
            with suppress(Conflict):  # another request is just adding or removing the run
                taken += not any(self._table.change_all(changes))
        if not taken:
            return item
        item = self._table.get(key) or {}  # an event may have begun to wait since it was read
        self._wake_next(key, item, taken)
        return item

    def _wake_next(self, key: str, item: Item, most: int = 1) -> None:
        if OPEN_JOB in item and self._line is not None and gate.room_in(key, item) and deadline.has_time():
            self._line.wake(key, most)
