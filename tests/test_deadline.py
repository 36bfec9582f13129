"""An invocation stops by itself before Lambda would stop it."""

from typing import Any

import pytest

from orchestrator import Event, Registry, StartJob, Unavailable, create_handler, deadline
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.local.lambda_context import LocalContext
from tests.conftest import Requests, sample
from tests.test_dispatch import Recorder


def test_nothing_is_asked_of_aws_that_could_outlast_the_invocation(aws: Requests) -> None:
    from orchestrator.handler import lambda_handler

    with pytest.raises(Unavailable, match=r"up to 7\.0 s may be needed; .* raise the function's timeout"):
        lambda_handler(sample("tenant-provisioning"), LocalContext(timeout=7.5))
    assert "StartBuild" not in aws.operations


def test_nothing_is_asked_of_jenkins_that_could_outlast_the_invocation(jenkins: JenkinsServer, aws: Requests) -> None:
    registry = Registry()
    registry.consumer("X", name="x")(
        lambda event: StartJob(builder="JENKINS", name="tenants/enterprise-provisioning", variables={})
    )

    with pytest.raises(Unavailable, match=r"up to 12\.0 s may be needed"):
        create_handler(registry)(sample("tenant-provisioning") | {"detail-type": "X"}, LocalContext(timeout=12))
    assert jenkins.requests == []


def test_consumers_that_run_side_by_side_have_the_same_end(aws: Requests) -> None:
    registry = Registry()
    left: list[float] = []
    for name in ("a", "b"):
        registry.consumer("X", name=name)(lambda event: left.append(deadline.seconds_left()))

    create_handler(registry)(sample("tenant-provisioning") | {"detail-type": "X"}, LocalContext(timeout=30))

    assert [28 < seconds <= 29 for seconds in left] == [True, True]


@pytest.mark.parametrize("context", [None, object()])
def test_without_a_context_of_lambda_there_is_no_end(context: Any) -> None:
    registry, builder = Registry(), Recorder()

    @registry.consumer("X")
    def start(event: Event) -> StartJob:
        assert deadline.seconds_left() == float("inf")
        return StartJob(name="x")

    create_handler(registry, builders={"CODE_BUILD": builder})(
        sample("tenant-provisioning") | {"detail-type": "X"}, context
    )

    assert len(builder.jobs) == 1


def test_an_end_that_is_nearer_stays() -> None:
    with deadline.within(5), deadline.within(60):
        assert deadline.seconds_left() <= 5
    assert deadline.seconds_left() == float("inf")
