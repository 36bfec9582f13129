"""What a simulation counts."""

from dataclasses import dataclass, field

from tests.benchmarks.scale import costs
from tests.benchmarks.scale.costs import Step, Units


@dataclass
class Outcome:
    """The result of the burst; all times are in seconds from its beginning.

    Attributes:
        started: When each job was started.
        waits: Seconds from each event to its job's start.
        first_tries: When each event was tried for the first time.
        failed: When each event reached the failure queue.
        ended: When the last build ended.
        tries: How often an event was tried: its job was claimed, and CodeBuild asked unless its slot was full.
        requests: How often CodeBuild was asked.
        looks: How often an event was received, looked at, and put to sleep again without a try.
        wakes: How often an event was woken.
        sweeps: Number of sweeps.
        most_in_slot: The most builds of the limited tier at the same time.
        sent: Number of events that the function sent to the waiting queue.
        throttled: Number of throttled invocations.
        invocations: Number of invocations that ran.
        busy: Their total duration.
        queue_requests: Number of requests to SQS.
        published: Number of events that were published.
        reads: Units read from the tables.
        writes: Units written to them.
    """

    started: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    first_tries: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    ended: float = 0.0
    tries: int = 0
    requests: int = 0
    looks: int = 0
    wakes: int = 0
    sweeps: int = 0
    most_in_slot: int = 0
    sent: int = 0
    throttled: int = 0
    invocations: int = 0
    busy: float = 0.0
    queue_requests: int = 0
    published: int = 0
    reads: float = 0.0
    writes: float = 0.0
    _units: dict[int, Units] = field(default_factory=dict, repr=False)

    def spend(self, step: Step, times: int = 1) -> None:
        """Count the units of a step."""
        known = self._units.get(id(step))
        if known is None:
            known = self._units[id(step)] = costs.units(step)
        self.reads += known.reads * times
        self.writes += known.writes * times

    def run(self, seconds: float) -> None:
        """Count an invocation."""
        self.invocations += 1
        self.busy += seconds

    @property
    def dollars(self) -> float:
        """The cost of Lambda, SQS, DynamoDB, EventBridge and logs, without the builds, which cost by far the most."""
        function = self.invocations * costs.INVOCATION + self.busy * costs.MEMORY_GB * costs.GB_SECOND
        tables = self.reads * costs.READ + self.writes * costs.WRITE
        queues = self.queue_requests * costs.SQS_REQUEST + self.published * costs.EVENT
        logs = (self.tries + self.looks) * costs.LOG_GB_A_DELIVERY * costs.LOG_GB
        return function + tables + queues + logs
