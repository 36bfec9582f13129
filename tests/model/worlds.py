"""The states of the model, and how time passes in them.

The clock stands still, and what has a time ages. So equal situations are equal worlds, and their number is finite.
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
"""How long after its beginning others leave an attempt alone; a late request takes effect until then."""
LONG_AGO_SECONDS = 3 * TICK_SECONDS
TOKEN_SECONDS = LONG_AGO_SECONDS
"""How long a token is recognised. CodeBuild's holds longer, five minutes (API reference, StartBuild)."""

GONE = "gone"


class Bounds(NamedTuple):
    """How often each of these may still happen."""

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
    """A state. `late` are requests under way, each with the seconds within which it may yet take effect."""

    bounds: Bounds
    actors: tuple[Actor, ...]
    record: Record | None = None
    runs: int = 0
    token: int = 0
    late: tuple[tuple[Request, int], ...] = ()
    is_month_later: bool = False


def changed(world: World, actor: Actor | None = None, **bounds: int) -> World:
    """Put an actor into its place, and change bounds."""
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
    """Let a month pass: nothing is under way any more, and the record is expired."""
    record = aged(world, LONG_AGO_SECONDS).record
    if record is not None:
        record = replace(record, expiration=record.expiration - int(MONTH.total_seconds()))
    return world._replace(record=record, token=0, late=(), is_month_later=True)


def canonical(world: World) -> World:
    """Leave out of the record what makes no difference: how long ago a lock ended, and owners that act no more."""
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
    """Leave out of a record in the answer to a claim what makes no difference to its owner."""
    if record is None or record.state == "done":
        return record
    first_owner = owner if record.first_owner == owner else GONE
    return replace(record, locked_until=0, owner=owner if record.owner == owner else GONE, first_owner=first_owner)
