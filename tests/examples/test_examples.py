"""The examples in the pages are identical to these files and work as described."""

import importlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import boto3
import pytest

from orchestrator import Job, Run, StartJob, Unavailable
from orchestrator.cli.routes import as_mermaid
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.jenkins import JenkinsServer
from tests.support.aws import Requests, published, variables
from tests.support.events import changed, invoke, sample, state_change

EXAMPLES = sorted(file for file in Path(__file__).parent.glob("*.py") if file.stem not in ("__init__", "test_examples"))
ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
STARTER = ROOT / "orchestrator" / "cli" / "starter"
BUILDERS, CONSUMERS, DEPLOYING, LIFECYCLE, OPERATIONS, SBT = (
    ROOT / "orchestrator" / page
    for page in (
        "builders/README.md",
        "CONSUMERS.md",
        "DEPLOYING.md",
        "lifecycle/README.md",
        "OPERATIONS.md",
        "sbt/README.md",
    )
)
PAGES = {
    "app_plane": LIFECYCLE,
    "fleet_rings": OPERATIONS,
    "on_both": BUILDERS,
    "own_builder": BUILDERS,
    "own_consumers": DEPLOYING,
    "own_ending": CONSUMERS,
    "own_tests": CONSUMERS,
    "premium_on_jenkins": BUILDERS,
    "sbt_jobs": SBT,
}
"""The page that shows each example; README shows all others."""


def example(name: str) -> ModuleType:
    module = importlib.import_module(f"tests.examples.{name}")
    return importlib.reload(module)  # with the environment of this test


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_a_page_shows_each_example_verbatim(file: Path) -> None:
    assert f"```python\n{file.read_text()}```" in PAGES.get(file.stem, README).read_text()


def test_the_page_of_the_lifecycle_draws_the_flow_of_its_consumers() -> None:
    assert f"```mermaid\n{as_mermaid(lifecycle)}\n```" in LIFECYCLE.read_text()


def test_the_tests_of_the_example_pass() -> None:
    tests = example("own_tests")

    tests.test_the_tiers_job_is_started()
    tests.test_basic_tenants_go_to_codebuild()


@pytest.mark.parametrize(("tier", "builder"), [("PREMIUM", "JENKINS"), ("BASIC", "CODE_BUILD")])
def test_premium_tenants_go_to_jenkins_and_all_others_to_codebuild(
    jenkins: JenkinsServer, aws: Requests, tier: str, builder: str
) -> None:
    event = changed(sample("tenant-provisioning"), "detail.planConfig.tier", tier)

    answer = invoke(example("premium_on_jenkins").lambda_handler, event)

    (consumer,) = answer["consumers"]
    assert [outcome["status"] for outcome in consumer["outcomes"]] == ["saved", "started"]
    assert consumer["outcomes"][1]["builder"] == builder
    assert (len(jenkins.waiting()), len(aws.of("StartBuild"))) == ((1, 0) if builder == "JENKINS" else (0, 1))


def test_one_event_can_start_a_job_on_both(jenkins: JenkinsServer, aws: Requests) -> None:
    boto3.client("codebuild").create_project(
        name="tenant-infrastructure",
        source={"type": "S3", "location": "example-bucket/build.zip"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "any", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole="arn:aws:iam::123456789012:role/any",
    )
    jenkins.add_job("tenants/migrate-data", ["tenant", "tier", "ORCHESTRATOR_RUN_ID"])
    event = sample("tenant-provisioning") | {
        "detail-type": "TENANT_UPGRADED",
        "detail": {"tenant": {"id": "t1"}, "tier": "PREMIUM"},
    }

    answer = invoke(example("on_both").lambda_handler, event)

    assert [outcome["builder"] for outcome in answer["consumers"][0]["outcomes"]] == ["CODE_BUILD", "JENKINS"]
    (build,), (item,) = aws.of("StartBuild"), jenkins.waiting()
    assert variables(build)["tenant"] == item.values["tenant"] == '{"id":"t1"}'
    assert variables(build)["ORCHESTRATOR_RUN_ID"] != item.values["ORCHESTRATOR_RUN_ID"]


def test_a_ring_upgrades_two_tenants_at_a_time(aws: Requests) -> None:
    boto3.client("codebuild").create_project(
        name="upgrade-tenant",
        source={"type": "S3", "location": "sources/s.zip"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole="arn:aws:iam::123456789012:role/service-role/builds",
    )
    handler = example("fleet_rings").lambda_handler
    upgrades = [
        {
            **sample("tenant-provisioning"),
            "id": f"upgrade-{tenant}",
            "detail-type": "TENANT_UPGRADE",
            "detail": {"tenantId": tenant, "ring": "ring 0", "version": "2"},
        }
        for tenant in ("t1", "t2", "t3")
    ]

    for upgrade in upgrades[:2]:
        invoke(handler, upgrade)
    with pytest.raises(Unavailable, match="slot 'ring 0' is full"):
        invoke(handler, upgrades[2])

    assert [variables(build)["version"] for build in aws.of("StartBuild")] == ["2", "2"]


def test_a_custom_builder_starts_a_job_once_and_finds_it(aws: Requests) -> None:
    template = {
        "Parameters": {"TenantId": {"Type": "String"}},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": {"Ref": "TenantId"}}}},
    }
    place = {"Bucket": "my-templates", "Key": "move.json"}
    s3, formation = boto3.client("s3"), boto3.client("cloudformation")
    s3.create_bucket(Bucket=place["Bucket"], CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(**place, Body=json.dumps(template).encode())
    url = "https://my-templates.s3.amazonaws.com/move.json"
    module = example("own_builder")
    module.registry.consumer("TENANT_MOVED", name="move")(
        lambda event: StartJob(builder="CLOUD_FORMATION", name=url, variables={"TenantId": event.detail["id"]})
    )
    event = sample("tenant-provisioning") | {"detail-type": "TENANT_MOVED", "detail": {"id": "t1"}}

    first = invoke(module.lambda_handler, event)["consumers"][0]["outcomes"][0]
    second = invoke(module.lambda_handler, event)["consumers"][0]["outcomes"][0]

    (stack,) = formation.describe_stacks()["Stacks"]
    assert first["id"] == second["id"] == stack["StackId"]
    assert stack["StackName"] == f"run-{first['runId']}"
    assert stack["Parameters"] == [{"ParameterKey": "TenantId", "ParameterValue": "t1"}]
    job = Job(name=url, run_id=first["runId"], since=datetime.now(UTC), variables={"TenantId": "t1"})
    builder = module.CloudFormation()
    assert builder.find(job) == Run(id=stack["StackId"], already_started=True)
    assert builder.start(job).already_started
    assert builder.find(replace(job, run_id="other")) is None


def test_readme_shows_the_consumers_and_a_test_of_a_new_project() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.S | re.M)

    consumers, test = (block for block in blocks if "scale_down" in block)
    assert consumers == (STARTER / "consumers.py").read_text()
    assert test in (STARTER / "tests" / "test_consumers.py").read_text()


def test_readme_starts_a_project_with_commands_that_it_has() -> None:
    (command,) = re.findall(r"^orchestrator init .*$", README.read_text(), re.M)

    *_, targets = command.rpartition("make ")
    makefile = (STARTER / "Makefile").read_text()
    assert all(f"\n{target}: ##" in makefile for target in targets.split())


def test_the_jobs_of_the_page_about_sbt_take_and_give_back_what_they_name(
    codebuild: CodeBuildServer, aws: Requests
) -> None:
    handler = example("sbt_jobs").lambda_handler

    invoke(handler, sample("sbt-onboarding-request"))
    (build,) = codebuild.builds
    codebuild.finish(build, registrationStatus="ready", tenantS3Bucket="b-1")
    invoke(handler, state_change(build))

    assert "tenantRegistrationId" not in codebuild.variables(build)
    (entry,) = published(aws)
    output = json.loads(entry["Detail"])["jobOutput"]
    assert output["tenantRegistrationData"] == {"registrationStatus": "ready"}
    assert list(output["tenantData"]) == ["tenantS3Bucket", "prices", "tenantName", "email"]
