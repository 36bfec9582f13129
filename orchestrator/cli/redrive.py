"""The command `orchestrator redrive`: invokes the function again with events from the failure queue."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.cli import confirm
from orchestrator.cli.account import Account, add_options, opened
from orchestrator.cli.failures import add_limit
from orchestrator.cli.output import print_json, print_table
from orchestrator.errors import ConfigurationError, OrchestratorError, shown
from orchestrator.local.summary import cut
from orchestrator.local.terminal import Lines, ProgressBar

if TYPE_CHECKING:
    from orchestrator.cli.failed_event import FailedEvent
    from orchestrator.cli.failure_queue import FailureQueue
    from orchestrator.cli.function import DeployedFunction

_COLUMNS = ("EVENT", "TENANT", "TYPE", "REASON")
# While one event is handled, the messages behind it stay hidden for so much longer than one invocation may take.
_SPARE_SECONDS = 240
_RENEWAL_SECONDS = 60
_GONE = "is not visible any more; another process has received it"


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command `redrive` to the parser's commands.

    Args:
        parents: Parsers that define the options which `redrive` shares with other commands.
    """
    parser = commands.add_parser(
        "redrive",
        parents=parents,
        help="send events of the failure queue to the function again",
        description="Invoke the function with events of the failure queue, the oldest first, and delete each message "
        "after its events were handled. What fails again is kept. The function recognises a redrive: nothing is done "
        "twice, and a job whose failure to start was published is started now. It says what it will do and asks first.",
        epilog="Example: orchestrator redrive --stack my-tenants --reason ConfigurationError --dry-run",
    )
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="ids of events, or message ids as `failures --json` prints them"
    )
    parser.add_argument("--reason", metavar="REASON", help="all that failed for this reason, as `failures` shows it")
    parser.add_argument("--tenant", metavar="TENANT", help="all of this tenant")
    parser.add_argument("--all", action="store_true", help="all of the queue")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be sent")
    parser.add_argument("--function", metavar="NAME", help="the function's name or ARN, if there is no --stack")
    parser.add_argument("--json", action="store_true", help="print JSON")
    confirm.add_option(parser)
    add_limit(parser)
    add_options(parser)
    parser.set_defaults(run=_redrive)


def _redrive(options: argparse.Namespace) -> int:
    from orchestrator.cli.failure_queue import FailureQueue

    chosen_by = (bool(options.ids), options.reason is not None, options.tenant is not None, options.all)
    if chosen_by.count(True) != 1:
        raise ConfigurationError("name the events to send by one of these: their ids, --reason, --tenant, or --all")
    if options.function and options.stack:
        raise ConfigurationError("--function is for settings without --stack; leave one of the two out")
    account = opened(options)
    queue = FailureQueue(account)
    function = None if options.dry_run else _function(options, account)
    with queue.received(options.limit) as events:
        chosen = _chosen(events, options)
    if options.json and function is None:
        print_json({"wouldBeSent": [failed.as_json() for failed in chosen]}, sys.stdout)
    elif options.json and not chosen:
        print_json({"redriven": [], "kept": []}, sys.stdout)
    elif not chosen:
        print("no such message was found in the failure queue", flush=True)
    elif function is None or not (options.quiet and options.yes):
        rows = [(one.name, one.tenant_id, one.event_type, one.reason) for one in chosen]
        print_table(_COLUMNS, rows, sys.stderr if options.json else sys.stdout)
    if function is None or not chosen:
        return 0
    number = f"{len(chosen)} event{'s' * (len(chosen) != 1)}"
    confirm.confirm(
        f"{number} will be sent to {function.name}, and deleted from the failure queue when handled",
        yes=options.yes,
        quiet=options.quiet,
    )
    done = _send_all(queue, function, {failed.message_id for failed in chosen}, options)
    if options.json:
        print_json({"redriven": [one for one in done if one["redriven"]], "kept": _kept(done)}, sys.stdout)
    else:
        Lines(sys.stdout).print(f"{len(done) - len(_kept(done))} redriven, {len(_kept(done))} kept")
    return 1 if _kept(done) else 0


def _function(options: argparse.Namespace, account: Account) -> "DeployedFunction":
    from orchestrator.cli.function import DeployedFunction

    found = account.deployed
    if found is not None:
        return DeployedFunction(found.function, found.region, found.timeout)
    if not options.function:
        raise ConfigurationError("the function to invoke is unknown; name a deployed stack with --stack, or --function")
    return DeployedFunction(options.function, account.settings.aws_region)


def _chosen(events: Sequence["FailedEvent"], options: argparse.Namespace) -> list["FailedEvent"]:
    """Return the events that the options select, and all other events in the same messages.

    Raises:
        ConfigurationError: The options contain an id that belongs to no event and no message.
    """
    known = {name for failed in events for name in (failed.event_id, failed.message_id)}
    missing = [name for name in options.ids if name not in known]
    if missing:
        raise ConfigurationError(
            f"{', '.join(map(shown, missing))}: not found in the failure queue; nothing was sent. If another process "
            "has received it, it is hidden for some minutes"
        )
    named = {failed.message_id for failed in events if _is_named(failed, options)}
    return [failed for failed in events if failed.message_id in named]


def _is_named(failed: "FailedEvent", options: argparse.Namespace) -> bool:
    if options.ids:
        return failed.event_id in options.ids or failed.message_id in options.ids
    return bool(options.all or options.reason == failed.reason or options.tenant == failed.tenant_id is not None)


def _send_all(
    queue: "FailureQueue", function: "DeployedFunction", ids: Collection[str], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Receive the messages of the failure queue again, and send the events of the selected messages to the function.

    The messages were visible while the user was asked to confirm, so another process may have received some of them.

    A message is deleted once the function has handled all its events. If the function cannot be invoked, or if a
    message cannot be deleted, the remaining events are not sent.

    Args:
        ids: The ids of the selected messages.

    Returns:
        One dictionary for each event, and one for each message that was not received again. In each dictionary, the key
        `redriven` is false if the function did not handle the event, or if the message could not be deleted afterwards.
    """
    from orchestrator.cli.function import Answer

    done: list[dict[str, Any]] = []
    with queue.received(options.limit) as events:
        ahead = [failed for failed in events if failed.message_id in ids]
        gone = set(ids) - {failed.message_id for failed in ahead}
        left = Counter(failed.message_id for failed in ahead)
        renewed, is_over = float("-inf"), False
        bar = ProgressBar("events", len(ahead), shown=not options.quiet)
        while ahead and not is_over:
            if time.monotonic() - renewed > _RENEWAL_SECONDS:
                queue.keep_hidden(ahead, function.timeout + _SPARE_SECONDS)
                renewed = time.monotonic()
            failed = ahead.pop(0)
            try:
                with bar.step():
                    obstacle = Answer(False, failed.obstacle)
                    answer = obstacle if failed.payload is None else function.invoke(failed.payload)
                left[failed.message_id] -= answer.is_handled
                if not left[failed.message_id]:
                    queue.delete(failed)
            except OrchestratorError as error:
                answer, is_over = Answer(False, f"{type(error).__name__}: {error}"), True
            done.append({**failed.as_json(), "redriven": answer.is_handled, "answer": answer.text})
            _report(done[-1], options)
        kept = [(failed.as_json(), "not tried any more") for failed in ahead]
        kept += [({"messageId": message_id, "eventId": None}, _GONE) for message_id in gone]
        for one, text in kept:
            done.append({**one, "redriven": False, "answer": text})
            _report(done[-1], options)
    return done


def _report(done: dict[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        return
    name = done.get("eventId") or f"message {done['messageId']}"
    status = "redriven" if done["redriven"] else "kept"
    Lines(sys.stdout).print(f"{status:8}  {cut(name)}  {cut(done['answer'], 1000)}")


def _kept(done: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in done if not one["redriven"]]
