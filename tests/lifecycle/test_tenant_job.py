"""A tier can limit the variables that events may set for its jobs."""

from collections.abc import Mapping
from typing import Any

import boto3
import pytest

from orchestrator import (
    Application,
    ConfigurationError,
    Event,
    InvalidEvent,
    Registry,
    StartJob,
    StaticTierDetails,
    Unavailable,
    create_handler,
)
from orchestrator.lifecycle import registry as lifecycle
from tests.support.aws import Requests, variables
from tests.support.events import changed, invoke, sample

OVERRIDE = "detail.builderConfig.config.environmentOverride"


def handler_with(allowed: Any, **attributes: Any) -> Application:
    """Create a handler whose tiers limit the variables."""
    details = {"allowedVariables": allowed, **attributes}
    tiers = {
        "PREMIUM": {
            "jobName": "premium-tenant-provisioning",
            "deprovisioningJobName": "premium-tenant-deprovisioning",
            "deploymentJobName": "premium-tenant-provisioning",
            **details,
        },
        "BASIC": {"jobName": "basic-tenant-provisioning", **details},
    }
    return create_handler(lifecycle, tiers=StaticTierDetails(tiers))


def provisioning(override: Mapping[str, Any]) -> dict[str, Any]:
    return changed(sample("tenant-provisioning"), OVERRIDE, dict(override))


@pytest.mark.parametrize(
    "allowed",
    [
        ["APP_*", "GIT_DEPTH", "SIZE"],
        ("APP_*", "GIT_DEPTH", "SIZE"),
        {"APP_*", "GIT_DEPTH", "SIZE"},
        " APP_* , GIT_DEPTH,SIZE,",
    ],
)
def test_a_tier_allows_only_the_listed_names_and_prefixes(aws: Requests, allowed: Any) -> None:
    handler = handler_with(allowed)

    invoke(handler, provisioning({"APP_COLOUR": "red", "GIT_DEPTH": 1, "SIZE": 7}))

    sent = variables(aws.of("StartBuild")[0])
    assert (sent["APP_COLOUR"], sent["GIT_DEPTH"], sent["SIZE"]) == ("red", "1", "7")
    assert "allowedVariables" not in sent
    for name in ("INSTANCE_COUNT", "GIT_SSH_COMMAND", "git_depth", "APP", "SIZES", "APP_x y"):
        aws.clear()
        with pytest.raises(InvalidEvent, match=f"'{name}' is not among the allowedVariables of tier 'PREMIUM'"):
            invoke(handler, {**provisioning({name: "do-not-tell"}), "id": name.replace(" ", "-")})
        assert "StartBuild" not in aws.operations
        assert aws.besides_reports == []


def test_an_allowed_variable_overrides_the_tiers_own(aws: Requests) -> None:
    invoke(handler_with(["AWS_REGION"], AWS_REGION="eu-west-1"), provisioning({"AWS_REGION": "eu-west-3"}))

    assert variables(aws.of("StartBuild")[0])["AWS_REGION"] == "eu-west-3"


@pytest.mark.parametrize("name", ["ORCHESTRATOR_RUN_ID", "Orchestrator_Anything"])
def test_no_tier_can_allow_the_variables_of_this_package(aws: Requests, name: str) -> None:
    with pytest.raises(InvalidEvent, match=f"'{name}' can change how a build runs"):
        invoke(handler_with(["ORCHESTRATOR_*", name]), provisioning({name: "x"}))
    assert aws.besides_reports == []


@pytest.mark.parametrize("allowed", [[], "", [" "]])
def test_a_tier_may_allow_no_variable(aws: Requests, allowed: Any) -> None:
    with pytest.raises(InvalidEvent, match="'SIZE' is not among"):
        invoke(handler_with(allowed), provisioning({"SIZE": 1}))


@pytest.mark.parametrize("allowed", [[], ["INSTANCE_COUNT", "STORAGE_GB", "HIGH_AVAILABILITY"]])
def test_variables_of_the_built_in_consumers_are_not_limited(aws: Requests, allowed: list[str]) -> None:
    """The samples repeat tenant, secret and context in the override."""
    event = sample("tenant-provisioning")
    override = event["detail"]["builderConfig"]["config"]["environmentOverride"]
    kept = {name: value for name, value in override.items() if name in (*allowed, "tenant", "secret", "context")}

    invoke(handler_with(allowed, instanceSize="large"), provisioning(kept))

    sent = variables(aws.of("StartBuild")[0])
    assert {"tenant", "secret", "context", "tier", "jobName", "instanceSize", "ORCHESTRATOR_RUN_ID"} <= sent.keys()


def test_the_sizes_of_a_subscription_are_limited(aws: Requests) -> None:
    event = sample("tenant-provisioning-subscription")

    with pytest.raises(InvalidEvent, match="'INSTANCE_COUNT' is not among the allowedVariables of tier 'BASIC'"):
        invoke(handler_with(["STORAGE_GB"]), event)
    invoke(handler_with(["STORAGE_GB", "INSTANCE_COUNT"]), {**event, "id": "another"})

    sent = variables(aws.of("StartBuild")[0])
    assert (sent["STORAGE_GB"], sent["secret"]) == ("20", "example-callback-secret")


@pytest.mark.parametrize("job", ["tenant-deployment-job", "tenant-deprovisioning"])
@pytest.mark.usefixtures("side_by_side")
def test_the_other_jobs_are_limited_as_well(aws: Requests, job: str) -> None:
    event = changed(sample(job), "detail.tier", "PREMIUM") if "deployment" in job else sample(job)
    invoke(handler_with(None), provisioning({"SIZE": 1, "secret": "s", "context": "c"}))
    aws.clear()

    with pytest.raises(InvalidEvent, match="'SIZE' is not among the allowedVariables of tier 'PREMIUM'"):
        invoke(handler_with(["GIT_DEPTH"]), event)
    assert "StartBuild" not in aws.operations
    assert "UpdateItem" not in aws.besides_reports

    invoke(handler_with(["SIZE"]), {**event, "id": "another"})
    sent = variables(aws.of("StartBuild")[0])
    assert sent["SIZE"] == "1"
    assert "allowedVariables" not in sent


@pytest.mark.usefixtures("side_by_side")
def test_a_limited_deployment_gets_the_plan_and_the_variables_of_the_previous_build(aws: Requests) -> None:
    invoke(handler_with(["SIZE"]), provisioning({"SIZE": 1}))
    aws.clear()

    invoke(handler_with(["SIZE"]), changed(sample("tenant-deployment-job"), "detail.tier", "PREMIUM"))

    sent = variables(aws.of("StartBuild")[0])
    assert {"planConfig", "tenant", "secret", "API_ENDPOINT", "TF_STATE_BUCKET", "CLIENT_SECRET", "SIZE"} <= sent.keys()


@pytest.mark.parametrize("allowed", [7, {"a": 1}, True, [1], ["a b"], ["1st"], ["*"], ["A*B"], ["-"], {b"A"}, "A B"])
def test_malformed_allowed_variables_are_named(aws: Requests, allowed: Any) -> None:
    with pytest.raises(ConfigurationError, match="tier 'PREMIUM' has a malformed attribute allowedVariables; make"):
        invoke(handler_with(allowed), provisioning({}))
    assert aws.besides_reports == []


def test_allowed_variables_are_read_from_the_table(handler: Application, aws: Requests) -> None:
    boto3.client("dynamodb").update_item(
        TableName="tiers",
        Key={"tier": {"S": "PREMIUM"}},
        UpdateExpression="SET allowedVariables = :allowed",
        ExpressionAttributeValues={":allowed": {"SS": ["SIZE", "APP_*"]}},
    )

    with pytest.raises(InvalidEvent, match="'INSTANCE_COUNT' is not among"):
        invoke(handler, sample("tenant-provisioning"))
    invoke(handler, provisioning({"SIZE": 1}) | {"id": "another"})

    assert "allowedVariables" not in variables(aws.of("StartBuild")[0])


def test_an_invalid_value_of_an_allowed_variable_is_an_invalid_event(aws: Requests) -> None:
    with pytest.raises(InvalidEvent, match="job variable 'GIT_DEPTH' has a value that cannot be passed"):
        invoke(handler_with(["GIT_*"]), provisioning({"GIT_DEPTH": "a\0b"}))


def test_a_consumer_may_pass_on_a_whole_tier(aws: Requests) -> None:
    registry = Registry()
    tier = {"jobName": "premium-tenant-provisioning", "allowedVariables": ["SIZE"], "size": 1}

    @registry.consumer("TENANT_PROVISIONING")
    def start(event: Event) -> StartJob:
        return StartJob(name="premium-tenant-provisioning", trusted_variables=tier, variables={"OTHER": 2})

    invoke(create_handler(registry), sample("tenant-provisioning"))

    sent = variables(aws.of("StartBuild")[0])
    assert {name for name in sent if not name.startswith("ORCHESTRATOR_")} == {"jobName", "size", "OTHER"}


def test_the_jobs_of_a_tier_wait_for_its_slot(aws: Requests) -> None:
    handler = handler_with(None, maxConcurrent=1)
    invoke(handler, sample("tenant-provisioning"))
    other = changed(changed(sample("tenant-provisioning"), "detail.tenant.id", "another"), "id", "another")

    with pytest.raises(Unavailable, match="slot 'tier PREMIUM' is full"):
        invoke(handler, other)
    assert "maxConcurrent" not in variables(aws.of("StartBuild")[0])
