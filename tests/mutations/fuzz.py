"""Makes mutated events from a seed, and hands them to the handlers."""

import json
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.mutations.mutate import mutated
from tests.mutations.samples import without_shown_secrets
from tests.mutations.tree import written
from tests.mutations.verdict import faults_of, outcome_of
from tests.mutations.world import World


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A mutated event: its JSON, the sample that it was made from, and the handler that takes it."""

    sample: str
    handler: str
    payload: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An event that was not handled as it should be."""

    seed: int
    index: int
    mutation: Mutation
    faults: tuple[str, ...]
    error: str


@dataclass(kw_only=True)
class Figures:
    """What came of a run."""

    outcomes: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, 0)

    def add(self, other: "Figures") -> None:
        self.outcomes += other.outcomes
        self.requests += other.requests
        self.findings += other.findings
        self.slowest = max(self.slowest, other.slowest)


def mutation(world: World, seed: int, index: int) -> Mutation:
    """Make a mutated event; the same for the same seed and index.

    What Lambda itself cannot decode never reaches the function, so another one is made instead.
    """
    choose = random.Random(f"{seed}:{index}")  # noqa: S311 (guards no secret)
    others = [tree for _, _, tree in world.samples]
    while True:
        name, handler, tree = choose.choice(world.samples)
        payload = written(without_shown_secrets(mutated(tree, others, choose)))
        try:
            json.loads(payload)
        except (ValueError, RecursionError):
            continue
        return Mutation(sample=name, handler=handler, payload=payload)


def run(world: World, seed: int, indexes: Iterable[int]) -> Figures:
    """Hand the mutated events with these indexes to their handlers."""
    figures = Figures()
    for index in indexes:
        made = mutation(world, seed, index)
        delivered = world.deliver(made.handler, made.payload)
        faults = tuple(dict.fromkeys(faults_of(delivered)))
        figures.outcomes[outcome_of(delivered)] += 1
        figures.requests.update(delivered.requests)
        figures.slowest = max(figures.slowest, (delivered.seconds, index))
        if faults:
            error = "" if delivered.error is None else f"{type(delivered.error).__name__}: {delivered.error}"
            figures.findings.append(Finding(seed=seed, index=index, mutation=made, faults=faults, error=error))
    return figures
