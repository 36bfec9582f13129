"""The steps that the simulation counts are the requests that the package sends."""

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from orchestrator import Registry, create_handler
from orchestrator.intake import redelivery
from orchestrator.lifecycle import registry as lifecycle
from tests.benchmarks.scale import costs
from tests.benchmarks.scale.costs import Step
from tests.benchmarks.scale.requests import names, purpose
from tests.intake.test_wake_up import HOUR, Builds, World, full
from tests.support.aws import Requests, published
from tests.support.events import invoke, sample

JOIN, WAKE_UP = costs.NOTE + costs.JOIN, costs.MAY_BE_REPEAT + costs.LOOK_UP
STARTED = costs.SAVE + costs.SETTLE


class Provisioning(World):
    """A function with the built-in consumers, which takes provisioning events from a queue."""

    def event(self, number: int) -> dict[str, Any]:
        event = json.loads(json.dumps(sample("tenant-provisioning")))
        time = (self.now - HOUR + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
        event["detail"]["tenant"]["id"] = f"tenant-{number}"
        return {**event, "id": f"event-{number}", "time": time}

    def send(self, number: int, tenant: str | None = None) -> None:
        self._sqs.send_message(QueueUrl=self._queue, MessageBody=json.dumps(self.event(number)))

    def steps(self) -> Step:
        """Return the requests to the tables since the last call, as `costs.UNITS` names them."""
        named = Counter(name for operation, body in self.requests for name in names(operation, body))
        self.requests.clear()
        return named


@pytest.fixture
def builds() -> Builds:
    return Builds()


@pytest.fixture
def world(aws: Requests, builds: Builds, monkeypatch: pytest.MonkeyPatch) -> Provisioning:
    sqs = boto3.client("sqs")
    queue, failures = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("waiting", "failures"))
    monkeypatch.setenv("WAITING_QUEUE_URL", queue)
    monkeypatch.setenv("FAILURE_QUEUE_URL", failures)
    monkeypatch.setenv("SQS_PARALLEL_RECORDS", "1")
    monkeypatch.setattr(random, "uniform", lambda least, most: most)
    monkeypatch.setattr(redelivery, "FIRST_WAIT_SECONDS", redelivery.LONGEST_SLEEP_SECONDS)
    registry = Registry()
    registry.include(lifecycle)
    return Provisioning(create_handler(registry, builders={"CODE_BUILD": builds}), queue, aws, monkeypatch)


@pytest.fixture
def _limited(aws: Requests) -> None:
    """Limit every tier to two jobs."""
    dynamodb = boto3.client("dynamodb")
    for item in dynamodb.scan(TableName="tiers")["Items"]:
        dynamodb.put_item(TableName="tiers", Item={**item, "maxConcurrent": {"N": "2"}})


def test_a_try_that_starts_its_job(world: Provisioning) -> None:
    world.send(0)
    world.deliver()

    assert world.steps() == costs.MAY_BE_REPEAT + STARTED + costs.CLAIM[False]


def test_a_direct_try_that_starts_its_job(world: Provisioning) -> None:
    invoke(world.handler, world.event(3600))  # an event of this moment

    assert world.steps() == STARTED + costs.CLAIM[False]


def test_a_direct_try_that_the_build_system_refuses(
    world: Provisioning, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "FIRST_WAIT_SECONDS", 75)
    builds.refusal = full()
    invoke(world.handler, world.event(3600))

    assert world.steps() == costs.SAVE + costs.CLAIM[False] + costs.RELEASE[False] + costs.NOTE


def test_a_try_that_the_build_system_refuses_a_look_and_a_wake_up(world: Provisioning, builds: Builds) -> None:
    builds.refusal = full()
    world.send(0)
    world.deliver()
    assert world.steps() == costs.MAY_BE_REPEAT + costs.SAVE + costs.CLAIM[False] + costs.RELEASE[False] + JOIN

    world.come_back()
    world.deliver()
    assert world.steps() == WAKE_UP + costs.SAVE + costs.LOOK_AT_GATE + JOIN

    world.advance(61 * timedelta(minutes=1))
    world.sweep()
    assert world.steps() == costs.SWEEP + Counter({"get gate": 1, "query waiting": 1}) + costs.TAKE

    builds.refusal = None
    world.deliver()
    assert world.steps() == WAKE_UP + STARTED + costs.CLAIM[False] + costs.NOTE + costs.FIND_NEXT


def test_a_message_that_comes_back_by_itself_and_starts_its_job(world: Provisioning, builds: Builds) -> None:
    builds.refusal = full()
    world.send(0)
    world.deliver()
    builds.refusal = None
    world.advance(2 * timedelta(minutes=1))
    world.come_back()
    world.steps()

    world.deliver()

    own = WAKE_UP + costs.LOOK_AT_GATE + costs.TAKE + STARTED + costs.CLAIM[False]
    assert world.steps() == own + costs.NOTE + costs.FIND_NEXT


@pytest.mark.usefixtures("_limited")
def test_a_try_whose_slot_is_full_and_a_look(world: Provisioning) -> None:
    world.send(0)
    world.deliver()
    assert world.steps() == costs.MAY_BE_REPEAT + STARTED + costs.CLAIM[True]
    world.send(1)
    world.send(2)
    world.deliver()
    started = costs.MAY_BE_REPEAT + STARTED + costs.CLAIM[True]
    runs = costs.READ_RUN + costs.READ_RUN
    assert world.steps() == started + costs.MAY_BE_REPEAT + costs.SAVE + costs.CLAIM[True] + runs + JOIN

    world.come_back()
    world.deliver()

    assert world.steps() == WAKE_UP + costs.SAVE + costs.LOOK_AT_GATE + runs + JOIN


@pytest.mark.usefixtures("_limited")
def test_a_job_with_a_slot_that_the_build_system_refuses(world: Provisioning, builds: Builds) -> None:
    builds.refusal = full()
    world.send(0)
    world.deliver()

    assert world.steps() == costs.MAY_BE_REPEAT + costs.SAVE + costs.CLAIM[True] + costs.RELEASE[True] + JOIN


@pytest.mark.parametrize("has_slot", [False, True])
def test_an_ending(world: Provisioning, builds: Builds, request: pytest.FixtureRequest, *, has_slot: bool) -> None:
    if has_slot:
        request.getfixturevalue("_limited")
    world.send(0)
    world.deliver()
    builds.ended.add(builds.jobs[0].run_id)
    world.steps()

    change = json.loads(json.dumps(sample("codebuild-build-state-change")))
    _name_run(change, builds)
    invoke(world.handler, change)
    (ending,) = published(world.requests)
    invoke(
        world.handler,
        {
            **sample("tenant-provisioning"),
            "id": "ending",
            "detail-type": ending["DetailType"],
            "source": ending["Source"],
            "time": datetime.fromtimestamp(ending["Time"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "resources": ending["Resources"],
            "detail": json.loads(ending["Detail"]),
        },
    )

    assert len(published(world.requests)) == costs.PUBLISHED_PER_ENDING
    run_id = builds.jobs[0].run_id
    others = [body for _, body in world.requests if body.get("TableName") == "idempotency" and "Key" in body]
    publications = [body for body in others if purpose(body["Key"]["id"]["S"]) == "record"]
    count = sum(body["Key"]["id"]["S"] != run_id for body in publications)
    named = world.steps() + Counter({"update publication": count}) - Counter({"update record": count})
    assert named == costs.ENDING[has_slot]


def _name_run(change: dict[str, Any], builds: Builds) -> None:
    """Let the state change of a build name the run of the first job."""
    job = builds.jobs[0]
    change["detail"] |= {"project-name": job.name, "build-id": f"arn:aws:codebuild:::build/{job.name}#1"}
    change["detail"]["additional-information"]["environment"]["environment-variables"] = [
        {"name": name, "value": value, "type": "PLAINTEXT"} for name, value in job.variables.items()
    ]


def test_every_request_of_a_step_has_its_units() -> None:
    steps = [value for value in vars(costs).values() if isinstance(value, Counter)]
    steps += [*costs.CLAIM.values(), *costs.RELEASE.values(), *costs.ENDING.values()]

    assert {name for step in steps for name in step} == set(costs.UNITS)
