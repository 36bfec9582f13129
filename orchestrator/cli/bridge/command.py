"""The command `orchestrator bridge bullmq`: sends the events of a BullMQ queue's jobs to the stack's waiting queue."""

import argparse
import asyncio
import os
import signal
from typing import TYPE_CHECKING

from orchestrator import telemetry
from orchestrator.aws.clients import Clients
from orchestrator.cli import account
from orchestrator.cli.account import STACK_HELP, Account
from orchestrator.cli.arguments import port, positive
from orchestrator.cli.stack import YOUR_ROLE
from orchestrator.errors import ConfigurationError, Unavailable
from orchestrator.intake.message import Queue
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.cli.bridge.event_message import EventMessage
    from orchestrator.cli.bridge.jobs import Jobs

_QUEUE_URL = "WAITING_QUEUE_URL"
_REDIS_URL = "REDIS_URL"
_DESCRIPTION = """\
Take jobs off a BullMQ queue, and send the event of each to the waiting queue of a deployed stack, until stopped by
SIGTERM or Ctrl-C. A job is completed only when SQS has its event. Redis cannot trigger a Lambda function, so this
command has to run beside the function, in a container of your own for example. Several may run side by side.
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command `bridge` to the parser's commands.

    Args:
        parents: Parsers that define the options which `bridge` shares with other commands.
    """
    help_text = "send the events of another message bus to the waiting queue"
    parser = commands.add_parser("bridge", help=help_text, description=f"{help_text.capitalize()}.")
    buses = parser.add_subparsers(metavar="BUS", required=True)
    bullmq = buses.add_parser(
        "bullmq", parents=parents, help="send the events of a BullMQ queue's jobs", description=_DESCRIPTION
    )
    bullmq.add_argument("--queue", required=True, metavar="NAME", help="the BullMQ queue's name")
    bullmq.add_argument(
        "--redis-url",
        metavar="URL",
        help="the Redis server, as redis://[[USER]:PASSWORD@]HOST[:PORT], or rediss:// for TLS (default: "
        f"{_REDIS_URL}; others on the machine can see an argument, but not an environment variable)",
    )
    where = bullmq.add_mutually_exclusive_group()
    where.add_argument("--waiting-queue-url", metavar="URL", help=f"the SQS queue to send to (default: {_QUEUE_URL})")
    where.add_argument("--stack", metavar="NAME", help=STACK_HELP)
    bullmq.add_argument(
        "--concurrency", type=positive, default=10, metavar="N", help="jobs held at a time (default: %(default)s)"
    )
    bullmq.add_argument(
        "--lock-seconds",
        type=positive,
        default=30,
        metavar="N",
        help="how long a job stays locked after its bridge was killed (default: %(default)s)",
    )
    bullmq.add_argument(
        "--health-port", type=port, metavar="PORT", help="answer GET /live and /ready on this port (default: none)"
    )
    bullmq.set_defaults(run=_bridge)


def _bridge(options: argparse.Namespace) -> int:
    try:
        from orchestrator.cli.bridge.jobs import Jobs
    except ModuleNotFoundError as error:
        if error.name not in ("bullmq", "redis"):
            raise
        raise ConfigurationError(
            "needs bullmq; install this package with its extra: pip install 'tenant-orchestrator[bullmq]'"
        ) from None
    if options.quiet:
        telemetry.logger.setLevel("ERROR")
    redis_url = _redis_url(options.redis_url or os.environ.get(_REDIS_URL))
    found = _account(options)
    queue = Queue(_QUEUE_URL, found.queue_url(_QUEUE_URL), lambda: found.sqs)
    _check(queue, found)

    async def run() -> None:
        await _run(options, Jobs(redis_url, options.queue, options.lock_seconds), queue)

    asyncio.run(run())
    return 0


def _redis_url(url: str | None) -> str:
    from redis.asyncio.connection import parse_url

    if not url:
        raise ConfigurationError(f"{_REDIS_URL} is not set; set it, or name the Redis server with --redis-url")
    try:
        parse_url(url)
    except ValueError:  # its text may have a part of the password
        raise ConfigurationError(
            "the URL of Redis is not one; write it as redis://:PASSWORD@HOST:PORT or rediss://…, with special "
            "characters of the password percent-encoded (/ is %2F)"
        ) from None
    return url


def _account(options: argparse.Namespace) -> Account:
    if options.stack is not None:
        return account.opened(options)
    # The environment of the bridge has few of the function's settings, so these two are not checked against the others.
    settings = Settings.from_environment({"AWS_REGION": os.environ.get("AWS_REGION", "")})
    url = options.waiting_queue_url or os.environ.get(_QUEUE_URL)
    return Account(settings=settings.model_copy(update={_QUEUE_URL.lower(): url}), clients=Clients())


def _check(queue: Queue, found: Account) -> None:
    """Check, before the first event is sent, that the SQS queue exists, and that there are credentials.

    If SQS cannot be reached, only log a warning, because SQS may be reachable again when the first event is sent. If
    AWS denies the request to read the queue, do nothing, because sending an event takes another permission.

    Raises:
        ConfigurationError: The queue is a FIFO queue or does not exist, or credentials or a region are missing.
        Unavailable: The source of the credentials was not reached.
    """
    from botocore.exceptions import ClientError

    from orchestrator.aws.errors import aws_errors, is_denied

    if queue.url.endswith(".fifo"):
        raise ConfigurationError(f"{_QUEUE_URL} is a FIFO queue; name the stack's waiting queue, a standard one")
    found.check_credentials()
    try:
        with aws_errors(f"the queue that {_QUEUE_URL} names could not be read", role=YOUR_ROLE):
            try:
                found.sqs.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["QueueArn"])
            except ClientError as error:
                if not is_denied(error.response):  # sending takes no permission to read
                    raise
    except Unavailable as error:  # SQS may be back when there is an event to send
        telemetry.logger.warning(str(error), error=type(error).__name__)


async def _run(options: argparse.Namespace, jobs: "Jobs", queue: Queue) -> None:
    from orchestrator.cli.bridge.bridge import Bridge
    from orchestrator.cli.bridge.health import serving

    def send(message: "EventMessage") -> None:
        queue.send(message.body, message.attributes, "its event was not sent", role=YOUR_ROLE)

    await _check_redis(jobs)
    bridge = Bridge(jobs, send, options.concurrency)
    stops: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)  # a second one ends the process at once
        stops.add(asyncio.create_task(bridge.stop()))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with serving(options.health_port, (bridge.redis, bridge.sqs)):
        telemetry.logger.info(f"sending the events of BullMQ queue {options.queue!a} to {queue.url.rpartition('/')[2]}")
        await bridge.run()
    telemetry.logger.info("stopped")


async def _check_redis(jobs: "Jobs") -> None:
    """Check Redis before the first job is taken, and log a warning if Redis may delete jobs when its memory is full.

    If Redis cannot be reached, no error is raised, because the bridge will wait until Redis can be reached.

    Raises:
        ConfigurationError: Redis refuses the user or the password.
    """
    from redis.exceptions import AuthenticationError, RedisError

    try:
        policy = await jobs.eviction_policy()
    except AuthenticationError:
        await jobs.close()
        raise ConfigurationError(f"Redis refuses the user or the password; correct {_REDIS_URL}") from None
    except (OSError, RedisError):
        return
    if policy not in (None, "noeviction"):
        telemetry.logger.warning(
            f"Redis has the maxmemory-policy {policy!a}, so it may drop jobs, and their events are lost; BullMQ needs "
            "noeviction"
        )
