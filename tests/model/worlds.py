"""Defines the model's states, and how time passes in them.

The clock stands still, and everything with a time ages instead. Equal situations are therefore equal worlds, and the
number of worlds is finite.
"""

from collections.abc import Set
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from orchestrator.ledger.ledger import MAX_ACTION_SECONDS
from orchestrator.ledger.record import CLOCK_TOLERANCE_SECONDS, Record, milliseconds
from orchestrator.timing import deadline
from tests.model.attempts import MONTH, NOW, Actor, Request

TICK_SECONDS = 26
"""After one tick a holder may still act, after two it may not, and after three its lock may be taken over."""
LOCK_SECONDS = int(MAX_ACTION_SECONDS + deadline.MARGIN_SECONDS + CLOCK_TOLERANCE_SECONDS)
"""How long an attempt is protected from others after it begins; a late request takes effect within this time."""
LONG_AGO_SECONDS = 3 * TICK_SECONDS
TOKEN_SECONDS = LONG_AGO_SECONDS
"""How long a token is recognised; on CodeBuild, five minutes.

https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuild.html (idempotencyToken)
"""

GONE = "gone"


class Bounds(NamedTuple):
    """How often each kind of event may still happen."""

    kills: int = 0
    lost: int = 0
    late: int = 0
    refused: int = 0
    closes: int = 0
    months: int = 0
    pauses: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{name} {number}" for name, number in self._asdict().items() if number) or "no fault"


class World(NamedTuple):
    """A state; `late` holds the requests in transit, each with the seconds left for it to take effect."""

    bounds: Bounds
    actors: tuple[Actor, ...]
    record: Record | None = None
    runs: int = 0
    token: int = 0
    late: tuple[tuple[Request, int], ...] = ()
    is_month_later: bool = False


def changed(world: World, actor: Actor | None = None, **bounds: int) -> World:
    """Replace an actor, and change bounds."""
    if actor is not None:
        world = world._replace(actors=tuple(actor if other.name == actor.name else other for other in world.actors))
    return world._replace(bounds=world.bounds._replace(**bounds))


def aged(world: World, seconds: int) -> World:
    """Let time pass."""
    actors = (
        actor if actor.began is None else actor._replace(began=max(actor.began - seconds, -LONG_AGO_SECONDS))
        for actor in world.actors
    )
    late = ((_aged_request(request, seconds), left - seconds) for request, left in world.late if left >= seconds)
    record = None if world.record is None else _aged(world.record, seconds)
    return world._replace(actors=tuple(actors), record=record, token=max(0, world.token - seconds), late=tuple(late))


@cache
def _aged(record: Record, seconds: int) -> Record:
    return replace(record, locked_until=record.locked_until - seconds * 1000)


def _aged_request(request: Request, seconds: int) -> Request:
    if request.operation != "claim":
        return request
    action_id, owner, locked_until, job = request.arguments
    return request._replace(arguments=(action_id, owner, locked_until - seconds * 1000, job))


def month_later(world: World) -> World:
    """Let a month pass: no request is in transit any more, and the record has expired."""
    record = aged(world, LONG_AGO_SECONDS).record
    if record is not None:
        record = replace(record, expiration=record.expiration - int(MONTH.total_seconds()))
    return world._replace(record=record, token=0, late=(), is_month_later=True)


def canonical(world: World) -> World:
    """Remove irrelevant details from the record: how long ago a lock ended, and owners that no longer act."""
    if world.record is None:
        return world
    owners = {actor.owner for actor in world.actors if actor.began is not None}
    owners |= {request.arguments[1] for request, _ in world.late if len(request.arguments) > 1}
    return world._replace(record=_canonical(world.record, frozenset(owners)))


@cache
def _canonical(record: Record, owners: Set[str]) -> Record:
    over = milliseconds(NOW) - LONG_AGO_SECONDS * 1000
    if record.state == "done":
        return replace(record, locked_until=over)
    owner, first_owner = (name if name in owners else GONE for name in (record.owner, record.first_owner))
    return replace(record, locked_until=max(over, record.locked_until), owner=owner, first_owner=first_owner)


def seen_by(owner: str, record: Record | None) -> Record | None:
    """Remove from the answer to a claim the details of the record that do not affect the owner."""
    if record is None or record.state == "done":
        return record
    first_owner = owner if record.first_owner == owner else GONE
    return replace(record, locked_until=0, owner=owner if record.owner == owner else GONE, first_owner=first_owner)
