"""What the simulations assume: documented quotas of AWS, values of template.yaml, and properties of a burst."""

import re
from dataclasses import dataclass

from tests.support.lambda_runtime import ROOT


@dataclass(frozen=True)
class Quotas:
    """Limits that AWS documents, and values of template.yaml.

    Attributes:
        running_builds: Concurrent CodeBuild builds; the default is 20 for some environments, 1 in some new accounts
            (https://docs.aws.amazon.com/codebuild/latest/userguide/limits.html).
        queued_builds: Queued builds, as a multiple of the running ones; beyond that, StartBuild is refused
            (https://docs.aws.amazon.com/codebuild/latest/userguide/builds-working.html).
        concurrency: Concurrent invocations by default; new accounts may have 10
            (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
        longest_throttle: Longest pause after a throttled invocation, in seconds; the first is 1 s, and each next one
            twice as long (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html). For
            batches from a queue, Lambda's documentation has no numbers; the simulation uses the same ones.
        event_age: Seconds for which Lambda keeps an event that is throttled, from template.yaml.
        first_pollers: Concurrent batches from a queue at first
            (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html).
        more_pollers: Additional concurrent batches per second (300 a minute).
        batch: Messages per batch, from template.yaml.
        visibility: Seconds for which Lambda keeps a batch that is throttled, which are the queue's visibility timeout,
            from template.yaml (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html).
        long_poll: Seconds after which a poller that gets no message asks again
            (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html).
        sweep: Seconds between two sweeps, from template.yaml.
    """

    running_builds: int = 20
    queued_builds: int = 5
    concurrency: int = 1000
    longest_throttle: float = 300.0
    event_age: float = 6 * 3600.0
    first_pollers: int = 5
    more_pollers: float = 5.0
    batch: int = 10
    visibility: float = 360.0
    long_poll: float = 20.0
    sweep: float = 300.0


@dataclass(frozen=True)
class Burst:
    """Properties of the burst, and durations that no document has.

    Attributes:
        tenants: Number of events, at most 120,000: SQS has no more messages in flight per queue
            (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html).
        per_second: Events that the control plane publishes per second. About 500 jobs per second is the limit: all
            entries of the index `open-jobs` share one partition, which takes 1,000 writes per second, and a start
            needs two
            (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html).
        limited: How many of the events are of a tier that has a slot.
        slots: How many builds of that tier may run at the same time.
        build_seconds: Duration of a build, plus or minus a fifth.
        invocation_seconds: Duration of one event at 512 MB: four AWS calls, and 10 ms of CPU at 0.29 vCPU.
        batch_seconds: Duration of ten events in parallel at 512 MB. An event that is only looked at takes as long.
        sweep_seconds: Duration of a sweep.
        ending_seconds: Time from the end of a build until the event about that has been handled.
        index_lag: Time until an index shows what was written
            (https://repost.aws/knowledge-center/dynamodb-missing-table-items-gsi: within a second).
    """

    tenants: int = 50_000
    per_second: float = 500.0
    limited: int = 0
    slots: int = 5
    build_seconds: float = 300.0
    invocation_seconds: float = 0.4
    batch_seconds: float = 0.8
    sweep_seconds: float = 2.0
    ending_seconds: float = 5.0
    index_lag: float = 0.5


def template_tries() -> int:
    """Read the maxReceiveCount of the waiting queue in template.yaml."""
    found = re.search(r"maxReceiveCount: (\d+)", (ROOT / "template.yaml").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1])
