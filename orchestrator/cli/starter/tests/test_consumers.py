"""Tests which events the consumers take, and which actions they return."""

from orchestrator import Event, StartJob
from orchestrator.testing import RecordingDispatcher

from consumers import registry, scale_down, suspend

PREMIUM = Event(type="TENANT_SUSPENDED", detail={"tenantId": "t1", "tier": "PREMIUM"})
BASIC = Event(type="TENANT_SUSPENDED", detail={"tenantId": "t2", "tier": "BASIC"})


def test_a_build_suspends_the_tenant() -> None:
    assert suspend(BASIC) == StartJob(builder="CODE_BUILD", name="suspend-tenant", variables={"tenant": "t2"})


def test_a_jenkins_job_scales_the_tenant_down() -> None:
    assert scale_down(PREMIUM) == StartJob(builder="JENKINS", name="tenants/scale-down", variables={"tenant": "t1"})


def test_only_premium_tenants_are_scaled_down() -> None:
    def names(event: Event) -> list[str]:
        return [recorded.consumer for recorded in RecordingDispatcher(registry).dispatch(event)]

    assert sorted(names(PREMIUM)) == ["scale_down", "suspend"]
    assert names(BASIC) == ["suspend"]
