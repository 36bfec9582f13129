"""The decisions of each built-in consumer, called as a function."""

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator import (
    ConfigurationError,
    Event,
    EventType,
    PublishEvent,
    SaveTenant,
    SendCallback,
    Settings,
    StartJob,
    UnknownTenant,
    UpdateTenant,
)
from orchestrator.action import PublishEnding, SweepRuns
from orchestrator.job import Ending
from orchestrator.lifecycle import deployment, deprovisioning, endings, provisioning
from orchestrator.testing import TENANT, make_context, make_detail, make_event

NINE = datetime(2026, 11, 24, 9, tzinfo=UTC)
WRITTEN = "2026-11-24T09:00:00.000Z"
TENANT_ID = TENANT["id"]
RECORD = {"planConfig": {"tier": "PREMIUM"}, "secret": "a-secret", "context": "a-context"}
TIERS = {
    "PREMIUM": {
        "jobName": "provision",
        "deploymentJobName": "deploy",
        "deprovisioningJobName": "remove",
        "builder": "JENKINS",
        "REGION": "eu",
    }
}


def event(event_type: str, **changes: Any) -> Event[Any]:
    return make_event(event_type, make_detail(event_type, **changes), time=NINE)


def webhook(status: int, webhook_type: int = 0, **data: Any) -> SendCallback:
    return SendCallback(
        url="https://control-plane.example.com/webhook",
        body={"initiatorId": TENANT_ID, "type": webhook_type, "data": {"status": status, "resources": [], **data}},
        secret="a-secret",
        context="a-context",
        may_be_settled=True,
        tenant_id=TENANT_ID,
    )


def status_of(action: object) -> Any:
    assert isinstance(action, UpdateTenant)
    return action.changes["status"]


def test_a_provisioning_saves_the_record_and_then_starts_the_tiers_job() -> None:
    assert provisioning.start_provisioning_job(event("TENANT_PROVISIONING"), make_context(tiers=TIERS)) == [
        SaveTenant(
            tenant_id=TENANT_ID, record={**RECORD, "tenant": TENANT, "status": "PROVISIONING", "statusAt": WRITTEN}
        ),
        StartJob(
            name="provision",
            builder="JENKINS",
            trusted_variables={"tier": "PREMIUM", **TIERS["PREMIUM"]},
            variables={"secret": "a-secret", "context": "a-context", "tenant": TENANT},
            tenant_id=TENANT_ID,
        ),
    ]


def test_the_events_builder_overrides_the_tiers() -> None:
    chosen = event("TENANT_PROVISIONING", builderConfig={"type": "CODE_BUILD"})

    _, job = provisioning.start_provisioning_job(chosen, make_context(tiers=TIERS))

    assert isinstance(job, StartJob)
    assert job.builder == "CODE_BUILD"


def test_a_provisioned_tenant_is_deployed_with_the_same_detail() -> None:
    update, publish = provisioning.start_deployment(event("TENANT_PROVISIONING_SUCCESS"), make_context())

    assert status_of(update) == "PROVISIONED"
    assert publish == PublishEvent(
        type="TENANT_DEPLOYMENT",
        detail=make_detail("TENANT_PROVISIONING_SUCCESS"),
        source="saas.tenant.provisioning.success.handler",
    )


def test_a_success_event_of_a_failed_build_is_a_failure() -> None:
    failed = event("TENANT_PROVISIONING_SUCCESS", CODEBUILD_BUILD_SUCCEEDING="0")

    update, callback = provisioning.start_deployment(failed, make_context())

    assert status_of(update) == "PROVISIONING_FAILED"
    assert callback == webhook(0)


def test_a_failed_provisioning_is_sent_with_its_reason_in_the_record() -> None:
    failed = event("TENANT_PROVISIONING_FAILURE", reason="the build ended TIMED_OUT")

    update, callback = provisioning.handle_provisioning_failure(failed, make_context())

    assert isinstance(update, UpdateTenant)
    assert (update.status, update.changes["statusReason"]) == ("PROVISIONING_FAILED", "the build ended TIMED_OUT")
    assert callback == webhook(0)


def test_the_deployment_job_of_the_tier_is_started() -> None:
    update, job = deployment.deploy_tenant(
        event("TENANT_DEPLOYMENT", HOME="/root"), make_context(tiers=TIERS, tenants={TENANT_ID: RECORD})
    )

    assert status_of(update) == "DEPLOYING"
    assert isinstance(job, StartJob)
    assert (job.name, job.builder) == ("deploy", "JENKINS")
    assert "HOME" not in job.variables  # the environment of the previous build is not passed on


def test_without_a_deployment_job_the_tenant_is_deployed() -> None:
    update, callback = deployment.deploy_tenant(event("TENANT_DEPLOYMENT"), make_context())

    assert status_of(update) == "DEPLOYED"
    assert callback == webhook(1)


@pytest.mark.parametrize(
    ("event_type", "status", "sent"),
    [("TENANT_DEPLOYMENT_SUCCESS", "DEPLOYED", 1), ("TENANT_DEPLOYMENT_FAILURE", "DEPLOYMENT_FAILED", 0)],
)
def test_the_ending_of_a_deployment_is_sent(event_type: str, status: str, sent: int) -> None:
    consumers = {
        EventType.TENANT_DEPLOYMENT_SUCCESS: deployment.handle_deployment_success,
        EventType.TENANT_DEPLOYMENT_FAILURE: deployment.handle_deployment_failure,
    }

    update, callback = consumers[EventType(event_type)](event(event_type), make_context())

    assert status_of(update) == status
    assert callback == webhook(sent)


def test_a_deprovisioning_takes_missing_fields_from_the_record() -> None:
    sent = event("TENANT_DEPROVISIONING", planConfig=..., secret=..., context=...)

    update, job = deprovisioning.start_deprovisioning_job(sent, make_context(tiers=TIERS, tenants={TENANT_ID: RECORD}))

    assert isinstance(update, UpdateTenant)
    assert (update.starts, update.changes["status"]) == (True, "DEPROVISIONING")
    assert isinstance(job, StartJob)
    assert (job.name, job.variables["secret"]) == ("remove", "a-secret")


def test_a_deprovisioning_of_an_unknown_tenant_needs_a_plan() -> None:
    with pytest.raises(UnknownTenant, match=r"has no record, and detail\.planConfig is missing"):
        deprovisioning.start_deprovisioning_job(event("TENANT_DEPROVISIONING", planConfig=...), make_context())


def test_a_tier_without_a_deprovisioning_job_is_named() -> None:
    with pytest.raises(ConfigurationError, match="tier 'PREMIUM' does not name the job of TENANT_DEPROVISIONING"):
        deprovisioning.start_deprovisioning_job(event("TENANT_DEPROVISIONING"), make_context())


def test_after_a_deprovisioning_the_webhook_secrets_leave_the_record() -> None:
    context = make_context(tenants={TENANT_ID: RECORD})

    update, forget = deprovisioning.handle_deprovisioning_success(event("TENANT_DEPROVISIONING_SUCCESS"), context)

    assert status_of(update) == "DEPROVISIONED"
    assert forget == UpdateTenant(tenant_id=TENANT_ID, changes={"secret": None, "context": None})


def test_the_ending_of_a_deprovisioning_is_sent_with_the_configured_type() -> None:
    context = make_context(settings=Settings(deprovisioning_webhook_type=1))

    update, callback = deprovisioning.handle_deprovisioning_failure(event("TENANT_DEPROVISIONING_FAILURE"), context)

    assert status_of(update) == "DEPROVISIONING_FAILED"
    assert callback == webhook(0, webhook_type=1, appPlaneUrl="", tier="PREMIUM")


def state_change(**variables: str) -> Event[endings.BuildStateChange]:
    entries = [{"name": name, "value": value, "type": "PLAINTEXT"} for name, value in variables.items()]
    detail = {
        "build-status": "FAILED",
        "project-name": "provision",
        "build-id": "arn:aws:codebuild:eu-west-1:123456789012:build/provision:1",
        "additional-information": {"environment": {"environment-variables": entries}},
    }
    return Event(type=endings.STATE_CHANGE, detail=endings.BuildStateChange.model_validate(detail))


def test_the_ending_of_a_build_with_our_variables_is_published() -> None:
    own = {"ORCHESTRATOR_RUN_ID": "run", "ORCHESTRATOR_TENANT_ID": TENANT_ID}

    assert endings.publish_build_ending(state_change(**own), make_context()) == PublishEnding(
        run_id="run",
        builder="CODE_BUILD",
        name="provision",
        build="provision:1",
        tenant_id=TENANT_ID,
        ending=Ending(
            succeeded=False,
            reason="CodeBuild build provision:1 ended FAILED",
            variables={**own, "CODEBUILD_BUILD_ID": "provision:1", "CODEBUILD_BUILD_SUCCEEDING": "0"},
        ),
    )


def test_a_build_without_our_variables_is_ignored() -> None:
    assert endings.publish_build_ending(state_change(), make_context()) is None


def test_endings_are_not_published_if_that_is_turned_off() -> None:
    context = make_context(settings=Settings(publish_build_endings=False))

    assert endings.publish_build_ending(state_change(ORCHESTRATOR_RUN_ID="run"), context) is None


def test_a_schedule_starts_a_sweep() -> None:
    assert endings.sweep_runs(Event(type=endings.SCHEDULED, detail={})) == SweepRuns()
