"""The command `orchestrator failures`: lists what is in the failure queue."""

import argparse
import sys
from collections import Counter

from orchestrator.cli.account import add_options, opened
from orchestrator.cli.arguments import positive
from orchestrator.cli.output import print_json, print_note, print_table
from orchestrator.local.summary import cut

LIMIT = 1000
"""How many messages are read at most, unless `--limit` is given."""

_COLUMNS = ("REASON", "EVENT", "TENANT", "TYPE", "TIME", "MESSAGE")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command `failures` to the parser's commands.

    Args:
        parents: Parsers that define the options which `failures` shares with other commands.
    """
    parser = commands.add_parser(
        "failures",
        parents=parents,
        help="list what is in the failure queue, by reason",
        description="List the events in the failure queue by reason, event id and tenant; details are never shown. To "
        "read the messages, the command has to receive them: they are hidden from others while it runs (for five "
        "minutes if it is killed). It changes nothing else.",
        epilog="Example: orchestrator failures --stack my-tenants --reason ConfigurationError",
    )
    parser.add_argument("--reason", metavar="REASON", help="list only events that failed for this reason")
    parser.add_argument("--tenant", metavar="TENANT", help="list only events of this tenant")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_limit(parser)
    add_options(parser)
    parser.set_defaults(run=_failures)


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add the option `--limit`: how many messages are read at most."""
    parser.add_argument(
        "--limit", type=positive, default=LIMIT, metavar="N", help="read at most N messages (default: %(default)s)"
    )


def _failures(options: argparse.Namespace) -> int:
    from orchestrator.cli.failure_queue import FailureQueue

    account = opened(options)
    queue = FailureQueue(account)
    total = queue.count()
    if total:
        print_note("the messages are hidden from others until the command ends", quiet=options.quiet)
    with queue.received(options.limit) as events:
        read = len({failed.message_id for failed in events})
        chosen = [
            failed
            for failed in events
            if options.reason in (None, failed.reason) and options.tenant in (None, failed.tenant_id)
        ]
    chosen.sort(key=lambda failed: failed.reason)  # stable: within a reason, the oldest comes first
    left = max(0, total - read)
    if options.json:
        print_json({"failures": [failed.as_json() for failed in chosen], "notRead": left}, sys.stdout)
        return 0
    if chosen:
        rows = [(one.reason, one.name, one.tenant_id, one.event_type, one.time, one.text) for one in chosen]
        print_table(_COLUMNS, rows, sys.stdout)
        reasons = Counter(failed.reason for failed in chosen)
        print()
        print_table(("EVENTS", "REASON"), [(str(number), one) for one, number in reasons.most_common()], sys.stdout)
    else:
        reason = f" with reason {cut(options.reason)}" if options.reason else ""
        tenant = f" of tenant {cut(options.tenant)}" if options.tenant else ""
        print(f"no message{tenant}{reason} was found in the failure queue")
    if left:
        print(f"about {left} more were not read: they are hidden now, or beyond --limit")
    return 0
