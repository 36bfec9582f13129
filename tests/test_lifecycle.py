"""What follows a job: records, follow-up events and webhooks, compared with CONTRACT sections 1 and 5."""

import json
from typing import Any

import boto3
import pytest

from orchestrator import (
    ConfigurationError,
    Handler,
    InvalidEvent,
    Registry,
    StaticTierDetails,
    UnknownTenant,
    create_handler,
)
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.lifecycle.webhook import status_webhook
from orchestrator.local import sandbox
from orchestrator.local.control_plane import ControlPlane
from tests.conftest import Requests, changed, invoke, json_lines, published, sample, stored, variables

TENANT_ID = sandbox.TENANT["tenantId"]
BUILD = "premium-tenant-provisioning:8f14e45f-ceea-467f-a0e6-1a2b3c4d5e6f"
STATE = {"bucket": "example-terraform-state", "path": "tenants/acme/terraform.tfstate"}


def told(kind: str, plane: ControlPlane, **detail: Any) -> dict[str, Any]:
    """Make the event of a build that knows a control plane."""
    event = sample(kind)
    return {**event, "detail": {**event["detail"], "API_ENDPOINT": plane.url, **detail}}


def webhook(status: int) -> dict[str, Any]:
    return {
        "initiatorId": TENANT_ID,
        "type": 0,
        "data": {
            "status": status,
            "resources": [{"type": "s3", "metadata": STATE}],
            "appPlaneUrl": "https://acme.example.com",
        },
    }


def actions(answer: dict[str, Any]) -> list[tuple[str, str]]:
    (consumer,) = answer["consumers"]
    return [(outcome["action"], outcome["status"]) for outcome in consumer["outcomes"]]


def follow_ups(aws: Requests) -> list[tuple[str, str, dict[str, Any]]]:
    return [(entry["DetailType"], entry["Source"], json.loads(entry["Detail"])) for entry in published(aws)]


# A provisioning that went well, or not.


def test_a_success_has_the_tenant_deployed_with_the_same_detail(handler: Handler, aws: Requests) -> None:
    event = sample("tenant-provisioning-success")

    answer = invoke(handler, event)

    assert actions(answer) == [("UpdateTenant", "updated"), ("PublishEvent", "published")]
    assert follow_ups(aws) == [("TENANT_DEPLOYMENT", "saas.tenant.provisioning.success.handler", event["detail"])]


def test_a_success_is_noted_in_the_record_which_stays_as_it_was(handler: Handler, aws: Requests) -> None:
    event = sample("tenant-provisioning-success")
    before = stored()

    invoke(handler, event)

    record = stored()
    assert record.pop("updatedAt") == record["statusAt"]
    assert record.pop("statusAt").startswith(event["time"][:19])
    assert record == {**before, "status": "PROVISIONED", "statusBuild": BUILD}


def test_a_success_of_a_build_that_did_not_succeed_is_refused(handler: Handler, aws: Requests) -> None:
    event = changed(sample("tenant-provisioning-success"), "detail.CODEBUILD_BUILD_SUCCEEDING", "0")

    with pytest.raises(InvalidEvent, match="CODEBUILD_BUILD_SUCCEEDING is 0; the build has to send"):
        invoke(handler, event)

    assert aws.operations == []


def test_a_failure_is_noted_and_told_to_the_control_plane(
    handler: Handler, aws: Requests, control_plane: ControlPlane
) -> None:
    handler = create_handler(handler.registry)

    answer = invoke(handler, told("tenant-provisioning-failure", control_plane))

    assert actions(answer) == [("UpdateTenant", "updated"), ("SendCallback", "sent")]
    assert control_plane.accepted == [webhook(0)]
    record = stored()
    assert (record["status"], record["statusBuild"]) == ("PROVISIONING_FAILED", BUILD)
    assert record["statusReason"] == f"build {BUILD} failed"


def test_a_failure_says_why_where_the_detail_does(aws: Requests, control_plane: ControlPlane) -> None:
    invoke(create_handler(lifecycle), told("tenant-provisioning-failure", control_plane, reason="no quota " * 200))

    assert stored()["statusReason"] == ("no quota " * 200)[:1000]


def test_a_failure_without_a_callback_address_is_noted_alone_and_the_log_says_so(
    handler: Handler, aws: Requests, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = invoke(handler, changed(sample("tenant-provisioning-failure"), "detail.API_ENDPOINT", ...))

    assert actions(answer) == [("UpdateTenant", "updated")]
    assert stored()["status"] == "PROVISIONING_FAILED"
    (line,) = [line for line in json_lines(capsys.readouterr().out) if line.get("level") == "WARNING"]
    assert line["message"] == (
        f"tenant '{TENANT_ID}': the control plane is not told, because the event has no API_ENDPOINT"
    )


def test_a_record_fills_in_what_signs_the_webhook(aws: Requests, control_plane: ControlPlane) -> None:
    event = told("tenant-provisioning-failure", control_plane)
    del event["detail"]["secret"], event["detail"]["context"]

    invoke(create_handler(lifecycle), event)

    assert control_plane.accepted == [webhook(0)]


def test_nothing_is_sent_where_nothing_can_sign_it(
    aws: Requests, control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    boto3.client("dynamodb").put_item(TableName="tenants", Item={"tenantId": {"S": TENANT_ID}})
    event = told("tenant-provisioning-failure", control_plane, secret="")

    assert actions(invoke(create_handler(lifecycle), event)) == [("UpdateTenant", "updated")]

    assert "the control plane is not told, because the event has no secret" in capsys.readouterr().out
    assert not control_plane.requests


def test_resources_and_address_are_left_out_where_they_are_not_known(
    aws: Requests, control_plane: ControlPlane
) -> None:
    event = told("tenant-provisioning-failure", control_plane)
    for name in ("TF_STATE_BUCKET", "TF_KEY", "APP_PLANE_REDIRECT_URL"):
        del event["detail"][name]

    invoke(create_handler(lifecycle), event)

    assert control_plane.accepted == [{"initiatorId": TENANT_ID, "type": 0, "data": {"status": 0, "resources": []}}]


def test_a_provisioning_that_never_started_is_noted_for_a_tenant_without_a_record(
    aws: Requests, control_plane: ControlPlane
) -> None:
    """From the event that cannot be handled to the webhook, through the report that the function publishes itself."""
    handler = create_handler(lifecycle)
    event = changed(sample("tenant-provisioning"), "detail.tenant.id", "new")
    event = changed(event, "detail.planConfig.tier", "GOLD")
    event = changed(event, "detail.builderConfig.config.environmentOverride.API_ENDPOINT", control_plane.url)
    with pytest.raises(ConfigurationError, match="tier 'GOLD' is not in table tiers"):
        invoke(handler, event)

    ((kind, source, detail),) = follow_ups(aws)
    invoke(handler, sample("tenant-provisioning-failure") | {"source": source, "detail": detail})

    assert kind == "TENANT_PROVISIONING_FAILURE"
    assert [body["initiatorId"] for body in control_plane.accepted] == ["new"]
    record = stored("new")
    assert record["status"] == "PROVISIONING_FAILED"
    assert record["statusReason"].startswith("tier 'GOLD' is not in table tiers")


# A deployment.


def test_a_tenant_of_a_tier_without_a_deployment_job_is_ready(aws: Requests, control_plane: ControlPlane) -> None:
    answer = invoke(create_handler(lifecycle), told("tenant-deployment", control_plane))

    assert actions(answer) == [("UpdateTenant", "updated"), ("SendCallback", "sent")]
    assert control_plane.accepted == [webhook(1)]
    assert stored()["status"] == "DEPLOYED"


def test_a_tier_with_a_deployment_job_has_it_started(handler: Handler, aws: Requests) -> None:
    event = changed(sample("tenant-deployment"), "detail.tier", "STANDARD")

    answer = invoke(handler, event)

    assert actions(answer) == [("UpdateTenant", "updated"), ("StartJob", "started")]
    (build,) = aws.of("StartBuild")
    assert build["projectName"] == "standard-tenant-deployment"
    sent = variables(build)
    plan = sandbox.TENANT["planConfig"]
    assert json.loads(sent.pop("planConfig")) == plan
    assert (sent["INSTANCE_COUNT"], sent["STORAGE_GB"]) == ("3", "250")  # as the provisioning job got them
    assert sent["tier"] == "STANDARD"
    passed_on = ("tenant", "secret", "context", "API_ENDPOINT", "TF_KEY", "CLIENT_SECRET", "REFRESH_TOKEN_EXPIRATION")
    assert {name: sent[name] for name in passed_on} == {name: event["detail"][name] for name in passed_on}
    assert not {"HOME", "LANG", "CODEBUILD_BUILD_ID"} & sent.keys()
    assert sent["ORCHESTRATOR_EVENT_TYPE"] == "TENANT_DEPLOYMENT"
    assert stored()["status"] == "DEPLOYING"


def test_the_record_names_the_tier_where_the_build_does_not(handler: Handler, aws: Requests) -> None:
    handler = create_handler(
        lifecycle, tiers=StaticTierDetails({"PREMIUM": {"deploymentJobName": "premium-tenant-provisioning"}})
    )

    invoke(handler, changed(sample("tenant-deployment"), "detail.tier", ...))

    assert [build["projectName"] for build in aws.of("StartBuild")] == ["premium-tenant-provisioning"]


def test_the_deployment_job_runs_where_the_provisioning_job_did(aws: Requests) -> None:
    record = {**sandbox.TENANT, "builderConfig": {"type": "ELSEWHERE"}}
    tiers = StaticTierDetails({"PREMIUM": {"deploymentJobName": "deploy"}})

    class Records:
        def get(self, tenant_id: str) -> dict[str, Any]:
            return record

    tenants: Any = Records()
    with pytest.raises(ConfigurationError, match="builder 'ELSEWHERE' of job 'deploy' is not known"):
        invoke(create_handler(lifecycle, tiers=tiers, tenants=tenants), sample("tenant-deployment"))


def test_a_deployment_of_no_known_tier_is_an_error(aws: Requests) -> None:
    event = changed(sample("tenant-deployment"), "detail.tier", ...)
    event["detail"]["tenant"] = '{"id": "unknown"}'

    with pytest.raises(InvalidEvent, match=r"detail\.tier is missing, and tenant 'unknown' has no record that names"):
        invoke(create_handler(lifecycle), event)


def test_a_plan_that_the_provisioning_job_did_not_get_is_no_variables_of_the_deployment_job(aws: Requests) -> None:
    plan = {"tier": "STANDARD", "sizeConfig": {"node-count": 3}}
    invoke(create_handler(lifecycle), changed(sample("tenant-provisioning"), "detail.planConfig", plan))

    invoke(create_handler(lifecycle), changed(sample("tenant-deployment"), "detail.tier", "STANDARD"))

    sent = variables(aws.of("StartBuild")[1])
    assert json.loads(sent["planConfig"]) == plan
    assert "node-count" not in sent


@pytest.mark.parametrize("kind", ["tenant-deployment", "tenant-deprovisioning"])
def test_a_tenant_that_is_not_known_gets_no_job_and_no_report(aws: Requests, kind: str) -> None:
    event = changed(sample(kind), "detail.tenant", {"id": "unknown"})
    event["detail"]["tier"] = "STANDARD"

    with pytest.raises(UnknownTenant, match="tenant 'unknown' has no record in table tenants"):
        invoke(create_handler(lifecycle), event)

    assert follow_ups(aws) == []
    assert not aws.of("StartBuild")


def test_a_failed_provisioning_that_is_sent_again_leaves_the_whole_record(aws: Requests) -> None:
    """As somebody does who has added the tier that was missing, with the event out of the failure queue."""
    event = changed(sample("tenant-provisioning"), "detail.planConfig.tier", "GOLD")
    event = changed(event, "detail.tenant.id", "new")
    with pytest.raises(ConfigurationError):
        invoke(create_handler(lifecycle), event)
    ((_, source, detail),) = follow_ups(aws)
    invoke(create_handler(lifecycle), sample("tenant-provisioning-failure") | {"source": source, "detail": detail})
    boto3.client("dynamodb").put_item(
        TableName="tiers", Item={"tier": {"S": "GOLD"}, "jobName": {"S": "premium-tenant-provisioning"}}
    )

    answer = invoke(create_handler(lifecycle), {**event, "time": "2026-11-24T01:00:00Z"})

    assert actions(answer) == [("SaveTenant", "saved"), ("StartJob", "started")]
    assert (stored("new")["planConfig"]["tier"], stored("new")["status"]) == ("GOLD", "PROVISIONING")


def test_a_deployment_whose_job_cannot_be_started_is_reported(aws: Requests) -> None:
    handler = create_handler(lifecycle, tiers=StaticTierDetails({"PREMIUM": {"deploymentJobName": "no-such-project"}}))

    with pytest.raises(Exception, match="no-such-project"):
        invoke(handler, sample("tenant-deployment"))

    assert [kind for kind, *_ in follow_ups(aws)] == ["TENANT_DEPLOYMENT_FAILURE"]


def test_a_webhook_that_cannot_be_sent_is_no_failed_deployment(aws: Requests) -> None:
    with pytest.raises(ConfigurationError, match="CALLBACK_ALLOWED_HOSTS is not set"):
        invoke(create_handler(lifecycle), sample("tenant-deployment"))

    assert follow_ups(aws) == []
    assert "status" not in stored()


@pytest.mark.parametrize(
    ("kind", "status", "bit"),
    [
        ("tenant-deployment-success", "DEPLOYED", 1),
        ("tenant-deployment-failure", "DEPLOYMENT_FAILED", 0),
        ("tenant-deprovisioning-success", "DEPROVISIONED", 1),
        ("tenant-deprovisioning-failure", "DEPROVISIONING_FAILED", 0),
    ],
)
def test_the_end_of_a_job_is_noted_and_told(
    aws: Requests, control_plane: ControlPlane, kind: str, status: str, bit: int
) -> None:
    answer = invoke(create_handler(lifecycle), told(kind, control_plane))

    assert actions(answer) == [("UpdateTenant", "updated"), ("SendCallback", "sent")]
    assert control_plane.accepted == [webhook(bit)]
    record = stored()
    assert record["status"] == status
    assert ("statusReason" in record) is (bit == 0)


# A deprovisioning.


def test_a_deprovisioning_starts_the_job_that_the_tier_has_for_it(handler: Handler, aws: Requests) -> None:
    event = sample("tenant-deprovisioning")

    answer = invoke(handler, event)

    assert actions(answer) == [("UpdateTenant", "updated"), ("StartJob", "started")]
    (build,) = aws.of("StartBuild")
    assert build["projectName"] == "premium-tenant-deprovisioning"
    assert json.loads(variables(build)["tenant"]) == event["detail"]["tenant"]
    assert stored()["status"] == "DEPROVISIONING"


@pytest.mark.parametrize(
    "detail",
    [
        {"tenant": {"id": TENANT_ID}},
        {"tenantId": TENANT_ID},
        {"type": "TENANT_DEPROVISIONING", "data": {"tenant": {"id": TENANT_ID}}},
        {"tenant": {"id": TENANT_ID}, "planConfig": None, "builderConfig": None},
    ],
)
def test_the_record_fills_in_what_the_event_leaves_out(handler: Handler, aws: Requests, detail: dict[str, Any]) -> None:
    invoke(handler, sample("tenant-deprovisioning", detail=detail))

    (build,) = aws.of("StartBuild")
    sent = variables(build)
    assert build["projectName"] == "premium-tenant-deprovisioning"
    assert json.loads(sent["tenant"]) == sandbox.TENANT["tenant"]
    assert (sent["secret"], sent["context"]) == (sandbox.CALLBACK_SECRET, sandbox.CALLBACK_CONTEXT)


def test_what_the_event_says_counts_more_than_the_record(handler: Handler, aws: Requests) -> None:
    detail = {
        "tenant": {"id": TENANT_ID, "name": "New Name"},
        "planConfig": {"tier": "STANDARD"},
        "builderConfig": {"config": {"environmentOverride": {"secret": "another"}}},
    }

    invoke(handler, sample("tenant-deprovisioning", detail=detail))

    (build,) = aws.of("StartBuild")
    sent = variables(build)
    assert build["projectName"] == "standard-tenant-deprovisioning"
    assert json.loads(sent["tenant"]) == {**sandbox.TENANT["tenant"], "name": "New Name"}
    assert (sent["secret"], sent["context"]) == ("another", sandbox.CALLBACK_CONTEXT)


def test_a_subscription_record_fills_in_its_secret(handler: Handler, aws: Requests) -> None:
    invoke(handler, sample("tenant-provisioning-subscription"))

    invoke(handler, sample("tenant-deprovisioning", detail={"tenant": {"id": TENANT_ID}}))

    build = aws.of("StartBuild")[-1]
    assert build["projectName"] == "basic-tenant-provisioning"  # its tier says that this job does both
    sent = variables(build)
    assert sent["secret"] == "example-callback-secret"
    assert sent["ORCHESTRATOR_EVENT_TYPE"] == "TENANT_DEPROVISIONING"


def test_a_tier_without_a_deprovisioning_job_is_named(aws: Requests) -> None:
    handler = create_handler(lifecycle, tiers=StaticTierDetails({"PREMIUM": {"jobName": "provision"}}))

    with pytest.raises(
        ConfigurationError,
        match=r"tier 'PREMIUM' does not name the job of TENANT_DEPROVISIONING; give its item an attribute "
        r"deprovisioningJobName \(text\), or jobDeprovisions \(true\) where its jobName does both",
    ):
        invoke(handler, sample("tenant-deprovisioning"))

    assert [kind for kind, *_ in follow_ups(aws)] == ["TENANT_DEPROVISIONING_FAILURE"]
    assert not aws.of("StartBuild")


def test_a_tenant_that_is_not_known_is_not_deprovisioned(handler: Handler, aws: Requests) -> None:
    with pytest.raises(InvalidEvent, match=r"tenant 'x' has no record, and detail\.planConfig is missing; correct"):
        invoke(handler, sample("tenant-deprovisioning", detail={"tenant": {"id": "x"}}))
    with pytest.raises(InvalidEvent, match="tenant 'x' has no record in table tenants"):
        invoke(handler, changed(sample("tenant-deprovisioning", id="another"), "detail.tenant.id", "x"))

    assert not aws.of("StartBuild")


def test_without_records_the_event_alone_says_what_to_do(aws: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_STORE_TABLE")

    answer = invoke(create_handler(lifecycle), sample("tenant-deprovisioning"))

    assert actions(answer) == [("UpdateTenant", "skipped"), ("StartJob", "started")]


def test_a_record_that_does_not_fit_is_named(handler: Handler, aws: Requests) -> None:
    boto3.client("dynamodb").put_item(
        TableName="tenants", Item={"tenantId": {"S": TENANT_ID}, "planConfig": {"M": {"tier": {"S": ""}}}}
    )

    with pytest.raises(InvalidEvent, match=r"with the tenant's record, detail\.planConfig\.tier is empty"):
        invoke(handler, sample("tenant-deprovisioning", detail={"tenant": {"id": TENANT_ID}}))


def test_a_control_plane_that_is_done_with_the_tenant_fails_no_deprovisioning(
    aws: Requests, control_plane: ControlPlane
) -> None:
    control_plane.settled.add(TENANT_ID)

    answer = invoke(create_handler(lifecycle), told("tenant-deprovisioning-success", control_plane))

    assert actions(answer) == [("UpdateTenant", "updated"), ("SendCallback", "refused")]
    assert answer["consumers"][0]["outcomes"][1]["reason"].startswith("it was answered 401: the tenant is not in")


# Bad input.

STEPS = ("provisioning", "deployment", "deprovisioning")
REPORTS = [f"tenant-{step}-{end}" for step in STEPS for end in ("success", "failure")]


@pytest.mark.parametrize("kind", [*REPORTS, "tenant-deployment"])
@pytest.mark.parametrize(
    ("name", "value", "told_of_it"),
    [
        ("tenant", "{do-not-tell", "detail.tenant is wrong: it must be an object, or a text that holds one as JSON"),
        ("tenant", '"do-not-tell"', "detail.tenant must be an object"),
        ("tenant", ..., "detail.tenant is missing"),
        ("CODEBUILD_BUILD_SUCCEEDING", "do-not-tell", 'detail.CODEBUILD_BUILD_SUCCEEDING is wrong: it must be "0" or'),
        ("API_ENDPOINT", 80, "detail.API_ENDPOINT must be a text"),
    ],
)
def test_a_detail_that_is_malformed_is_named_and_changes_nothing(
    handler: Handler,
    aws: Requests,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    name: str,
    value: object,
    told_of_it: str,
) -> None:
    with pytest.raises(InvalidEvent) as raised:
        invoke(handler, changed(sample(kind), f"detail.{name}", value))

    assert told_of_it in str(raised.value)
    assert "do-not-tell" not in str(raised.value) + capsys.readouterr().out
    assert aws.besides_reports == []


@pytest.mark.parametrize("kind", [kind for kind in REPORTS if kind != "tenant-provisioning-success"])
def test_a_callback_address_that_is_not_allowed_leaves_everything_as_it_is(
    aws: Requests, control_plane: ControlPlane, kind: str
) -> None:
    before = stored()

    with pytest.raises(ConfigurationError, match=r"'elsewhere\.example\.org' was not sent: the host is not among"):
        invoke(create_handler(lifecycle), told(kind, control_plane, API_ENDPOINT="https://elsewhere.example.org/x"))

    assert stored() == before
    assert not control_plane.requests


@pytest.mark.parametrize("kind", [*REPORTS, "tenant-deployment"])
def test_a_tenant_that_is_not_known_is_named_and_nothing_is_sent(
    aws: Requests, control_plane: ControlPlane, kind: str
) -> None:
    with pytest.raises(InvalidEvent, match="tenant 'unknown' has no record in table tenants"):
        invoke(create_handler(lifecycle), told(kind, control_plane, tenant='{"id": "unknown"}'))

    assert not control_plane.requests
    assert follow_ups(aws) == []
    assert stored("unknown") == {}


def test_a_secret_of_the_environment_is_never_logged(
    aws: Requests, control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = create_handler(lifecycle)
    for kind in REPORTS:
        event = told(kind, control_plane)
        secrets = [event["detail"][name] for name in ("secret", "context", "CLIENT_SECRET", "API_ENDPOINT")]
        invoke(handler, event)
        control_plane.settled.clear()

    logged = capsys.readouterr().out
    assert [secret for secret in [*secrets, "acme.example.com", "Müller"] if secret in logged] == []


@pytest.mark.parametrize("status", [2, -1, True, "1", None])
def test_the_webhook_has_no_other_status(status: Any) -> None:
    registry = Registry()
    registry.consumer("TENANT_DEPLOYMENT_SUCCESS", name="mine")(
        lambda event, context: status_webhook(event, status, context)
    )

    with pytest.raises(InvalidEvent, match="TENANT_DEPLOYMENT_SUCCESS' has no status 0 or 1; correct the consumer"):
        invoke(create_handler(registry), sample("tenant-deployment-success"))


# Order and repeats.


def test_a_report_that_is_delivered_twice_acts_once(aws: Requests, control_plane: ControlPlane) -> None:
    handler = create_handler(lifecycle)
    event = told("tenant-deployment-success", control_plane)

    first, second = actions(invoke(handler, event)), actions(invoke(handler, event))

    assert first == [("UpdateTenant", "updated"), ("SendCallback", "sent")]
    assert second == [("UpdateTenant", "already updated"), ("SendCallback", "already sent")]
    assert len(control_plane.requests) == 1


def test_an_older_event_does_not_take_a_status_back(handler: Handler, aws: Requests) -> None:
    invoke(handler, sample("tenant-deprovisioning"))

    answer = invoke(handler, sample("tenant-provisioning-success", time="2026-01-01T00:00:00Z"))

    assert answer["consumers"][0]["outcomes"][0] == {
        "action": "UpdateTenant",
        "status": "skipped",
        "name": TENANT_ID,
        "reason": "a later event has written the record",
    }
    assert stored()["status"] == "DEPROVISIONING"
