"""A registry with consumers and models of its own."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel

from orchestrator import EndingEvent, Event, Registry, StartJob
from orchestrator.lifecycle import registry as lifecycle


class Reason(StrEnum):
    UNPAID = "unpaid"
    ABUSE = "abuse"


class Suspension(BaseModel):
    tenant_id: str
    reason: Reason | None = None


class Timed(BaseModel):
    until: datetime
    tags: dict[str, list[Literal["a", "b"]]] = {}


registry = Registry()
registry.include(lifecycle)


@registry.consumer(
    "TENANT_SUSPENDED",
    ending=EndingEvent(failure="Suspension failed"),
    leads_to=["tenant.frozen", "a mail"],
)
def suspend(event: Event[Suspension]) -> StartJob:
    """Start the job that suspends a tenant.

    The job exists once.
    """
    return StartJob(name="suspend", variables={"tenant": event.detail.tenant_id})


@registry.consumer("TENANT_SUSPENDED", when=lambda event: event.detail.until.year > 2026)
def schedule_end(event: Event[Timed]) -> None:
    return None


@registry.consumer("tenant.frozen-at 7°C")
def measure(event: Event) -> None:
    return None
