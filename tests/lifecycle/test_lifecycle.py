"""Records, follow-up events and webhooks after a job, as the reference control plane expects them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from orchestrator import (
    Application,
    ConfigurationError,
    InvalidEvent,
    JobRejected,
    StaticTierDetails,
    UnknownTenant,
    create_handler,
)
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.control_plane import ControlPlane
from orchestrator.local.lambda_context import LocalContext
from tests.support.aws import Requests, published, stored, variables
from tests.support.events import as_event, changed, invoke, json_lines, sample

TENANT_ID = sandbox.TENANT["tenantId"]
BUILD = "premium-tenant-provisioning:8f14e45f-ceea-467f-a0e6-1a2b3c4d5e6f"
STATE = {"bucket": "example-terraform-state", "path": "tenants/acme/terraform.tfstate"}


def sample_for(sample_name: str, plane: ControlPlane, **detail: Any) -> dict[str, Any]:
    """Return a sample event with the address of this control plane in its detail."""
    event = sample(sample_name)
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


# The ending of a provisioning.


def test_a_success_publishes_a_deployment_with_the_same_detail(handler: Application, aws: Requests) -> None:
    event = sample("tenant-provisioning-success")

    answer = invoke(handler, event)

    assert actions(answer) == [("UpdateTenant", "updated"), ("PublishEvent", "published")]
    assert follow_ups(aws) == [("TENANT_DEPLOYMENT", "saas.tenant.provisioning.success.handler", event["detail"])]


def test_a_success_changes_only_the_status_in_the_record(handler: Application, aws: Requests) -> None:
    event = sample("tenant-provisioning-success")
    before = stored()

    invoke(handler, event)

    record = stored()
    assert record.pop("statusAt").startswith(event["time"][:19])
    assert record == {**before, "status": "PROVISIONED", "statusBuild": BUILD}


@pytest.mark.parametrize(
    ("sample_name", "status", "sent"),
    [
        ("tenant-provisioning-success", "PROVISIONING_FAILED", [0]),
        ("tenant-deployment", "PROVISIONING_FAILED", [0]),
        ("tenant-deployment-success", "DEPLOYMENT_FAILED", [0]),
        ("tenant-deprovisioning-success", "DEPROVISIONING_FAILED", []),
    ],
)
def test_an_event_with_a_failed_build_is_handled_as_a_failure_whatever_its_type(
    aws: Requests,
    control_plane: ControlPlane,
    capsys: pytest.CaptureFixture[str],
    sample_name: str,
    status: str,
    sent: list[int],
) -> None:
    event = sample_for(sample_name, control_plane, CODEBUILD_BUILD_SUCCEEDING="0", tier="STANDARD")

    invoke(create_handler(lifecycle), event)

    record = stored()
    assert record["status"] == status
    assert record["statusReason"] == f"build {record['statusBuild']} failed"
    assert [body["data"]["status"] for body in control_plane.accepted] == sent
    assert follow_ups(aws) == []
    assert not aws.of("StartBuild")
    assert "is handled as a failure: its CODEBUILD_BUILD_SUCCEEDING is 0" in capsys.readouterr().out


def test_a_failure_is_recorded_and_sent_to_the_control_plane(
    handler: Application, aws: Requests, control_plane: ControlPlane
) -> None:
    handler = create_handler(handler.registry)

    answer = invoke(handler, sample_for("tenant-provisioning-failure", control_plane))

    assert actions(answer) == [("UpdateTenant", "updated"), ("SendCallback", "sent")]
    assert control_plane.accepted == [webhook(0)]
    record = stored()
    assert (record["status"], record["statusBuild"]) == ("PROVISIONING_FAILED", BUILD)
    assert record["statusReason"] == f"build {BUILD} failed"


def test_the_reason_of_a_failure_is_recorded(aws: Requests, control_plane: ControlPlane) -> None:
    invoke(
        create_handler(lifecycle), sample_for("tenant-provisioning-failure", control_plane, reason="no quota " * 200)
    )

    assert stored()["statusReason"] == ("no quota " * 200)[:1000]


def test_a_failure_without_a_callback_address_is_only_recorded_and_logged(
    handler: Application, aws: Requests, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = invoke(handler, changed(sample("tenant-provisioning-failure"), "detail.API_ENDPOINT", ...))

    assert actions(answer) == [("UpdateTenant", "updated"), ("SendCallback", "skipped")]
    record = stored()
    assert record["status"] == "PROVISIONING_FAILED"
    assert record["statusWebhook"] == (
        "not sent, because it has no address (API_ENDPOINT in the event or the tier, CONTROL_PLANE_HOST in the tier, "
        "or CALLBACK_URL)"
    )
    (line,) = [line for line in json_lines(capsys.readouterr().out) if line.get("level") == "WARNING"]
    assert line["message"] == f"tenant '{TENANT_ID}': the callback was {record['statusWebhook']}"


def test_a_webhook_is_signed_with_the_records_secret_if_the_event_has_none(
    aws: Requests, control_plane: ControlPlane
) -> None:
    event = sample_for("tenant-provisioning-failure", control_plane)
    del event["detail"]["secret"], event["detail"]["context"]

    invoke(create_handler(lifecycle), event)

    assert control_plane.accepted == [webhook(0)]


def test_without_a_secret_no_webhook_is_sent(
    aws: Requests, control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    boto3.client("dynamodb").put_item(TableName="tenants", Item={"tenantId": {"S": TENANT_ID}})
    event = sample_for("tenant-provisioning-failure", control_plane, secret="")

    answer = invoke(create_handler(lifecycle), event)

    assert actions(answer) == [("UpdateTenant", "updated"), ("SendCallback", "skipped")]
    assert "was not sent, because it has no secret (in the event or the tenant record)" in capsys.readouterr().out
    assert not control_plane.requests


def test_unknown_resources_and_address_are_left_out(aws: Requests, control_plane: ControlPlane) -> None:
    event = sample_for("tenant-provisioning-failure", control_plane)
    for name in ("TF_STATE_BUCKET", "TF_KEY", "APP_PLANE_REDIRECT_URL"):
        del event["detail"][name]

    invoke(create_handler(lifecycle), event)

    assert control_plane.accepted == [{"initiatorId": TENANT_ID, "type": 0, "data": {"status": 0, "resources": []}}]


def test_a_provisioning_that_never_started_is_recorded_for_a_tenant_without_a_record(
    aws: Requests, control_plane: ControlPlane
) -> None:
    """The whole path: the failed event, the report that the function publishes, and the webhook."""
    handler = create_handler(lifecycle)
    event = changed(sample("tenant-provisioning"), "detail.tenant.id", "new")
    event = changed(event, "detail.planConfig.tier", "GOLD")
    event = changed(event, "detail.builderConfig.config.environmentOverride.API_ENDPOINT", control_plane.url)
    with pytest.raises(ConfigurationError, match="tier 'GOLD' is not in table tiers"):
        invoke(handler, event)

    (entry,) = published(aws)
    invoke(handler, as_event(entry))

    assert entry["DetailType"] == "TENANT_PROVISIONING_FAILURE"
    assert [body["initiatorId"] for body in control_plane.accepted] == ["new"]
    record = stored("new")
    assert record["status"] == "PROVISIONING_FAILED"
    assert record["statusReason"].startswith("tier 'GOLD' is not in table tiers")


# A deployment.


def test_without_a_deployment_job_the_tenant_is_deployed(aws: Requests, control_plane: ControlPlane) -> None:
    answer = invoke(create_handler(lifecycle), sample_for("tenant-deployment", control_plane))

    assert actions(answer) == [("UpdateTenant", "updated"), ("SendCallback", "sent")]
    assert control_plane.accepted == [webhook(1)]
    assert stored()["status"] == "DEPLOYED"


def test_the_deployment_job_of_the_tier_is_started(handler: Application, aws: Requests) -> None:
    event = changed(sample("tenant-deployment"), "detail.tier", "STANDARD")

    answer = invoke(handler, event)

    assert actions(answer) == [("UpdateTenant", "updated"), ("StartJob", "started")]
    (build,) = aws.of("StartBuild")
    assert build["projectName"] == "standard-tenant-deployment"
    sent = variables(build)
    plan = sandbox.TENANT["planConfig"]
    assert json.loads(sent.pop("planConfig")) == plan
    assert (sent["INSTANCE_COUNT"], sent["STORAGE_GB"]) == ("3", "250")  # the same values as in the provisioning job
    assert sent["tier"] == "STANDARD"
    passed_on = ("tenant", "secret", "context", "API_ENDPOINT", "TF_KEY", "CLIENT_SECRET", "REFRESH_TOKEN_EXPIRATION")
    assert {name: sent[name] for name in passed_on} == {name: event["detail"][name] for name in passed_on}
    assert not {"HOME", "LANG", "CODEBUILD_BUILD_ID"} & sent.keys()
    assert sent["ORCHESTRATOR_EVENT_TYPE"] == "TENANT_DEPLOYMENT"
    assert stored()["status"] == "DEPLOYING"


def test_the_tier_comes_from_the_record_if_the_build_has_none(handler: Application, aws: Requests) -> None:
    handler = create_handler(
        lifecycle, tiers=StaticTierDetails({"PREMIUM": {"deploymentJobName": "premium-tenant-provisioning"}})
    )

    invoke(handler, changed(sample("tenant-deployment"), "detail.tier", ...))

    assert [build["projectName"] for build in aws.of("StartBuild")] == ["premium-tenant-provisioning"]


def test_the_deployment_job_uses_the_builder_of_the_provisioning(aws: Requests) -> None:
    record = {**sandbox.TENANT, "builderConfig": {"type": "ELSEWHERE"}}
    tiers = StaticTierDetails({"PREMIUM": {"deploymentJobName": "deploy"}})

    class Records:
        def get(self, tenant_id: str) -> dict[str, Any]:
            return record

    tenants: Any = Records()
    with pytest.raises(ConfigurationError, match="builder 'ELSEWHERE' of job 'deploy' is not registered"):
        invoke(create_handler(lifecycle, tiers=tiers, tenants=tenants), sample("tenant-deployment"))


def test_a_deployment_without_a_tier_is_an_error(aws: Requests) -> None:
    event = changed(sample("tenant-deployment"), "detail.tier", ...)
    event["detail"]["tenant"] = '{"id": "unknown"}'

    with pytest.raises(InvalidEvent, match=r"detail\.tier is missing, and tenant 'unknown' has no record that names"):
        invoke(create_handler(lifecycle), event)


@pytest.mark.usefixtures("side_by_side")
def test_plan_fields_that_cannot_be_variables_are_not_passed_to_the_deployment_job(
    aws: Requests,
) -> None:
    plan = {"tier": "STANDARD", "sizeConfig": {"node-count": 3}}
    invoke(create_handler(lifecycle), changed(sample("tenant-provisioning"), "detail.planConfig", plan))

    invoke(create_handler(lifecycle), changed(sample("tenant-deployment"), "detail.tier", "STANDARD"))

    sent = variables(aws.of("StartBuild")[1])
    assert json.loads(sent["planConfig"]) == plan
    assert "node-count" not in sent


def test_an_unknown_tenant_gets_no_job_and_no_report(aws: Requests) -> None:
    event = changed(sample("tenant-deployment"), "detail.tenant", {"id": "unknown"})
    event["detail"]["tier"] = "STANDARD"

    with pytest.raises(UnknownTenant, match="tenant 'unknown' has no record in table tenants"):
        invoke(create_handler(lifecycle), event)

    assert follow_ups(aws) == []
    assert not aws.of("StartBuild")


def redriven(event: dict[str, Any]) -> dict[str, Any]:
    """Wrap an event in the record of Lambda's failure destination, as an operator sends it again."""
    return {"requestContext": {"requestId": "of-the-failure"}, "requestPayload": event}


def out_of_the_failure_queue(event: dict[str, Any]) -> dict[str, Any]:
    """Build a batch with the event's message, after its redrive to the buffer queue."""
    record = sample("sqs-batch")["Records"][0]
    error = {"ErrorCode": {"stringValue": "ConfigurationError", "dataType": "String"}}
    return {"Records": [{**record, "body": json.dumps(event), "messageAttributes": error}]}


def replayed(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "replay-name": "after-the-outage"}


@pytest.mark.parametrize("again", [redriven, replayed, out_of_the_failure_queue])
def test_a_failed_provisioning_that_is_sent_again_saves_the_whole_record(aws: Requests, again: Any) -> None:
    """An operator sends it again after adding the missing tier."""
    handler = create_handler(lifecycle)
    event = changed(sample("tenant-provisioning"), "detail.planConfig.tier", "GOLD")
    event = changed(event, "detail.tenant.id", "new")
    with pytest.raises(ConfigurationError):
        invoke(handler, event)
    invoke(handler, as_event(published(aws)[0]))
    add_tier("GOLD")

    invoke(create_handler(lifecycle), again(event))

    assert len(aws.of("StartBuild")) == 1
    record = stored("new")
    assert (record["status"], record["startedBy"]) == ("PROVISIONING", event["id"])
    assert record["planConfig"]["tier"] == "GOLD"


def test_an_automatic_retry_of_a_reported_failure_raises_the_same_error(aws: Requests) -> None:
    event = sample("tenant-provisioning", time=(datetime.now(UTC) - timedelta(minutes=1)).isoformat())
    event = changed(event, "detail.planConfig.tier", "GOLD")
    texts = []
    for _ in range(2):
        with pytest.raises(ConfigurationError) as raised:
            invoke(create_handler(lifecycle), event)
        texts.append(str(raised.value))
        add_tier("GOLD")

    assert texts[0] == texts[1]
    assert [name for name in aws.operations if name == "StartBuild"] == []
    assert len(published(aws)) == 1


def test_the_retry_of_a_failed_redrive_starts_nothing_but_the_next_redrive_does(
    aws: Requests,
) -> None:
    event = changed(sample("tenant-provisioning"), "detail.planConfig.tier", "GOLD")
    invocation = LocalContext()
    for payload in (event, redriven(event)):
        with pytest.raises(ConfigurationError):
            create_handler(lifecycle)(payload, invocation)
    for entry in published(aws):
        invoke(create_handler(lifecycle), as_event(entry))
    add_tier("GOLD")

    with pytest.raises(ConfigurationError):  # Lambda's retry of the invocation
        create_handler(lifecycle)(redriven(event), invocation)
    assert len(published(aws)) == 2
    assert "StartBuild" not in aws.operations

    invoke(create_handler(lifecycle), redriven(redriven(event)))
    assert "StartBuild" in aws.operations


@pytest.mark.parametrize("name", ["tenant-provisioning", "tenant-deprovisioning"])
def test_a_failed_start_for_a_deployed_tenant_is_recorded(
    aws: Requests, control_plane: ControlPlane, name: str
) -> None:
    """The record still belongs to an earlier start."""
    handler = create_handler(lifecycle)
    before = (datetime.now(UTC) - timedelta(seconds=20)).isoformat()
    invoke(handler, sample("tenant-provisioning", id="earlier", time=before))
    invoke(handler, sample_for("tenant-deployment", control_plane))
    assert stored()["status"] == "DEPLOYED"
    with pytest.raises(ConfigurationError):
        invoke(handler, changed(sample(name), "detail.planConfig", {"tier": "GOLD"}))

    answer = invoke(handler, as_event(published(aws)[-1]))

    assert actions(answer)[0] == ("UpdateTenant", "updated")
    assert stored()["status"] == f"{sample(name)['detail-type'].removeprefix('TENANT_')}_FAILED"


@pytest.mark.parametrize("comes", ["twice", "late"])
def test_a_repeated_or_late_failure_report_does_not_undo_a_successful_redrive(
    aws: Requests, control_plane: ControlPlane, comes: str
) -> None:
    handler = create_handler(lifecycle)
    event = changed(sample("tenant-provisioning"), "detail.planConfig.tier", "GOLD")
    event = changed(event, "detail.builderConfig.config.environmentOverride.API_ENDPOINT", control_plane.url)
    with pytest.raises(ConfigurationError):
        invoke(handler, event)
    failure = as_event(published(aws)[0])
    if comes == "twice":
        invoke(handler, failure)
        control_plane.settled.clear()  # the control plane has restarted the provisioning, too
    add_tier("GOLD")
    answer = invoke(create_handler(lifecycle), redriven(event))
    if comes == "twice":
        invoke(handler, failure)
    build = answer["consumers"][0]["outcomes"][1]["id"]
    environment = {**variables(aws.of("StartBuild")[0]), "CODEBUILD_BUILD_ID": build}
    report = changed(sample("tenant-provisioning-success"), "detail", environment)
    handler = create_handler(lifecycle)
    invoke(handler, report)
    invoke(handler, as_event(published(aws)[-1], event_id="deployment"))
    if comes == "late":
        late = invoke(handler, failure)
        assert actions(late) == [("UpdateTenant", "superseded")]

    assert stored()["status"] == "DEPLOYED"
    assert [body["data"]["status"] for body in control_plane.accepted] == ([0, 1] if comes == "twice" else [1])


def add_tier(tier: str) -> None:
    boto3.client("dynamodb").put_item(
        TableName="tiers", Item={"tier": {"S": tier}, "jobName": {"S": "premium-tenant-provisioning"}}
    )


def test_a_deployment_whose_job_cannot_be_started_is_reported(aws: Requests) -> None:
    handler = create_handler(lifecycle, tiers=StaticTierDetails({"PREMIUM": {"deploymentJobName": "no-such-project"}}))

    with pytest.raises(Exception, match="no-such-project"):
        invoke(handler, sample("tenant-deployment"))

    assert [event_type for event_type, *_ in follow_ups(aws)] == ["TENANT_DEPLOYMENT_FAILURE"]


def test_a_deployment_whose_webhook_cannot_be_sent_has_not_failed(aws: Requests) -> None:
    with pytest.raises(ConfigurationError, match="CALLBACK_ALLOWED_HOSTS is not set"):
        invoke(create_handler(lifecycle), sample("tenant-deployment"))

    assert follow_ups(aws) == []
    assert "status" not in stored()


@pytest.mark.parametrize(
    ("sample_name", "status", "bit"),
    [
        ("tenant-deployment-success", "DEPLOYED", 1),
        ("tenant-deployment-failure", "DEPLOYMENT_FAILED", 0),
    ],
)
def test_the_ending_of_a_deployment_is_recorded_and_sent(
    aws: Requests, control_plane: ControlPlane, sample_name: str, status: str, bit: int
) -> None:
    answer = invoke(create_handler(lifecycle), sample_for(sample_name, control_plane))

    assert actions(answer) == [("UpdateTenant", "updated"), ("SendCallback", "sent")]
    assert control_plane.accepted == [webhook(bit)]
    record = stored()
    assert record["status"] == status
    assert ("statusReason" in record) is (bit == 0)


# A deprovisioning.


def test_a_deprovisioning_starts_the_tiers_deprovisioning_job(handler: Application, aws: Requests) -> None:
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
def test_missing_fields_of_the_event_come_from_the_record(
    handler: Application, aws: Requests, detail: dict[str, Any]
) -> None:
    invoke(handler, sample("tenant-deprovisioning", detail=detail))

    (build,) = aws.of("StartBuild")
    sent = variables(build)
    assert build["projectName"] == "premium-tenant-deprovisioning"
    assert json.loads(sent["tenant"]) == sandbox.TENANT["tenant"]
    assert (sent["secret"], sent["context"]) == (sandbox.CALLBACK_SECRET, sandbox.CALLBACK_CONTEXT)


def test_the_event_overrides_the_record(handler: Application, aws: Requests) -> None:
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


@pytest.mark.usefixtures("side_by_side")
def test_the_secret_comes_from_the_record_of_a_subscription(handler: Application, aws: Requests) -> None:
    invoke(handler, sample("tenant-provisioning-subscription"))

    invoke(handler, sample("tenant-deprovisioning", detail={"tenant": {"id": TENANT_ID}}))

    build = aws.of("StartBuild")[-1]
    assert build["projectName"] == "basic-tenant-provisioning"  # jobDeprovisions is set for its tier
    sent = variables(build)
    assert sent["secret"] == "example-callback-secret"
    assert sent["ORCHESTRATOR_EVENT_TYPE"] == "TENANT_DEPROVISIONING"


def test_a_tier_without_a_deprovisioning_job_is_named(aws: Requests) -> None:
    handler = create_handler(lifecycle, tiers=StaticTierDetails({"PREMIUM": {"jobName": "provision"}}))

    with pytest.raises(
        ConfigurationError,
        match=r"tier 'PREMIUM' does not name the job of TENANT_DEPROVISIONING; give its item an attribute "
        r"deprovisioningJobName \(text\), or set jobDeprovisions to true if the job in jobName does both",
    ):
        invoke(handler, sample("tenant-deprovisioning"))

    assert [event_type for event_type, *_ in follow_ups(aws)] == ["TENANT_DEPROVISIONING_FAILURE"]
    assert not aws.of("StartBuild")


def test_an_unknown_tenant_without_a_plan_is_not_deprovisioned(handler: Application, aws: Requests) -> None:
    with pytest.raises(InvalidEvent, match=r"tenant 'x' has no record, and detail\.planConfig is missing; correct"):
        invoke(handler, sample("tenant-deprovisioning", detail={"tenant": {"id": "x"}}))
    assert not aws.of("StartBuild")


def test_a_tenant_without_a_record_is_deprovisioned_from_the_event(handler: Application, aws: Requests) -> None:
    answer = invoke(handler, changed(sample("tenant-deprovisioning"), "detail.tenant.id", "x"))

    assert actions(answer) == [("SaveTenant", "saved"), ("StartJob", "started")]
    assert stored("x")["status"] == "DEPROVISIONING"


@pytest.mark.parametrize("is_known", [True, False])
def test_a_deprovisioning_in_the_form_of_the_control_planes_library_is_accepted(
    handler: Application, aws: Requests, is_known: bool
) -> None:
    tenant_id = TENANT_ID if is_known else "x"
    detail = {
        "type": "TENANT_DEPROVISIONING",
        "tenant": json.dumps({"id": tenant_id, "name": "Acme"}),
        "subscription": {"plan": {"tier": "STANDARD", "sizeConfig": {"INSTANCE_COUNT": 2}}},
        "secret": "its-own",
        "context": "its-own-context",
    }

    answer = invoke(handler, sample("tenant-deprovisioning", detail=detail))

    assert actions(answer) == [
        ("UpdateTenant", "updated") if is_known else ("SaveTenant", "saved"),
        ("StartJob", "started"),
    ]
    (build,) = aws.of("StartBuild")
    assert build["projectName"] == "standard-tenant-deprovisioning"
    sent = variables(build)
    assert json.loads(sent["tenant"])["name"] == "Acme"
    assert (sent["secret"], sent["context"]) == ("its-own", "its-own-context")


def test_without_a_table_of_records_a_deprovisioning_uses_only_the_event(
    aws: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATA_STORE_TABLE")

    answer = invoke(create_handler(lifecycle), sample("tenant-deprovisioning"))

    assert actions(answer) == [("SaveTenant", "skipped"), ("StartJob", "started")]


def test_an_invalid_record_is_named(handler: Application, aws: Requests) -> None:
    boto3.client("dynamodb").put_item(
        TableName="tenants", Item={"tenantId": {"S": TENANT_ID}, "planConfig": {"M": {"tier": {"S": ""}}}}
    )

    with pytest.raises(InvalidEvent, match=r"with the tenant record, detail\.planConfig\.tier is empty"):
        invoke(handler, sample("tenant-deprovisioning", detail={"tenant": {"id": TENANT_ID}}))


def test_an_older_provisioning_does_not_replace_a_deprovisioning_without_a_record(
    handler: Application, aws: Requests
) -> None:
    invoke(handler, changed(sample("tenant-deprovisioning"), "detail.tenant.id", "x"))

    older = sample("tenant-provisioning", time="2026-01-01T00:00:00Z")
    answer = invoke(handler, changed(older, "detail.tenant.id", "x"))

    assert actions(answer) == [("SaveTenant", "superseded")]
    assert stored("x")["status"] == "DEPROVISIONING"


@pytest.mark.parametrize("tenant_id", [TENANT_ID, "x"])
def test_the_secret_of_a_deprovisioning_signs_its_webhook(
    aws: Requests, monkeypatch: pytest.MonkeyPatch, tenant_id: str
) -> None:
    monkeypatch.setenv("DEPROVISIONING_WEBHOOK_TYPE", "1")
    monkeypatch.setenv("CALLBACK_ALLOWED_HOSTS", "127.0.0.1")
    with ControlPlane("its-own", "its-own-context") as plane:
        handler = create_handler(lifecycle)
        detail = {"tenant": {"id": tenant_id}, "planConfig": {"tier": "STANDARD"}}
        signing = {"secret": "its-own", "context": "its-own-context"}
        invoke(handler, sample("tenant-deprovisioning", detail={**detail, **signing}))
        ended = sample_for("tenant-deprovisioning-success", plane, tenant=json.dumps({"id": tenant_id}))
        del ended["detail"]["secret"], ended["detail"]["context"]

        invoke(handler, ended)

        assert len(plane.accepted) == 1
    assert "its-own" not in json.dumps(stored(tenant_id))


@pytest.mark.parametrize("webhook_type", ["", "1"])
def test_a_deprovisioning_without_a_record_that_fails_before_its_job_is_recorded(
    aws: Requests, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, webhook_type: str
) -> None:
    monkeypatch.setenv("DEPROVISIONING_WEBHOOK_TYPE", webhook_type)
    monkeypatch.setenv("CALLBACK_URL", control_plane.url.partition("?")[0])
    handler = create_handler(lifecycle)
    event = changed(sample("tenant-deprovisioning"), "detail.tenant.id", "x")
    with pytest.raises(ConfigurationError):
        invoke(handler, changed(event, "detail.planConfig.tier", "GOLD"))
    (entry,) = published(aws)

    invoke(handler, as_event(entry))

    assert stored("x")["status"] == "DEPROVISIONING_FAILED"
    assert len(control_plane.accepted) == (1 if webhook_type else 0)


def test_an_empty_secret_does_not_hide_the_one_in_the_override(aws: Requests, control_plane: ControlPlane) -> None:
    handler = create_handler(lifecycle)
    event = changed(changed(sample("tenant-provisioning"), "detail.secret", None), "detail.context", "")
    invoke(handler, event)
    failed = sample_for("tenant-provisioning-failure", control_plane)
    del failed["detail"]["secret"], failed["detail"]["context"]

    invoke(handler, failed)

    assert len(control_plane.accepted) == 1


@pytest.mark.parametrize("sample_name", ["tenant-deprovisioning-success", "tenant-deprovisioning-failure"])
def test_the_ending_of_a_deprovisioning_is_never_sent_as_a_provisioning(
    aws: Requests, control_plane: ControlPlane, sample_name: str
) -> None:
    answer = invoke(create_handler(lifecycle), sample_for(sample_name, control_plane))

    assert "SendCallback" not in [action for action, _ in actions(answer)]
    assert control_plane.requests == []


@pytest.mark.parametrize(
    ("sample_name", "bit"), [("tenant-deprovisioning-success", 1), ("tenant-deprovisioning-failure", 0)]
)
def test_the_ending_of_a_deprovisioning_is_sent_with_the_configured_type(
    aws: Requests, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, sample_name: str, bit: int
) -> None:
    monkeypatch.setenv("DEPROVISIONING_WEBHOOK_TYPE", "1")

    invoke(create_handler(lifecycle), sample_for(sample_name, control_plane))

    assert control_plane.requests[0].body.decode() == (
        f'{{"initiatorId":"{TENANT_ID}","type":1,"data":{{"status":{bit},"resources":[],"appPlaneUrl":"",'
        '"tier":"PREMIUM"}}'
    )
    assert len(control_plane.accepted) == 1


@pytest.mark.parametrize("value", ["0", "-1", "one"])
def test_an_invalid_webhook_type_for_deprovisionings_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DEPROVISIONING_WEBHOOK_TYPE", value)

    with pytest.raises(ConfigurationError, match="DEPROVISIONING_WEBHOOK_TYPE"):
        create_handler(lifecycle)


@pytest.mark.parametrize("name", ["tenant-provisioning", "tenant-provisioning-subscription"])
@pytest.mark.parametrize("webhook_type", ["", "1"])
def test_secret_and_context_leave_the_record_after_the_last_webhook(
    aws: Requests, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, name: str, webhook_type: str
) -> None:
    monkeypatch.setenv("DEPROVISIONING_WEBHOOK_TYPE", webhook_type)
    handler = create_handler(lifecycle)
    invoke(handler, sample(name))
    event = sample_for("tenant-deprovisioning-success", control_plane, secret="", context="")

    answer = invoke(handler, event)

    expected = ["UpdateTenant", *(["SendCallback"] if webhook_type else []), "UpdateTenant"]
    assert [action for action, _ in actions(answer)] == expected
    assert len(control_plane.accepted) == len(expected) - 2
    assert sandbox.CALLBACK_SECRET not in json.dumps(stored())
    assert sandbox.CALLBACK_CONTEXT not in json.dumps(stored())
    assert stored()["planConfig"]


@pytest.mark.parametrize("sample_name", ["tenant-provisioning-failure", "tenant-deprovisioning-failure"])
def test_the_webhook_secrets_stay_while_a_webhook_may_follow(
    aws: Requests, control_plane: ControlPlane, sample_name: str
) -> None:
    invoke(create_handler(lifecycle), sample_for(sample_name, control_plane))

    assert sandbox.CALLBACK_SECRET in json.dumps(stored())


# Where the webhook goes.


def with_tier(**attributes: str) -> Application:
    return create_handler(lifecycle, tiers=StaticTierDetails({"PREMIUM": {"jobName": "any", **attributes}}))


def without_address(sample_name: str = "tenant-provisioning-failure") -> dict[str, Any]:
    return changed(sample(sample_name), "detail.API_ENDPOINT", ...)


def server(plane: ControlPlane) -> str:
    return plane.url.partition("/webhook")[0]


@pytest.fixture
def unlisted(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> ControlPlane:
    """A control plane whose host is not in CALLBACK_ALLOWED_HOSTS."""
    monkeypatch.delenv("CALLBACK_ALLOWED_HOSTS")
    return control_plane


def test_the_webhook_comes_from_the_tier_if_the_event_has_none(aws: Requests, unlisted: ControlPlane) -> None:
    invoke(with_tier(API_ENDPOINT=f"{server(unlisted)}/of-the-tier", CONTROL_PLANE_HOST="https://x"), without_address())

    assert [request.path for request in unlisted.requests] == ["/of-the-tier"]
    assert len(unlisted.accepted) == 1


def test_a_tier_may_name_the_host_of_the_control_plane(aws: Requests, unlisted: ControlPlane) -> None:
    invoke(with_tier(CONTROL_PLANE_HOST=server(unlisted)), without_address())

    assert [request.path for request in unlisted.requests] == ["/tenant-mgmt-facade/webhook"]
    assert len(unlisted.accepted) == 1


def test_the_tiers_control_plane_host_is_allowed_without_a_setting(aws: Requests, unlisted: ControlPlane) -> None:
    invoke(with_tier(CONTROL_PLANE_HOST=server(unlisted)), sample_for("tenant-provisioning-failure", unlisted))

    assert [request.path for request in unlisted.requests] == ["/webhook"]


def test_the_webhook_comes_from_the_setting_if_nothing_else_names_one(
    aws: Requests, unlisted: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBACK_URL", f"{server(unlisted)}/of-the-setting")

    invoke(create_handler(lifecycle), without_address())

    assert [request.path for request in unlisted.requests] == ["/of-the-setting"]


def test_an_address_in_an_event_does_not_allow_its_host(aws: Requests, unlisted: ControlPlane) -> None:
    with pytest.raises(ConfigurationError, match="CALLBACK_ALLOWED_HOSTS is not set"):
        invoke(
            with_tier(CONTROL_PLANE_HOST="https://control.example.com"),
            sample_for("tenant-provisioning-failure", unlisted),
        )

    assert unlisted.requests == []


@pytest.mark.parametrize("tier", ["GOLD", "PREMIUM"])
def test_a_provisioning_that_fails_before_its_job_is_sent_as_a_failure(
    aws: Requests, unlisted: ControlPlane, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    """The tier or its project does not exist; only the function's own event has the secret."""
    monkeypatch.setenv("CALLBACK_URL", f"{server(unlisted)}/webhook")
    handler = with_tier(jobName="no-such-project")
    event = changed(sample("tenant-provisioning-subscription"), "detail.tenant.id", "new")
    event = changed(event, "detail.subscription.plan.tier", tier)
    with pytest.raises((ConfigurationError, JobRejected)):
        invoke(handler, event)
    (entry,) = published(aws)

    answer = invoke(handler, as_event(entry))

    assert ("SendCallback", "sent") in actions(answer)
    assert [(body["initiatorId"], body["data"]["status"]) for body in unlisted.accepted] == [("new", 0)]


@pytest.mark.parametrize(
    ("tier", "path", "value"),
    [
        ({"allowedVariables": "INSTANCE_COUNT"}, "detail.subscription.plan.sizeConfig.OTHER", "x"),
        ({"jobName": ""}, "detail.appConfig", {}),
        ({}, "detail.tenant.contacts", "none"),
    ],
    ids=["variable", "no job", "malformed tenant"],
)
def test_a_failure_of_the_consumer_is_sent_to_the_tiers_control_plane(
    aws: Requests, unlisted: ControlPlane, tier: dict[str, str], path: str, value: Any
) -> None:
    handler = with_tier(CONTROL_PLANE_HOST=server(unlisted), **tier)
    event = changed(sample("tenant-provisioning-subscription"), "detail.tenant.id", "new")
    event = changed(changed(event, "detail.subscription.plan.tier", "PREMIUM"), path, value)
    with pytest.raises((ConfigurationError, InvalidEvent)):
        invoke(handler, event)
    (entry,) = published(aws)

    invoke(handler, as_event(entry))

    assert [(body["initiatorId"], body["data"]["status"]) for body in unlisted.accepted] == [("new", 0)]


def test_an_invalid_address_in_a_tier_is_ignored_in_favour_of_the_setting(
    aws: Requests, unlisted: ControlPlane, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CALLBACK_URL", f"{server(unlisted)}/of-the-setting")

    invoke(with_tier(CONTROL_PLANE_HOST="control.example.com"), without_address())

    assert [request.path for request in unlisted.requests] == ["/of-the-setting"]
    assert "CONTROL_PLANE_HOST of tier 'PREMIUM' is not an http(s) address and is ignored" in capsys.readouterr().out


@pytest.mark.parametrize(
    "url", ["http://control.example.com/webhook", "control.example.com", "https://a@b.example.com"]
)
def test_an_invalid_callback_url_is_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CALLBACK_URL", url)

    with pytest.raises(ConfigurationError, match="environment variable CALLBACK_URL is wrong"):
        create_handler(lifecycle)


def test_a_lost_answer_is_not_recorded_as_a_refusal(aws: Requests, control_plane: ControlPlane) -> None:
    control_plane.next.drop(after_acting=True)

    answer = invoke(create_handler(lifecycle), sample_for("tenant-deployment", control_plane))

    assert actions(answer) == [("UpdateTenant", "updated"), ("SendCallback", "already sent")]
    assert "statusWebhook" not in stored()


def test_an_unknown_tier_without_a_webhook_address_is_recorded_and_logged(
    aws: Requests, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = create_handler(lifecycle)
    event = changed(sample("tenant-provisioning-subscription"), "detail.tenant.id", "new")
    with pytest.raises(ConfigurationError):
        invoke(handler, changed(event, "detail.subscription.plan.tier", "GOLD"))
    (entry,) = published(aws)

    invoke(handler, as_event(entry))

    assert stored("new")["statusWebhook"].startswith("not sent, because it has no address")
    assert "tenant 'new': the callback was not sent" in capsys.readouterr().out


@pytest.mark.parametrize(
    "sample_name", ["tenant-provisioning-failure", "tenant-deployment", "tenant-deployment-failure"]
)
def test_a_refusal_for_a_settled_tenant_is_no_error(
    aws: Requests, control_plane: ControlPlane, sample_name: str
) -> None:
    control_plane.settled.add(TENANT_ID)

    answer = invoke(create_handler(lifecycle), sample_for(sample_name, control_plane))

    assert actions(answer) == [("UpdateTenant", "updated"), ("SendCallback", "refused")]
    reason = answer["consumers"][0]["outcomes"][1]["reason"]
    assert reason == "the answer was 401: the tenant is not being provisioned, or the signature is wrong"
    assert stored()["statusWebhook"] == f"refused: {reason}"


def test_the_next_status_removes_the_last_webhooks_result(aws: Requests, control_plane: ControlPlane) -> None:
    control_plane.settled.add(TENANT_ID)
    handler = create_handler(lifecycle)
    invoke(handler, sample_for("tenant-deployment", control_plane))
    control_plane.settled.clear()
    assert stored()["statusWebhook"].startswith("refused")

    invoke(handler, sample_for("tenant-deployment-failure", control_plane))

    assert stored()["status"] == "DEPLOYMENT_FAILED"
    assert "statusWebhook" not in stored()


# Bad input.

STEPS = ("provisioning", "deployment", "deprovisioning")
REPORTS = [f"tenant-{step}-{end}" for step in STEPS for end in ("success", "failure")]


@pytest.mark.parametrize("sample_name", [*REPORTS, "tenant-deployment"])
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("tenant", "{do-not-tell", "detail.tenant is wrong: it must be an object, or a text with a JSON object"),
        ("tenant", '"do-not-tell"', "detail.tenant must be an object"),
        ("tenant", ..., "detail.tenant is missing"),
        ("CODEBUILD_BUILD_SUCCEEDING", "do-not-tell", 'detail.CODEBUILD_BUILD_SUCCEEDING is wrong: it must be "0" or'),
        ("API_ENDPOINT", 80, "detail.API_ENDPOINT must be a text"),
    ],
)
def test_a_malformed_detail_is_named_and_changes_nothing(
    handler: Application,
    aws: Requests,
    capsys: pytest.CaptureFixture[str],
    sample_name: str,
    name: str,
    value: object,
    reason: str,
) -> None:
    with pytest.raises(InvalidEvent) as raised:
        invoke(handler, changed(sample(sample_name), f"detail.{name}", value))

    assert reason in str(raised.value)
    assert "do-not-tell" not in str(raised.value) + capsys.readouterr().out
    assert aws.besides_reports == []


@pytest.mark.parametrize(
    "sample_name", [sample_name for sample_name in REPORTS if "provisioning-success" not in sample_name]
)
def test_a_callback_address_that_is_not_allowed_changes_nothing(
    aws: Requests, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, sample_name: str
) -> None:
    monkeypatch.setenv("DEPROVISIONING_WEBHOOK_TYPE", "1")
    before = stored()

    with pytest.raises(ConfigurationError, match=r"'elsewhere\.example\.org' was not sent: the host is not in"):
        invoke(
            create_handler(lifecycle),
            sample_for(sample_name, control_plane, API_ENDPOINT="https://elsewhere.example.org/x"),
        )

    assert stored() == before
    assert not control_plane.requests


@pytest.mark.parametrize("sample_name", [*REPORTS, "tenant-deployment"])
def test_an_unknown_tenant_is_named_and_nothing_is_sent(
    aws: Requests, control_plane: ControlPlane, sample_name: str
) -> None:
    with pytest.raises(InvalidEvent, match="tenant 'unknown' has no record in table tenants"):
        invoke(create_handler(lifecycle), sample_for(sample_name, control_plane, tenant='{"id": "unknown"}'))

    assert not control_plane.requests
    assert follow_ups(aws) == []
    assert stored("unknown") == {}


def test_a_secret_of_the_environment_is_never_logged(
    aws: Requests, control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = create_handler(lifecycle)
    for sample_name in REPORTS:
        event = sample_for(sample_name, control_plane)
        secrets = [event["detail"][name] for name in ("secret", "context", "CLIENT_SECRET", "API_ENDPOINT")]
        invoke(handler, event)
        control_plane.settled.clear()

    logged = capsys.readouterr().out
    assert [secret for secret in [*secrets, "acme.example.com", "Müller"] if secret in logged] == []


# Order and repeats.


def test_a_report_that_is_delivered_twice_acts_once(aws: Requests, control_plane: ControlPlane) -> None:
    handler = create_handler(lifecycle)
    event = sample_for("tenant-deployment-success", control_plane)

    first, second = actions(invoke(handler, event)), actions(invoke(handler, event))

    assert first == [("UpdateTenant", "updated"), ("SendCallback", "sent")]
    assert second == [("UpdateTenant", "updated"), ("SendCallback", "already sent")]
    assert len(control_plane.requests) == 1


def test_an_older_report_is_superseded(handler: Application, aws: Requests, capsys: pytest.CaptureFixture[str]) -> None:
    invoke(handler, sample("tenant-deprovisioning"))

    answer = invoke(handler, sample("tenant-provisioning-success", time="2026-01-01T00:00:00Z"))

    assert answer["consumers"][0]["outcomes"] == [
        {
            "action": "UpdateTenant",
            "status": "superseded",
            "name": TENANT_ID,
            "reason": "a later event began another operation for the tenant",
        }
    ]
    assert stored()["status"] == "DEPROVISIONING"
    assert published(aws) == []
    assert '"EventSuperseded":[1.0]' in capsys.readouterr().out
