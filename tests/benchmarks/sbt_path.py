"""Compares requests and prices of one provisioning with `ScriptJob` of AWS SaaS Builder Toolkit (sbt-aws).

    python -m tests.benchmarks.sbt_path [--json FILE]

Both take the same `onboardingRequest` from the bus, run one build, and put `provisionSuccess` on the bus. Our requests
are counted: the handler with `orchestrator.sbt` runs against an emulated AWS. `ScriptJob` has no code to run, so its
part is read from its definition (https://github.com/awslabs/sbt-aws/blob/main/src/core-app-plane/script-job.ts): a rule
starts an execution of a standard workflow with two states. `startCodeBuild` (`codebuild:startBuild.sync`) starts a
build and waits until it has ended; `notifySuccessEventBridgeTask` (`events:putEvents`) publishes the event.

Nothing is measured here, so each run prints the same. The control plane's event, the build and X-Ray cost the same in
both and are not counted.
"""

import argparse
import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from moto import mock_aws

from orchestrator import Registry, create_handler
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.local import sandbox
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.lambda_context import LocalContext
from orchestrator.sbt import registry as sbt
from tests.benchmarks import instant_aws
from tests.benchmarks.scale import costs
from tests.benchmarks.scale.assumptions import Burst
from tests.benchmarks.scale.requests import names
from tests.support.aws import Requests, published, recorded
from tests.support.events import as_event, sample, state_change

_REQUEST = "sbt-onboarding-request"
_PROJECT = sandbox.TIERS["BASIC"]["jobName"]


@dataclass(frozen=True)
class Way:
    """What one provisioning takes.

    Attributes:
        steps: The requests of each step, in order. A step is an invocation, or an execution.
        invocations: Invocations of a Lambda function.
        transitions: State transitions of a standard workflow.
        reads: Read units of DynamoDB.
        writes: Write units of DynamoDB.
        events: Events that are published on the bus.
        log_gb: What is written to CloudWatch Logs.
    """

    steps: Mapping[str, Sequence[str]]
    invocations: int = 0
    transitions: int = 0
    reads: float = 0.0
    writes: float = 0.0
    events: int = 1
    log_gb: float = 0.0

    @property
    def requests(self) -> int:
        return sum(map(len, self.steps.values()))

    @property
    def dollars(self) -> float:
        """US list prices, without the build."""
        function = costs.INVOCATION + Burst().invocation_seconds * costs.MEMORY_GB * costs.GB_SECOND
        tables = self.reads * costs.READ + self.writes * costs.WRITE
        states = self.transitions * costs.STATE_TRANSITION
        return self.invocations * function + tables + states + self.events * costs.EVENT + self.log_gb * costs.LOG_GB


# `ScriptJob` logs all of an execution's history (`LogLevel.ALL`): its start and end, six entries of the state that
# waits, and five of the other one. An entry without the state's data has some 0.5 KB.
_LOG_GB_AN_ENTRY, _LOG_ENTRIES = 0.5e-6, 13

SCRIPT_JOB = Way(
    # BatchGetBuilds is in the role that such a state needs, and the build's exported variables are in its result.
    # https://docs.aws.amazon.com/step-functions/latest/dg/connect-codebuild.html
    steps={"execution": ["StartExecution", "StartBuild", "BatchGetBuilds", "PutEvents"]},
    transitions=3,  # the start and two states, as a child of the distributed map in `scale` is counted
    log_gb=_LOG_ENTRIES * _LOG_GB_AN_ENTRY,
)


class Walk:
    """Our function and an emulated AWS, in which the tier has been read before.

    Attributes:
        builds: The builds that have been started, in the form that CodeBuild returns.
    """

    def __init__(self, codebuild: CodeBuildServer, sent: Requests) -> None:
        registry = Registry()
        registry.include(lifecycle)
        registry.include(sbt)
        self._handler = create_handler(registry)
        self._codebuild = codebuild
        self._sent = sent
        self.builds = codebuild.builds
        self.take(_request("another-tenant"))

    def take(self, event: dict[str, Any]) -> Requests:
        """Handle an event, and return the requests that this took."""
        before = len(self._sent)
        self._handler(event, LocalContext())
        return Requests(self._sent[before:])

    def provision(self, tenant: str) -> dict[str, Requests]:
        """Provision a tenant, and return the requests of each step."""
        start = self.take(_request(tenant))
        build = self.builds[-1]
        self._codebuild.finish(build)
        ending = self.take(state_change(build))
        (answer,) = published(ending)
        return {"start": start, "ending, with the event": ending, "tenant's record": self.take(as_event(answer))}


@contextlib.contextmanager
def walk() -> Iterator[Walk]:
    """Emulate AWS for a function with the consumers of SBT's requests."""
    now = datetime.now(UTC).timestamp()
    with CodeBuildServer([_PROJECT], now=now) as codebuild, mock_aws(), recorded() as sent:
        addresses = {"AWS_ENDPOINT_URL_CODEBUILD": codebuild.url}
        settings = {name: value for name, value in instant_aws.environment("").items() if name != "AWS_ENDPOINT_URL"}
        with patch.dict(os.environ, {**settings, **addresses}):
            os.environ.pop("AWS_ENDPOINT_URL", None)
            sandbox.fill()
            yield Walk(codebuild, sent)


def counted(tenant: str = "tenant") -> Way:
    """Provision one tenant, and count what it takes."""
    with walk() as walked:
        steps = walked.provision(tenant)
        runs = {run_id(build) for build in walked.builds}
    units = [costs.units(_named(sent, runs)) for sent in steps.values()]
    return Way(
        steps={name: sent.operations for name, sent in steps.items()},
        invocations=len(steps),
        reads=sum(one.reads for one in units),
        writes=sum(one.writes for one in units),
        events=sum(len(published(sent)) for sent in steps.values()),
        log_gb=len(steps) * costs.LOG_GB_A_DELIVERY,
    )


def run_id(build: Mapping[str, Any]) -> str:
    """Return the run id of a build."""
    variables = {one["name"]: one["value"] for one in build["environment"]["environmentVariables"]}
    return str(variables["ORCHESTRATOR_RUN_ID"])


def _named(sent: Requests, runs: set[str]) -> costs.Step:
    """Name the requests to the tables; a record that is no run's is that of an event that was published."""
    step: costs.Step = Counter()
    for operation, body in sent:
        is_runs = body.get("Key", {}).get("id", {}).get("S") in runs
        step.update(
            "update publication" if name == "update record" and not is_runs else name for name in names(operation, body)
        )
    return step


def _request(tenant: str) -> dict[str, Any]:
    event = sample(_REQUEST, id=f"request of {tenant}")
    return {**event, "detail": {**event["detail"], "tenantId": tenant, "tenantRegistrationId": f"{tenant}-1"}}


def table(ours: Way, theirs: Way) -> list[str]:
    """Return README's table."""

    def steps(way: Way) -> str:
        return "; ".join(f"{name}: {len(operations)}" for name, operations in way.steps.items())

    rows = [
        ("one provisioning", "`orchestrator.sbt`", "`ScriptJob`"),
        ("---", "---", "---"),
        ("invocations of a function", ours.invocations, theirs.invocations),
        ("state transitions", ours.transitions, theirs.transitions),
        ("requests", f"{ours.requests} ({steps(ours)})", f"{theirs.requests} ({', '.join(theirs.steps['execution'])})"),
        ("units of DynamoDB: read, written", f"{ours.reads:g}, {ours.writes:g}", "0, 0"),
        ("events on the bus", ours.events, theirs.events),
        ("$ per 1,000", f"{ours.dollars * 1000:.3f}", f"{theirs.dollars * 1000:.3f}"),
    ]
    return [f"| {' | '.join(map(str, row))} |" for row in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, print README's table, and write JSON with `--json`."""
    parser = argparse.ArgumentParser(description="Compare requests and prices with sbt-aws.")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        ours = counted()
    print("\n".join(table(ours, SCRIPT_JOB)))
    if options.json:
        ways = {"ours": ours, "ScriptJob": SCRIPT_JOB}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(
            json.dumps({name: {**asdict(way), "dollars": way.dollars} for name, way in ways.items()}, indent=2)
        )


if __name__ == "__main__":
    main()
