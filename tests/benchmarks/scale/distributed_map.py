"""Simulates a distributed map of Step Functions whose child executions each run one build (`startBuild.sync`).

At most `MaxConcurrency` child executions run at a time, at most 10,000 if it is not set
(https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html). Each runs until its build has ended
(https://docs.aws.amazon.com/step-functions/latest/dg/connect-to-resource.html#connect-sync). A refused build is tried
again as its `Retry` says (https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html). Each
state that is entered is paid for, and each retry once more (https://aws.amazon.com/step-functions/pricing/).
"""

import random
from dataclasses import dataclass, field
from functools import partial

from tests.benchmarks.scale import costs
from tests.benchmarks.scale.assumptions import Burst, Quotas
from tests.benchmarks.scale.services import Agenda, CodeBuild

MOST_CHILDREN = 10_000
# State transitions of a child execution: its start, and its only state. The page of prices does not say whether the
# start is one; it is counted as one here.
_TRANSITIONS = 2


@dataclass(frozen=True)
class Retry:
    """The retrier of the state; both pauses in seconds. `JitterStrategy` is `FULL`."""

    interval: float = 60.0
    max_delay: float = 3600.0
    backoff: float = 2.0

    def pause(self, retries: int) -> float:
        """Return the seconds until a refused build is tried again."""
        longest: float = min(self.interval * self.backoff ** min(retries, 30), self.max_delay)
        return random.uniform(0, longest)


@dataclass
class MapOutcome:
    """The result of the map; all times are in seconds from its beginning.

    Attributes:
        started: When each build was started.
        ended: When the last build ended.
        tries: Number of StartBuild requests.
    """

    started: list[float] = field(default_factory=list)
    ended: float = 0.0
    tries: int = 0

    @property
    def dollars(self) -> float:
        """The cost of the state transitions, without the builds, which cost by far the most."""
        builds = len(self.started)
        return (_TRANSITIONS * builds + self.tries - builds) * costs.STATE_TRANSITION


class DistributedMap:
    """A map with one item for each build."""

    def __init__(self, quotas: Quotas, burst: Burst, max_concurrency: int, retry: Retry) -> None:
        self.outcome = MapOutcome()
        self._burst = burst
        self._children = max_concurrency or MOST_CHILDREN
        self._retry = retry
        self._agenda = Agenda()
        self._codebuild = CodeBuild(self._agenda, quotas, burst.build_seconds)
        self._left = burst.tenants

    def run(self) -> MapOutcome:
        """Run all builds."""
        for number in range(min(self._children, self._left)):
            self._agenda.at(number / self._burst.per_second, self._begin)
        self._agenda.run()
        self.outcome.ended = self._codebuild.last_end
        return self.outcome

    def _begin(self) -> None:
        if self._left:
            self._left -= 1
            self._start(0)

    def _start(self, retries: int) -> None:
        self.outcome.tries += 1
        if self._codebuild.start(self._ended):
            self.outcome.started.append(self._agenda.now)
        else:
            self._agenda.at(self._agenda.now + self._retry.pause(retries), partial(self._start, retries + 1))

    def _ended(self) -> None:
        self._agenda.at(self._agenda.now + self._burst.ending_seconds, self._begin)


def distributed_map(quotas: Quotas, burst: Burst, max_concurrency: int) -> MapOutcome:
    """Simulate a distributed map; a `max_concurrency` of 0 sets no limit."""
    return DistributedMap(quotas, burst, max_concurrency, Retry()).run()
