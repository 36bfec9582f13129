"""The waiting queue's configuration: ours, and one without this package for comparison."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from orchestrator.intake.redelivery import LONGEST_SLEEP_SECONDS, MAX_AGE_SECONDS, wait_seconds
from tests.benchmarks.scale.assumptions import template_tries


@dataclass(frozen=True)
class Queue:
    """The configuration of the waiting queue.

    Attributes:
        maximum_concurrency: Batches handled at the same time.
        tries: Number of times that a message is received, after which it goes to the failure queue.
        wait: Seconds that a message stays hidden, by the number of times it was received.
        longest: Age in seconds at which a message goes to the failure queue.
        wakes: Whether events are looked at and woken, as this package does.
    """

    maximum_concurrency: int
    tries: int
    wait: Callable[[int], float]
    longest: float
    wakes: bool = True


def ours(maximum_concurrency: int) -> Queue:
    """Return the waiting queue of template.yaml, with the function's own redelivery."""
    return Queue(
        maximum_concurrency=maximum_concurrency,
        tries=template_tries(),
        wait=partial(wait_seconds, longest=LONGEST_SLEEP_SECONDS),
        longest=MAX_AGE_SECONDS,
    )


def five_tries(maximum_concurrency: int) -> Queue:
    """Return a queue with only a redrive policy, for comparison: five tries, six minutes apart."""
    return Queue(
        maximum_concurrency=maximum_concurrency, tries=5, wait=lambda _: 360.0, longest=14 * 86400.0, wakes=False
    )
