from orchestrator import StartJob
from orchestrator.lifecycle.provisioning import start_provisioning_job
from orchestrator.testing import RecordingDispatcher, make_context, make_detail, make_event
from tests.examples.premium_on_jenkins import registry

CONTEXT = make_context(tiers={"PREMIUM": {"jobName": "provision"}, "BASIC": {"jobName": "provision"}})


def test_the_tiers_job_is_started() -> None:
    _, job = start_provisioning_job(make_event("TENANT_PROVISIONING"), CONTEXT)

    assert isinstance(job, StartJob)
    assert job.name == "provision"


def test_basic_tenants_go_to_codebuild() -> None:
    event = make_event("TENANT_PROVISIONING", make_detail("TENANT_PROVISIONING", planConfig={"tier": "BASIC"}))

    recorded = RecordingDispatcher(registry, CONTEXT).dispatch(event)

    assert [entry.consumer for entry in recorded] == ["provision_on_codebuild"] * 2
