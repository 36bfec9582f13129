"""The command `orchestrator status`: shows what happened to a tenant, from its record and the ledger."""

import argparse
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from orchestrator.cli.account import Account, add_options, opened
from orchestrator.cli.output import print_json
from orchestrator.errors import ConfigurationError, UnknownTenant, shown
from orchestrator.local.summary import cut
from orchestrator.local.terminal import Lines

if TYPE_CHECKING:
    from orchestrator.ledger.record import Record


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command `status` to the parser's commands.

    Args:
        parents: Parsers that define the options which `status` shares with other commands.
    """
    parser = commands.add_parser(
        "status",
        parents=parents,
        help="show a tenant's story: events, jobs, endings, webhooks, waits",
        description="Show a tenant's story in order, from its record and from the ledger, which keeps 30 days. It only "
        "reads. Of the record, only the attributes about its status are read, never secrets.",
        epilog="Example: orchestrator status --stack my-tenants 4b1f6c0e-3c1d-4a58-9a55-7d9f0e6a2c11",
    )
    parser.add_argument("tenant", metavar="TENANT", help="the tenant's id")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_options(parser)
    parser.set_defaults(run=_status)


def _status(options: argparse.Namespace) -> int:
    found = status(opened(options), options.tenant)
    if options.json:
        print_json(found, sys.stdout)
        return 0
    tenant = found["record"] or {}
    at = f" since {cut(str(tenant['statusAt']))}" if "statusAt" in tenant else ""
    tier = f", tier {cut(str(tenant['tier']))}" if "tier" in tenant else ""
    lines = Lines(sys.stdout)
    lines.print(f"tenant {cut(options.tenant)}: {cut(str(tenant.get('status', 'no record')))}{at}{tier}")
    for step in found["steps"]:
        at = "now" if step["step"] == "wait" else step["at"] or "(time unknown)"
        lines.print(f"{cut(at):24}  {step['step']:7}  {cut(_text(step), 2000)}")
    return 0


def status(account: Account, tenant_id: str) -> dict[str, Any]:
    """Read what happened to a tenant.

    Returns:
        A dictionary with the keys `tenantId`, `record` and `steps` (see `orchestrator.cli.story.Step`). `record` is
        `None` if the tenant has no record, or if `DATA_STORE_TABLE` is not set.

    Raises:
        UnknownTenant: The tenant has neither a record nor a job.
        ConfigurationError: Neither `DATA_STORE_TABLE` nor `IDEMPOTENCY_TABLE` is set, or a table does not exist or may
            not be read.
        Unavailable: AWS was not reached, failed or throttled a request.
    """
    from orchestrator.cli.records import LedgerTable, TenantTable
    from orchestrator.cli.story import related, story

    settings = account.settings
    if settings.data_store_table is None and settings.idempotency_table is None:
        raise ConfigurationError(
            f"neither DATA_STORE_TABLE nor IDEMPOTENCY_TABLE is set in {account.place}; name a deployed stack with "
            "--stack, or set them"
        )
    record = TenantTable(account).get(tenant_id) if settings.data_store_table else None
    runs: list[Record] = []
    others: dict[str, Record] = {}
    holder = None
    if settings.idempotency_table:
        ledger = LedgerTable(account)
        runs = ledger.of_tenant(tenant_id)
        others = ledger.read(key for run in runs for key in related(run).values())
        holder = ledger.holder(tenant_id)
    if record is None and not runs:
        raise UnknownTenant(
            f"tenant {shown(tenant_id)} has no record and no job in {account.place}; check its id, and whether its "
            "events are among `orchestrator failures`"
        )
    memory = timedelta(seconds=settings.idempotency_record_max_age)
    return {"tenantId": tenant_id, "record": record, "steps": story(record, runs, others, memory, holder)}


def _text(step: dict[str, Any]) -> str:
    known = {name: str(value) for name, value in step.items()}
    match known["step"]:
        case "event":
            parts = [known.get("eventType"), known.get("eventId"), known.get("note")]
        case "job":
            parts = [
                known["builder"],
                f"{known['name']}:",
                known["status"],
                known.get("link") or f"run {known['runId']}",
            ]
        case "ending":
            parts = [known["name"], known.get("status"), known.get("eventType")]
        case "webhook":
            parts = [known["status"], known.get("host") and f"to {known['host']}"]
        case "status":
            parts = [known["status"], known.get("build")]
        case _:
            parts = [known.get("heldBy") and f"for a job of event {known['heldBy']}:"]
    text = " ".join(filter(None, parts))
    reason = known.get("reason")
    return f"{text}{': ' if text and not text.endswith(':') else ' ' if text else ''}{reason}" if reason else text
