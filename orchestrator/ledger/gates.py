"""Lets runs join their gates and leave them, in the ledger's table."""

from collections.abc import Callable

from orchestrator import telemetry
from orchestrator.errors import Unavailable
from orchestrator.job import StartedJob
from orchestrator.ledger import gate
from orchestrator.ledger.changes import Item, Refused, Table
from orchestrator.ledger.gate import Gate
from orchestrator.ledger.record import OPEN_JOB, Record
from orchestrator.ledger.waiting_line import WaitingLine
from orchestrator.timing import deadline


class Gates:
    """The gates in the ledger's table. Every method raises `Unavailable` if the table cannot be used."""

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
            read: Reads the record of a run.
            line: Wakes the events that wait for a gate; `None` if no event is woken.
            locks_tenants: Whether tenants have locks.
        """
        self._table = table
        self._read = read
        self._line = line
        self._locks_tenants = locks_tenants

    def of(self, job: StartedJob) -> list[Gate]:
        """Return the gates that a job's run must join."""
        return gate.gates_of(job, locks_tenants=self._locks_tenants)

    def make_room(self, full: Gate, item: Item) -> None:
        """Take runs out of a full gate that are not followed any more.

        Args:
            full: The gate.
            item: The gate's item.

        Raises:
            Overtaken: The gate has room, but the job comes too late for it.
            Unavailable: No run could be taken out.
        """
        full.check_full(item)
        if not self.take_out_gone(full.key, item):
            raise full.busy()

    def leave(self, record: Record) -> None:
        """Take a run that is over out of its gates.

        A failure is only logged, because the run does not count any more, whether the gates name it or not.
        """
        if record.job is None or record.follower is None:
            return
        member = gate.member_of(record.id, record.follower)
        for one in self.of(record.job):
            try:
                self._take_out(one.key, member, record)
            except Unavailable as error:
                telemetry.logger.info(str(error))

    def take_out_gone(self, key: str, item: Item) -> int:
        """Look at some runs in a gate, and take those out that are not followed any more; return their number."""
        records = {member: self._read(gate.run_of(member)) for member in gate.some_runs_in(item)}
        gone = {member: record for member, record in records.items() if not gate.is_in(member, record)}
        for member, record in gone.items():
            self._take_out(key, member, record)
        return len(gone)

    def _take_out(self, key: str, member: str, record: Record | None) -> None:
        """Take a run out of a gate, and wake the next event that waits for the gate."""
        item = self._table.change(gate.leaving(key, member, record))
        if item is None or isinstance(item, Refused) or OPEN_JOB not in item or self._line is None:
            return  # the gate does not name the run, or no event waits for it
        if gate.room_in(key, item, leaving=1) and deadline.has_time():
            self._line.wake(key, 1)
