from typing import Any

from orchestrator import Ended, EndingEvent, Event, Registry, StartJob

registry = Registry()


def as_order(ended: Ended) -> dict[str, Any]:
    return {"orderId": ended.kept["orderId"], "disk": ended.variables.get("DISK_ID")}


FROZEN = EndingEvent(
    success="Tenant frozen", failure="Freezing failed", source="my.app", detail=as_order, keeps=["orderId"]
)


@registry.consumer("Freeze tenant", ending=FROZEN)
def freeze(event: Event) -> StartJob:
    return StartJob(name="freeze-tenant", variables={"tenant": event.detail["tenantId"]})
