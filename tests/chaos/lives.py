"""Plans the start events of tenants: which jobs the control plane requests, and when."""

import copy
import json
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.chaos.child import ROOT

PROVISIONING = "TENANT_PROVISIONING"
DEPLOYMENT = "TENANT_DEPLOYMENT"
DEPROVISIONING = "TENANT_DEPROVISIONING"
BUILDERS = ("CODE_BUILD", "JENKINS")
# Event times lie this far in the past, so that no child's clock is behind them.
_AGE_SECONDS = 3
# Share of the tenants with a second start, and the share of those with a third.
_SECOND, _THIRD = 0.6, 0.25
_GAP_SECONDS = (0.2, 3.0)
# Share of the starts that arrive late, often after their tenant's next start.
_LATE, _LATE_SECONDS = 0.2, (2.0, 4.0)
_SAMPLES = {
    PROVISIONING: json.loads((ROOT / "events" / "tenant-provisioning.json").read_text(encoding="utf-8")),
    DEPROVISIONING: json.loads((ROOT / "events" / "tenant-deprovisioning.json").read_text(encoding="utf-8")),
}


@dataclass(frozen=True)
class Start:
    """An event that requests a job for a tenant.

    Attributes:
        event: The event.
        order: Its index among the tenant's starts.
        after: Seconds from the beginning of the run to its first delivery.
    """

    event: Mapping[str, Any]
    order: int = 0
    after: float = 0.0

    @property
    def id(self) -> str:
        return str(self.event["id"])

    @property
    def type(self) -> str:
        return str(self.event["detail-type"])

    @property
    def tenant(self) -> str:
        return str(self.event["detail"]["tenant"]["id"])

    @property
    def tier(self) -> str:
        return str(self.event["detail"]["planConfig"]["tier"])

    @property
    def builder(self) -> str:
        return str(self.event["detail"]["builderConfig"]["type"])


def starts(
    number: int, tiers: Sequence[str], pace: float, scale: float, wall: float, chance: random.Random
) -> list[Start]:
    """Plan the starts of as many tenants as needed.

    Args:
        number: How many starts.
        tiers: The tiers of the tenants.
        pace: Starts a second.
        scale: Factor for the gaps and delays of this module.
        wall: When the run begins, in seconds since 1970.
        chance: The random generator.
    """
    planned: list[Start] = []
    tenants = 0
    while len(planned) < number:
        builder, tier = BUILDERS[tenants % 2], tiers[tenants // 2 % len(tiers)]
        planned += _life(builder, tier, len(planned) / pace, scale, wall, chance)
        tenants += 1
    return planned[:number]


def _life(builder: str, tier: str, after: float, scale: float, wall: float, chance: random.Random) -> Iterator[Start]:
    tenant, at, last = str(uuid.uuid4()), after, 0
    for order, event_type in enumerate(_course(chance)):
        # EventBridge has times in whole seconds, and a tenant's starts must differ in theirs.
        second = max(int(wall + at) - _AGE_SECONDS, last + 1)
        delay = chance.uniform(*_LATE_SECONDS) if chance.random() < _LATE else chance.uniform(0, 1)
        yield Start(start_event(event_type, builder, tier, tenant=tenant, at=second), order, at + scale * delay)
        at, last = at + scale * chance.uniform(*_GAP_SECONDS), second


def _course(chance: random.Random) -> Iterator[str]:
    yield PROVISIONING
    event_type = PROVISIONING
    for share in (_SECOND, _THIRD):
        if chance.random() >= share:
            return
        event_type = PROVISIONING if event_type == DEPROVISIONING else chance.choice((PROVISIONING, DEPROVISIONING))
        yield event_type


def start_event(
    event_type: str, builder: str, tier: str, *, tenant: str | None = None, at: float | None = None
) -> dict[str, Any]:
    """Build an event that requests a job.

    Args:
        event_type: `TENANT_PROVISIONING` or `TENANT_DEPROVISIONING`.
        builder: The requested build system.
        tier: The plan's tier.
        tenant: The tenant's id; by default a new one.
        at: Its time in seconds since 1970; by default now.
    """
    event: dict[str, Any] = copy.deepcopy(_SAMPLES[event_type])
    happened = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    event.update(id=str(uuid.uuid4()), time=happened.strftime("%Y-%m-%dT%H:%M:%SZ"))
    detail = event["detail"]
    detail["tenant"].update(id=tenant or str(uuid.uuid4()), key=f"tenant-{event['id'][:8]}")
    detail["planConfig"]["tier"] = tier
    detail["builderConfig"]["type"] = builder
    detail["builderConfig"]["config"]["environmentOverride"] = {"secret": SECRET, "context": context_of(event["id"])}
    return event


SECRET = "a-secret-of-no-worth"
_CONTEXT = "context of "


def context_of(start: str) -> str:
    """Return the context of a start event; its jobs receive it, and it signs their webhooks."""
    return _CONTEXT + start


def start_of(variables: Mapping[str, Any]) -> str:
    """Read the id of a run's start event from the variables of the run."""
    return str(variables["context"]).removeprefix(_CONTEXT)
