"""TENANT_PROVISIONING through the handler, checked by the requests that it sends."""

import json
import subprocess
import sys
from typing import Any

import boto3
import pytest

from orchestrator import Application, ConfigurationError, JobRejected, Registry, StaticTierDetails, create_handler
from orchestrator.aws.items import from_item
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.stores.tiers import job_name
from tests.support.aws import Requests, variables
from tests.support.events import changed, invoke, sample

TENANT_ID = "4b1f6c0e-3c1d-4a58-9a55-7d9f0e6a2c11"


def test_a_flat_event_starts_the_build_of_its_tier_with_its_variables(handler: Application, aws: Requests) -> None:
    event = sample("tenant-provisioning")

    invoke(handler, event)

    (build,) = aws.of("StartBuild")
    assert build["projectName"] == "premium-tenant-provisioning"
    sent = variables(build)
    tenant = json.loads(sent.pop("tenant"))
    assert tenant == {**event["detail"]["tenant"], "identityProvider": "auth0"}
    assert sent == {
        "tier": "PREMIUM",
        "jobName": "premium-tenant-provisioning",
        "deprovisioningJobName": "premium-tenant-deprovisioning",
        "AWS_REGION": "us-east-1",
        "instanceSize": "large",
        "tokenExpirationSeconds": "3600",
        "INSTANCE_COUNT": "3",
        "STORAGE_GB": "250",
        "HIGH_AVAILABILITY": "true",
        "secret": "example-callback-secret",
        "context": "example-callback-context",
        "ORCHESTRATOR_RUN_ID": build["idempotencyToken"],
        "ORCHESTRATOR_EVENT_ID": event["id"],
        "ORCHESTRATOR_EVENT_TYPE": "TENANT_PROVISIONING",
        "ORCHESTRATOR_TENANT_ID": TENANT_ID,
    }


def test_an_enveloped_event_starts_the_build_of_its_tier(handler: Application, aws: Requests) -> None:
    event = sample("tenant-provisioning-enveloped")

    invoke(handler, event)

    (build,) = aws.of("StartBuild")
    assert build["projectName"] == "standard-tenant-provisioning"
    sent = variables(build)
    assert json.loads(sent["tenant"])["id"] == TENANT_ID
    assert sent["secret"] == "example-callback-secret"
    assert sent["ORCHESTRATOR_TENANT_ID"] == TENANT_ID


def test_a_subscription_event_passes_size_tenant_secret_and_context(handler: Application, aws: Requests) -> None:
    event = sample("tenant-provisioning-subscription")

    invoke(handler, event)

    (build,) = aws.of("StartBuild")
    assert build["projectName"] == "basic-tenant-provisioning"
    sent = variables(build)
    assert json.loads(sent["tenant"]) == {**event["detail"]["tenant"], "identityProvider": "auth0"}
    names = {name for name in sent if not name.startswith("ORCHESTRATOR_")}
    tier = {"tier", "jobName", "jobDeprovisions", "AWS_REGION", "instanceSize"}
    assert names == tier | {"INSTANCE_COUNT", "STORAGE_GB", "tenant", "secret", "context"}
    assert (sent["INSTANCE_COUNT"], sent["STORAGE_GB"]) == ("1", "20")
    assert (sent["secret"], sent["context"]) == ("example-callback-secret", "example-callback-context")


def test_the_answer_names_the_build_and_links_to_it(handler: Application, aws: Requests) -> None:
    event = sample("tenant-provisioning")

    answer = invoke(handler, event)

    (consumer,) = answer.pop("consumers")
    assert answer == {"eventId": event["id"], "eventType": "TENANT_PROVISIONING"}
    saved, started = consumer["outcomes"]
    assert consumer["name"] == "start_provisioning_job"
    assert saved == {"action": "SaveTenant", "status": "saved", "name": TENANT_ID}
    build_id = started["id"]
    assert boto3.client("codebuild").batch_get_builds(ids=[build_id])["builds"][0]["id"] == build_id
    assert started == {
        "action": "StartJob",
        "status": "started",
        "builder": "CODE_BUILD",
        "name": "premium-tenant-provisioning",
        "id": build_id,
        "link": "https://eu-west-1.console.aws.amazon.com/codesuite/codebuild/123456789012/projects/"
        f"premium-tenant-provisioning/build/{build_id.replace(':', '%3A')}/?region=eu-west-1",
        "runId": aws.of("StartBuild")[0]["idempotencyToken"],
    }


def test_the_idempotency_token_is_as_long_as_codebuild_allows(handler: Application, aws: Requests) -> None:
    invoke(handler, sample("tenant-provisioning"))

    assert len(aws.of("StartBuild")[0]["idempotencyToken"]) == 32


@pytest.mark.usefixtures("side_by_side")
def test_another_event_carries_another_idempotency_token(handler: Application, aws: Requests) -> None:
    invoke(handler, sample("tenant-provisioning", id="one"))
    invoke(handler, sample("tenant-provisioning", id="two"))

    first, second = aws.of("StartBuild")
    assert first["idempotencyToken"] != second["idempotencyToken"]


def test_the_tenant_record_is_stored_before_the_build_starts(handler: Application, aws: Requests) -> None:
    event = sample("tenant-provisioning")

    invoke(handler, event)

    assert aws.operations == ["GetItem", "PutItem", "TransactWriteItems", "StartBuild", "UpdateItem"]
    put = aws.of("PutItem")[0]
    record = json.loads(json.dumps(from_item(put["Item"]), default=float))
    tenant = {**event["detail"]["tenant"], "identityProvider": "auth0"}
    assert put["TableName"] == "tenants"
    assert record.pop("startedAt") == record.pop("statusAt")
    assert record.pop("startedBy") == event["id"]
    assert record.pop("status") == "PROVISIONING"
    assert record == {"tenantId": TENANT_ID, **event["detail"], "tenant": tenant}


def test_the_record_of_a_subscription_event_has_its_plan_as_plan_config(handler: Application, aws: Requests) -> None:
    event = sample("tenant-provisioning-subscription")

    invoke(handler, event)

    stored = boto3.client("dynamodb").get_item(TableName="tenants", Key={"tenantId": {"S": TENANT_ID}})["Item"]
    assert from_item(stored)["planConfig"]["tier"] == event["detail"]["subscription"]["plan"]["tier"]


def test_a_warm_event_takes_four_calls(handler: Application, aws: Requests) -> None:
    invoke(handler, sample("tenant-provisioning", id="one"))
    aws.clear()

    invoke(handler, changed(sample("tenant-provisioning", id="two"), "detail.tenant.id", "t2"))

    assert aws.operations == ["PutItem", "TransactWriteItems", "StartBuild", "UpdateItem"]


@pytest.mark.usefixtures("side_by_side")
def test_without_serialization_the_claim_is_no_transaction(handler: Application, aws: Requests) -> None:
    invoke(handler, sample("tenant-provisioning"))

    assert aws.operations == ["GetItem", "PutItem", "UpdateItem", "StartBuild", "UpdateItem"]


def test_unknown_fields_are_kept_and_passed_on(handler: Application, aws: Requests) -> None:
    event = changed(sample("tenant-provisioning"), "detail.tenant.brand", {"colour": "grün"})
    event = changed(event, "detail.traits", ["a", None, 1.5])

    invoke(handler, event)

    (build,) = aws.of("StartBuild")
    assert '"brand":{"colour":"grün"}' in variables(build)["tenant"]
    record = from_item(aws.of("PutItem")[0]["Item"])
    assert record["traits"] == ["a", None, pytest.approx(1.5)]
    assert record["tenant"]["brand"] == {"colour": "grün"}


@pytest.mark.parametrize(
    ("feature", "provider"),
    [
        ({"key": "IdP", "defaultValue": "cognito", "value": {"value": "auth0"}}, "auth0"),
        ({"key": "IdP", "defaultValue": "cognito", "value": {"value": None}}, "cognito"),
        ({"key": "IdP", "defaultValue": "cognito", "value": {}}, "cognito"),
        ({"key": "IdP", "defaultValue": "cognito"}, "cognito"),
        ({"key": "IdP", "defaultValue": None}, "keycloak"),
        ({"key": "idp", "defaultValue": "cognito"}, "keycloak"),
    ],
)
def test_the_feature_IdP_decides_the_identity_provider(  # noqa: N802 - the feature is spelt so
    handler: Application, aws: Requests, feature: dict[str, Any], provider: str
) -> None:
    event = changed(sample("tenant-provisioning"), "detail.planConfig.features", [feature])

    invoke(handler, changed(event, "detail.tenant.identityProvider", "keycloak"))

    assert json.loads(variables(aws.of("StartBuild")[0])["tenant"])["identityProvider"] == provider


def test_the_event_overrides_the_tiers_variables(handler: Application, aws: Requests) -> None:
    event = sample("tenant-provisioning")

    invoke(handler, changed(event, "detail.builderConfig.config.environmentOverride.instanceSize", "huge"))

    assert variables(aws.of("StartBuild")[0])["instanceSize"] == "huge"


def test_an_event_without_override_still_passes_the_tenant(handler: Application, aws: Requests) -> None:
    invoke(handler, changed(sample("tenant-provisioning"), "detail.builderConfig", {"type": "CODE_BUILD"}))

    assert json.loads(variables(aws.of("StartBuild")[0])["tenant"])["key"] == "acme"


def test_without_tables_the_job_is_named_after_the_tier(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIER_DETAILS_TABLE", "")
    monkeypatch.delenv("DATA_STORE_TABLE")
    boto3.client("codebuild").create_project(
        name="PREMIUM-job",
        source={"type": "S3", "location": "bucket/key"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole="arn:aws:iam::123456789012:role/service-role/codebuild",
    )
    aws.clear()

    answer = invoke(create_handler(lifecycle), sample("tenant-provisioning"))

    assert aws.besides_reports == ["StartBuild"]
    sent = variables(aws.of("StartBuild")[0])
    assert (sent["tier"], sent["jobName"]) == ("PREMIUM", "PREMIUM-job")
    assert answer["consumers"][0]["outcomes"][0] == {
        "action": "SaveTenant",
        "status": "skipped",
        "name": TENANT_ID,
        "reason": "DATA_STORE_TABLE is not set",
    }


def test_tier_details_can_be_given_in_code(aws: Requests) -> None:
    tiers = StaticTierDetails({"PREMIUM": {"jobName": "basic-tenant-provisioning", "AWS_REGION": "eu-north-1"}})

    invoke(create_handler(lifecycle, tiers=tiers), sample("tenant-provisioning"))

    (build,) = aws.of("StartBuild")
    assert build["projectName"] == "basic-tenant-provisioning"
    assert variables(build)["AWS_REGION"] == "eu-north-1"


def test_regions_of_the_services_follow_their_settings(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODE_BUILD_REGION", "us-west-2")

    with pytest.raises(Exception, match="the project does not exist"):
        invoke(create_handler(lifecycle), sample("tenant-provisioning"))


def test_a_built_in_consumer_can_be_left_out(aws: Requests) -> None:
    registry = Registry()
    registry.include(lifecycle)
    registry.remove("start_provisioning_job")

    answer = invoke(create_handler(registry), sample("tenant-provisioning"))

    assert answer["consumers"] == []
    assert aws == []


def started_on_jenkins(server: JenkinsServer, handler: Application, event: dict[str, Any]) -> dict[str, Any]:
    answer = invoke(handler, event)
    outcome: dict[str, Any] = answer["consumers"][0]["outcomes"][1]
    assert (outcome["builder"], outcome["status"]) == ("JENKINS", "started")
    assert outcome["link"] == f"{server.url}/queue/item/{outcome['id']}/"
    return outcome


def test_the_event_chooses_the_build_system(jenkins: JenkinsServer, handler: Application, aws: Requests) -> None:
    event = changed(sample("tenant-provisioning"), "detail.builderConfig.type", "JENKINS")

    outcome = started_on_jenkins(jenkins, handler, event)

    assert outcome["name"] == "premium-tenant-provisioning"
    assert aws.of("StartBuild") == []
    sent = dict(jenkins.requests[0].form)
    assert sent["ORCHESTRATOR_TENANT_ID"] == TENANT_ID
    assert sent["tokenExpirationSeconds"] == "3600"
    assert jenkins.waiting()[0].values["ORCHESTRATOR_RUN_ID"] == sent["ORCHESTRATOR_RUN_ID"]


def test_the_tier_chooses_the_build_system_if_the_event_does_not(jenkins: JenkinsServer, handler: Application) -> None:
    event = changed(sample("tenant-provisioning-jenkins"), "detail.builderConfig.type", ...)

    assert started_on_jenkins(jenkins, handler, event)["name"] == "tenants/enterprise-provisioning"


def test_the_events_build_system_overrides_the_tiers(
    jenkins: JenkinsServer, handler: Application, aws: Requests
) -> None:
    event = changed(sample("tenant-provisioning-jenkins"), "detail.builderConfig.type", "CODE_BUILD")

    with pytest.raises(JobRejected, match="'tenants/enterprise-provisioning' is not a CodeBuild project name"):
        invoke(handler, event)
    assert jenkins.requests == []


def test_the_setting_chooses_the_build_system_if_neither_event_nor_tier_does(
    aws: Requests, jenkins: JenkinsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEFAULT_BUILDER", "JENKINS")
    event = changed(sample("tenant-provisioning"), "detail.builderConfig.type", ...)

    started_on_jenkins(jenkins, create_handler(lifecycle), event)


def test_a_tiers_builder_that_is_not_a_name_is_refused(aws: Requests) -> None:
    tiers = StaticTierDetails({"PREMIUM": {"jobName": "x", "builder": 7}})
    event = changed(sample("tenant-provisioning"), "detail.builderConfig", ...)

    with pytest.raises(ConfigurationError, match=r"'PREMIUM' does not name its build system; .* attribute builder"):
        invoke(create_handler(lifecycle, tiers=tiers), event)


def test_a_tier_may_have_another_job_for_each_event_type() -> None:
    tier = {"tier": "X", "jobName": "up", "deprovisioningJobName": "down", "deploymentJobName": "deploy"}

    types = ("TENANT_PROVISIONING", "TENANT_DEPROVISIONING", "TENANT_DEPLOYMENT")
    assert [job_name(tier, event_type) for event_type in types] == ["up", "down", "deploy"]
    with pytest.raises(ConfigurationError, match="tier 'X' does not name the job of TENANT_DEPROVISIONING"):
        job_name({"tier": "X", "jobName": "up"}, "TENANT_DEPROVISIONING")


@pytest.mark.parametrize("missing", ["JENKINS_URL", "JENKINS_CREDENTIALS_SECRET"])
def test_missing_settings_of_jenkins_are_named_before_anything_is_done(
    jenkins: JenkinsServer, aws: Requests, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.delenv(missing)

    with pytest.raises(ConfigurationError, match="set JENKINS_URL and JENKINS_CREDENTIALS_SECRET"):
        invoke(create_handler(lifecycle), sample("tenant-provisioning-jenkins"))
    assert aws.besides_reports == ["GetItem"]


def test_a_missing_secret_is_named(aws: Requests, jenkins: JenkinsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JENKINS_CREDENTIALS_SECRET", "missing")

    with pytest.raises(ConfigurationError, match="secret missing with the Jenkins credentials could not be read: AWS"):
        invoke(create_handler(lifecycle), sample("tenant-provisioning-jenkins"))


@pytest.mark.usefixtures("side_by_side")
def test_secrets_of_a_jenkins_job_are_never_logged(
    jenkins: JenkinsServer, handler: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(handler, sample("tenant-provisioning-jenkins"))
    jenkins.users["orchestrator"] = "another"
    with pytest.raises(ConfigurationError):
        invoke(handler, sample("tenant-provisioning-jenkins", id="another"))

    output = capsys.readouterr()
    for secret in ("example-callback-secret", "ana.souza", "an-api-token", "Basic "):
        assert secret not in output.out + output.err


def test_a_function_without_jenkins_jobs_does_not_load_the_code_for_them() -> None:
    check = (
        "import sys, orchestrator.handler; "
        "print([name for name in sys.modules if 'jenkins' in name or 'utilities.parameters' in name])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"


def test_the_settings_of_jenkins_are_used(
    jenkins: JenkinsServer, aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JENKINS_BUILD_LOOKUP", "true")
    invoke(create_handler(lifecycle), sample("tenant-provisioning-jenkins"))
    monkeypatch.setenv("JENKINS_CA_BUNDLE", "/not/there.pem")

    with pytest.raises(ConfigurationError, match=r"JENKINS_CA_BUNDLE '/not/there\.pem' cannot be used"):
        invoke(create_handler(lifecycle), sample("tenant-provisioning-jenkins", id="another"))
    assert [request.path for request in jenkins.requests if "/queue/item/" in request.path] != []


@pytest.mark.usefixtures("side_by_side")
def test_the_setting_limits_how_long_a_tier_is_cached(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIER_DETAILS_MAX_AGE", "0")
    handler = create_handler(lifecycle)

    for name in ("one", "two"):
        invoke(handler, sample("tenant-provisioning", id=name))

    assert len(aws.of("GetItem")) == 2


def test_a_subscription_event_whose_plan_config_is_null_counts_as_one_without(
    handler: Application, aws: Requests
) -> None:
    invoke(handler, changed(sample("tenant-provisioning-subscription"), "detail.planConfig", None))

    assert aws.of("StartBuild")[0]["projectName"] == "basic-tenant-provisioning"
