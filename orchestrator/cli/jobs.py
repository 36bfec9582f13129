"""The command `orchestrator jobs`: lists jobs that have not ended, and tenants whose job cannot be started yet."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from orchestrator.cli.account import Account, add_options, opened
from orchestrator.cli.output import print_json, print_table
from orchestrator.timing.clock import written

if TYPE_CHECKING:
    from orchestrator.ledger.record import Record

_COLUMNS = ("STATE", "SINCE", "TENANT", "BUILDER", "JOB", "LINK OR RUN")
_WAITING_COLUMNS = ("WAITING FOR", "TENANT", "STATUS", "EVENT")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command `jobs` to the parser's commands.

    Args:
        parents: Parsers that define the options which `jobs` shares with other commands.
    """
    parser = commands.add_parser(
        "jobs",
        parents=parents,
        help="list the jobs that are open, waiting, in doubt or overdue",
        description="List the jobs that are open, overdue (open for more than a day) or in doubt (it is unknown "
        "whether they were started), and the tenants whose event waits for its job. The latter reads the whole table "
        "of tenant records. The messages of the waiting queue are only counted: to see one, a "
        "person would have to receive it, and the function would not get it meanwhile. The command only reads.",
        epilog="Example: orchestrator jobs --stack my-tenants",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_options(parser)
    parser.set_defaults(run=_jobs)


def _jobs(options: argparse.Namespace) -> int:
    found = jobs(opened(options))
    if options.json:
        print_json(found, sys.stdout)
        return 0
    rows = [
        (
            ", ".join(job["states"]),
            job["since"],
            job.get("tenantId"),
            job["builder"],
            job["name"],
            job.get("link") or job["runId"],
        )
        for job in found["jobs"]
    ]
    if rows:
        print_table(_COLUMNS, rows, sys.stdout)
    else:
        print("no job is open")
    for run_id in found["unreadable"]:
        print(
            f"orchestrator: record {run_id} cannot be read: another version of this package wrote it", file=sys.stderr
        )
    waiting = found["waiting"]
    if waiting["tenants"]:
        print()
        print_table(_WAITING_COLUMNS, [_waiting_row(tenant) for tenant in waiting["tenants"]], sys.stdout)
    elif waiting["tenants"] is not None:
        print("no tenant's event waits")
    queue = waiting["queue"]
    if queue is not None:
        print(
            f"\nwaiting queue: about {queue['available']} messages to be tried, {queue['inFlight'] + queue['delayed']} "
            "at work or waiting for their next try; which events they hold cannot be seen without receiving them"
        )
    return 0


def jobs(account: Account) -> dict[str, Any]:
    """Read which jobs are open, and which events wait because their jobs cannot be started yet.

    A job is open as long as the function checks whether the job's run has ended.

    Returns:
        A dictionary with these keys:

        - `jobs`: the open jobs.
        - `waiting`: a dictionary with the keys `tenants` and `queue`. `tenants` is a list of the records of the
          tenants with a waiting event, or `None` if `DATA_STORE_TABLE` is not set. `queue` has the message counts of
          the waiting queue (see `counts`), or is `None` if `WAITING_QUEUE_URL` is not set.
        - `unreadable`: the ids of records that this version of the package cannot read.

    Raises:
        ConfigurationError: `IDEMPOTENCY_TABLE` is not set, `WAITING_QUEUE_URL` is not a URL, or a table or queue does
            not exist or may not be read.
        Unavailable: AWS was not reached, failed or throttled a request.
    """
    from orchestrator.cli.records import LedgerTable, TenantTable

    ledger = LedgerTable(account)
    records = ledger.open_jobs()
    tenants = list(TenantTable(account).waiting()) if account.settings.data_store_table else None
    return {
        "jobs": [_job(record) for record in records],
        "waiting": {"tenants": tenants, "queue": _waiting_queue(account)},
        "unreadable": sorted(ledger.unreadable),
    }


def _job(record: "Record") -> dict[str, Any]:
    from orchestrator.cli.story import job_status

    job, outcome = record.started_job, record.outcome or {}
    known = {
        "states": _states(record),
        "status": job_status(record),
        "since": written(job.since),
        "tenantId": job.tenant_id,
        "builder": job.builder,
        "name": job.name,
        "runId": job.run_id,
        "id": job.id,
        "link": outcome.get("buildLink") or outcome.get("link"),
        "eventId": job.event_id,
        "eventType": job.event_type,
        "nextCheck": None if record.check_at is None else written(record.check_at),
    }
    return {name: value for name, value in known.items() if value is not None}


def _states(record: "Record") -> list[str]:
    from orchestrator.endings.sweep import OVERDUE

    state = "in doubt" if record.is_in_doubt and record.ending is None else "open"
    return [state, "overdue"] if record.age > OVERDUE else [state]


def _waiting_row(tenant: dict[str, Any]) -> tuple[str | None, ...]:
    return tuple(tenant.get(name) for name in ("waitingFor", "tenantId", "status", "startedBy"))


def _waiting_queue(account: Account) -> dict[str, int] | None:
    from orchestrator.cli.failure_queue import counts

    if account.settings.waiting_queue_url is None:
        return None
    return counts(account.sqs, account.queue_url("WAITING_QUEUE_URL"))
