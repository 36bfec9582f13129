"""One tenant from its first event to its last; published events are delivered back, as by a rule."""

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator import Application, create_handler
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.control_plane import ControlPlane
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.stores.tiers import JOB_ATTRIBUTES
from orchestrator.timing import clock
from tests.support.aws import Requests, published, stored
from tests.support.events import as_event, changed, invoke, sample, state_change

PROJECTS = [details[name] for details in sandbox.TIERS.values() for name in JOB_ATTRIBUTES.values() if name in details]


class Account:
    """An account with the function; its bus delivers every event twice, as EventBridge may."""

    def __init__(self, handler: Application, aws: Requests, codebuild: CodeBuildServer) -> None:
        self.codebuild = codebuild
        self._handler = handler
        self._aws = aws
        self._numbers = itertools.count(1)
        self._delivered = 0
        self.types: list[str] = []

    def put(self, event: dict[str, Any]) -> None:
        """Deliver an event, and then every event that the function publishes because of it."""
        event = {**event, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        self.types.append(event["detail-type"])
        for _ in range(2):
            invoke(self._handler, event)
        while len(published(self._aws)) > self._delivered:
            entry = published(self._aws)[self._delivered]
            self._delivered += 1
            self.put(as_event(entry, f"published-{next(self._numbers)}"))

    def finish(self, status: str = "SUCCEEDED", **exported: str) -> dict[str, Any]:
        """End the youngest build, and deliver its state change."""
        build = self.codebuild.builds[-1]
        self.codebuild.finish(build, status, **exported)
        self.put(state_change(build))
        return build

    @property
    def jobs(self) -> list[str]:
        return [build["projectName"] for build in self.codebuild.builds]


@pytest.fixture
def account(aws: Requests, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with CodeBuildServer(PROJECTS, now=datetime.now(UTC).timestamp()) as codebuild:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", codebuild.url)
        yield Account(create_handler(lifecycle), aws, codebuild)


def order(tier: str, tenant_id: str = "t1") -> dict[str, Any]:
    event = changed(sample("tenant-provisioning"), "detail.planConfig.tier", tier)
    event = changed(event, "detail.builderConfig.type", ...)
    return changed(event, "detail.tenant.id", tenant_id)


def removal(tenant_id: str = "t1") -> dict[str, Any]:
    return sample("tenant-deprovisioning", detail={"tenant": {"id": tenant_id}})


def exports(plane: ControlPlane) -> dict[str, str]:
    return {
        "API_ENDPOINT": plane.url,
        "TF_STATE_BUCKET": "states",
        "TF_KEY": "t1.tfstate",
        "APP_PLANE_REDIRECT_URL": "https://t1.example.com",
    }


def webhook_statuses(plane: ControlPlane) -> list[int]:
    assert {body["initiatorId"] for body in plane.accepted} <= {"t1"}
    return [body["data"]["status"] for body in plane.accepted]


def test_a_tenant_without_a_deployment_job_lives_from_provisioning_to_deprovisioning(
    account: Account, control_plane: ControlPlane
) -> None:
    account.put(order("PREMIUM"))
    assert (account.jobs, stored("t1")["status"]) == (["premium-tenant-provisioning"], "PROVISIONING")

    build = account.finish(**exports(control_plane))
    assert control_plane.accepted == [
        {
            "initiatorId": "t1",
            "type": 0,
            "data": {
                "status": 1,
                "resources": [{"type": "s3", "metadata": {"bucket": "states", "path": "t1.tfstate"}}],
                "appPlaneUrl": "https://t1.example.com",
            },
        }
    ]
    assert (stored("t1")["status"], stored("t1")["statusBuild"]) == ("DEPLOYED", build["id"])

    account.put(removal())
    assert account.jobs == ["premium-tenant-provisioning", "premium-tenant-deprovisioning"]
    account.finish(API_ENDPOINT=control_plane.url)

    assert stored("t1")["status"] == "DEPROVISIONED"
    assert webhook_statuses(control_plane) == [1]  # the control plane would answer 401 to a second one
    assert account.types == [
        "TENANT_PROVISIONING",
        "CodeBuild Build State Change",
        "TENANT_PROVISIONING_SUCCESS",
        "TENANT_DEPLOYMENT",
        "TENANT_DEPROVISIONING",
        "CodeBuild Build State Change",
        "TENANT_DEPROVISIONING_SUCCESS",
    ]


def test_a_tenant_with_a_deployment_job_is_deployed_when_the_job_has_ended(
    account: Account, control_plane: ControlPlane
) -> None:
    account.put(order("STANDARD"))
    account.finish(**exports(control_plane))
    assert account.jobs == ["standard-tenant-provisioning", "standard-tenant-deployment"]
    assert (webhook_statuses(control_plane), stored("t1")["status"]) == ([], "DEPLOYING")

    account.finish()

    assert (webhook_statuses(control_plane), stored("t1")["status"]) == ([1], "DEPLOYED")
    assert account.types[-3:] == ["TENANT_DEPLOYMENT", "CodeBuild Build State Change", "TENANT_DEPLOYMENT_SUCCESS"]


@pytest.mark.parametrize("ends", [["FAILED"], ["SUCCEEDED", "TIMED_OUT"]])
def test_a_failed_build_is_reported_to_the_control_plane(
    account: Account, control_plane: ControlPlane, ends: list[str]
) -> None:
    account.put(order("STANDARD"))
    for status in ends:
        build = account.finish(status, **exports(control_plane))

    assert webhook_statuses(control_plane) == [0]
    record = stored("t1")
    assert record["status"] == ("PROVISIONING_FAILED" if len(ends) == 1 else "DEPLOYMENT_FAILED")
    assert record["statusReason"] == f"CodeBuild build {build['id']} ended {ends[-1]} in phase BUILD"


def test_a_lost_state_change_only_delays_a_tenant(
    account: Account, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.put(order("PREMIUM"))
    account.codebuild.finish(account.codebuild.builds[-1], **exports(control_plane))
    monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + timedelta(minutes=6))

    account.put(sample("scheduled-sweep"))

    assert (webhook_statuses(control_plane), stored("t1")["status"]) == ([1], "DEPLOYED")


def test_a_tenant_on_jenkins_lives_from_provisioning_to_deprovisioning(
    aws: Requests, jenkins: JenkinsServer, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = control_plane.url
    with CodeBuildServer() as none:
        account = Account(create_handler(lifecycle), aws, none)
        ages = itertools.count(1)

        def finish(job: str) -> None:
            (build,) = jenkins.run_queue()
            jenkins.finish(job, build.number)
            age = timedelta(hours=next(ages))
            monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + age)
            account.put(sample("scheduled-sweep", id=job))

        parameters = ["tier", "tenant", "secret", "context", "API_ENDPOINT", "ORCHESTRATOR_RUN_ID"]
        for step in ("provisioning", "deployment", "deprovisioning"):
            jenkins.add_job(f"tenants/enterprise-{step}", parameters)
        event = changed(order("ENTERPRISE"), "detail.builderConfig.config.environmentOverride.API_ENDPOINT", plane)

        account.put(event)
        finish("tenants/enterprise-provisioning")
        assert stored("t1")["status"] == "DEPLOYING"
        finish("tenants/enterprise-deployment")
        assert (webhook_statuses(control_plane), stored("t1")["status"]) == ([1], "DEPLOYED")
        account.put(removal())
        finish("tenants/enterprise-deprovisioning")

    assert stored("t1")["status"] == "DEPROVISIONED"
    assert stored("t1")["statusBuild"].startswith(jenkins.url)


def test_a_provisioning_that_cannot_start_is_reported_to_the_control_plane(
    account: Account, aws: Requests, control_plane: ControlPlane
) -> None:
    path = "detail.builderConfig.config.environmentOverride.API_ENDPOINT"

    with pytest.raises(Exception, match="tier 'GOLD' is not in table tiers"):
        account.put(changed(order("GOLD"), path, control_plane.url))
    account.put(as_event(published(aws)[0]))

    assert (webhook_statuses(control_plane), stored("t1")["status"]) == ([0], "PROVISIONING_FAILED")
    assert json.loads(published(aws)[0]["Detail"])["error"] == "ConfigurationError"
