"""Explores all worlds breadth-first, so that the trace to a violation is as short as possible."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Any, NamedTuple

from orchestrator.errors import OrchestratorError
from orchestrator.job import Run
from orchestrator.ledger.memory import MemoryRecords
from orchestrator.ledger.record import Record
from tests.model.attempts import MEMORY, Actor, Attempts, Failure, Request, Step
from tests.model.worlds import (
    LOCK_SECONDS,
    LONG_AGO_SECONDS,
    TICK_SECONDS,
    TOKEN_SECONDS,
    Bounds,
    World,
    aged,
    canonical,
    changed,
    month_later,
    seen_by,
)

RUN = Run(id="the run")


class Fate(StrEnum):
    """What happens to a request."""

    DONE = "done"
    LOST = "done, its answer is lost"
    LATE = "without an answer, done later"
    REFUSED = "not done"


class Found(NamedTuple):
    """The result of an exploration; the trace has the steps to the first violation."""

    states: int
    violations: int
    violation: str | None
    trace: list[str]


class Exploration:
    """Explores all worlds that two deliveries can lead to, with one build system."""

    def __init__(self, *, has_token: bool) -> None:
        """Choose the build system.

        Args:
            has_token: Whether it recognises a repeated request: CodeBuild does, Jenkins does not.
        """
        self._has_token = has_token
        self._attempts = Attempts(has_token=has_token)
        self._records = MemoryRecords(MEMORY)
        self._probed: dict[tuple[Record | None, int, bool], str | None] = {}

    def explore(self, bounds: Bounds, *, attempts: int = 2, go_on: bool = False) -> Found:
        """Explore all worlds within the bounds.

        Args:
            attempts: Number of attempts of each delivery.
            go_on: Whether to find more than one violation; worlds after a violation are not explored.
        """
        first = World(bounds, (Actor("A", attempts), Actor("B", attempts)))
        origins: dict[World, tuple[World, str] | None] = {first: None}
        violators: list[tuple[World, str]] = []
        frontier = deque([first])
        with self._attempts.in_place():
            while frontier and (go_on or not violators):
                world = frontier.popleft()
                violation = self._violation(world)
                if violation is not None:
                    violators.append((world, violation))
                    continue
                for label, following in self._steps(world):
                    following = canonical(following)
                    if following not in origins:
                        origins[following] = world, label
                        frontier.append(following)
        violator, violation = violators[0] if violators else (first, None)
        return Found(len(origins), len(violators), violation, _trace(origins, violator))

    def _violation(self, world: World) -> str | None:
        """Describe the violated invariant of a world, if any."""
        if world.runs > 1:
            return "two runs"
        if not world.runs and world.record is not None and world.record.state == "done":
            return "done without a run"
        if not world.runs and any(actor.has_succeeded for actor in world.actors):
            return "success without a run"
        key = world.record, world.runs, world.is_month_later
        if key not in self._probed:
            self._probed[key] = self._probe(world)
        return self._probed[key]

    def _probe(self, world: World) -> str | None:
        """Deliver the event once more after all locks, without faults; afterwards there must be exactly one run."""
        actor = Actor("C", 1, began=0)
        world = aged(world._replace(actors=(), late=()), LONG_AGO_SECONDS)
        while isinstance(step := self._step(actor, world), Request):
            world, answer = self._applied(world, step)
            actor = actor.answered(answer)
        if isinstance(step, OrchestratorError):
            return "the event comes again after all locks and fails"
        return None if world.runs == 1 else f"the event comes again after all locks: {world.runs} runs"

    def _steps(self, world: World) -> Iterator[tuple[str, World]]:
        """Yield every possible step in a world, and the world after it."""
        bounds = world.bounds
        for actor in world.actors:
            if actor.began is not None:
                yield from self._moves(world, actor)
                if bounds.kills:
                    killed = Actor(actor.name, actor.attempts - 1)
                    yield f"{actor.name} is killed", changed(world, killed, kills=bounds.kills - 1)
            elif actor.attempts and (actor.name == "A" or actor[1:] != world.actors[0][1:]):
                # An attempt begins with its claim. While both actors are in the same state, only A begins first:
                # the other order would be symmetric.
                yield from self._moves(world, actor._replace(began=0))
        for number, (request, _) in enumerate(world.late):
            rest = world._replace(late=world.late[:number] + world.late[number + 1 :])
            yield f"late {request.operation}: {Fate.DONE}", self._applied(rest, request)[0]
        if bounds.closes and world.runs:
            closed, _ = self._applied(world, Request("close", (self._attempts.run_id, "SUCCESS")))
            yield "the run has ended: closed", changed(closed, closes=bounds.closes - 1)
        yield f"{TICK_SECONDS} s pass", aged(world, TICK_SECONDS)
        if bounds.months and all(actor.began is None for actor in world.actors):
            yield "a month passes", changed(month_later(world), months=bounds.months - 1)

    def _moves(self, world: World, actor: Actor) -> Iterator[tuple[str, World]]:
        """Yield the fates of an actor's next request; `check` and `send` are one step unless a pause is allowed."""
        request = self._step(actor, world)
        assert isinstance(request, Request)
        if request.operation != "check":
            yield from self._fates(world, actor, request)
            return
        late = actor.answered(-(actor.began or 0))
        request = self._step(late, world)
        if not isinstance(request, Request) or request.operation != "send":
            yield self._with_answer(world, late, f"{actor.name}: check: too late")
            return
        checked = actor.answered(0)
        if world.bounds.pauses:
            paused = changed(world, checked, pauses=world.bounds.pauses - 1)
            yield f"{actor.name} pauses between check and send", paused
        yield from self._fates(world, checked, request)

    def _fates(self, world: World, actor: Actor, request: Request) -> Iterator[tuple[str, World]]:
        """Yield the fates of a request."""
        bounds = world.bounds
        label = f"{actor.name}: {request.operation}: "
        is_send, is_search = request.operation == "send", request.operation == "search"
        unanswered = actor.answered(None if is_send else Failure.IN_DOUBT)
        done, answer = self._applied(world, request)
        yield self._with_answer(done, actor.answered(answer), label + Fate.DONE)
        if bounds.lost and not is_search:
            done = changed(done, lost=bounds.lost - 1)
            if is_send:
                yield self._with_answer(done, unanswered, label + Fate.LOST)
            else:  # the actor repeats the request, as the SDK does
                yield label + Fate.LOST, changed(done, actor)
        left = LOCK_SECONDS + (actor.began or 0)
        if bounds.late and not is_search and left >= 0:
            late = tuple(sorted((*world.late, (request, left)), key=str))
            less = changed(world, late=bounds.late - 1)._replace(late=late)
            yield self._with_answer(less, unanswered, label + Fate.LATE)
        if bounds.refused:
            refused = actor.answered(Failure.CERTAIN if is_send or is_search else Failure.IN_DOUBT)
            yield self._with_answer(changed(world, refused=bounds.refused - 1), refused, label + Fate.REFUSED)

    def _with_answer(self, world: World, actor: Actor, label: str) -> tuple[str, World]:
        """Continue an actor with the answer that was added to its history."""
        step = self._step(actor, world)
        if isinstance(step, Request):
            return label, changed(world, actor)
        if isinstance(step, OrchestratorError):
            return f"{label}; {actor.name} fails", changed(world, Actor(actor.name, actor.attempts - 1))
        return f"{label}; {actor.name} succeeds", changed(world, Actor(actor.name, 0, has_succeeded=True))

    def _step(self, actor: Actor, world: World) -> Step:
        return self._attempts.step(actor, is_month_later=world.is_month_later)

    def _applied(self, world: World, request: Request) -> tuple[World, Any]:
        """Apply a request; return the world after it and the answer."""
        match request.operation:
            case "check":
                return world, 0
            case "search":
                return world, replace(RUN, already_started=True) if world.runs else None
            case "send" if world.token:
                return world, RUN
            case "send":
                return world._replace(runs=world.runs + 1, token=TOKEN_SECONDS if self._has_token else 0), RUN
        run_id = self._attempts.run_id
        self._records._records = {} if world.record is None else {run_id: world.record}
        answer = getattr(self._records, request.operation)(*request.arguments)
        if request.operation == "claim":
            answer = answer[0], seen_by(request.arguments[1], answer[1])
        return world._replace(record=self._records._records.get(run_id)), answer


def _trace(origins: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    labels = []
    while (origin := origins[world]) is not None:
        world, label = origin
        labels.append(label)
    return labels[::-1]
