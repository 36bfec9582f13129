"""The operators' commands alone answer what operators ask about tenants in mixed states: ten, or `TENANTS` of them."""

import contextlib
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.local import recorder, sandbox
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.timing import clock
from tests.cli.conftest import SECRETS, Command, Deployment
from tests.cli.tenants import NEW_TIER, Tenants

TENS = int(os.environ.get("TENANTS", "10")) // 10


@pytest.fixture(autouse=True)
def _fresh_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "orchestrator.handler", raising=False)


@pytest.fixture
def codebuild(monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeBuildServer]:
    """Run a CodeBuild whose builds keep their variables and end when they are told to."""
    with CodeBuildServer(now=clock.now().timestamp()) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", server.url)
        yield server


@pytest.fixture
def recording() -> Iterator[recorder.Recording]:
    with recorder.recorded() as recording:
        yield recording


@pytest.fixture
def tenants(codebuild: CodeBuildServer, recording: recorder.Recording, stack: Deployment) -> Tenants:
    tenants = Tenants(stack, codebuild, recording, TENS)
    with contextlib.redirect_stdout(io.StringIO()):  # the function's log
        stack.put("TierDetailsTable", {"tier": "PREMIUM", **sandbox.TIERS["PREMIUM"], "API_ENDPOINT": stack.plane.url})
        tenants.fill()
    return tenants


def test_the_commands_answer_what_operators_ask(
    tenants: Tenants, stack: Deployment, on_stack: Command, tmp_path: Path
) -> None:
    shown = []

    # Where is this tenant?
    statuses = Counter[tuple[str, str]]()
    for state in tenants.states():
        for tenant in tenants.of(state):
            statuses[state, on_stack("status", tenant, "--json").json["record"]["status"]] += 1
    assert statuses == {
        ("active", "DEPLOYED"): 2 * TENS,
        ("failed", "PROVISIONING_FAILED"): TENS,
        ("running", "PROVISIONING"): TENS,
        ("waiting", "DEPROVISIONING"): TENS,
        ("in doubt", "PROVISIONING"): TENS,
        ("deprovisioned", "DEPROVISIONED"): 2 * TENS,
        ("rejected", "PROVISIONING_FAILED"): 2 * TENS,
    }

    # Why did it fail? A job failed ...
    story = on_stack("status", "failed-00").out
    shown.append(story)
    assert "CODE_BUILD premium-tenant-provisioning: FAILURE https://eu-west-1.console.aws.amazon.com/" in story
    # ... or an event could not be handled.
    assert f"PROVISIONING_FAILED: tier '{NEW_TIER}' is not in table" in on_stack("status", "rejected-01").out
    failures = on_stack("failures", "--tenant", "rejected-01").out
    shown.append(failures)
    assert tenants.events["rejected-01"] in failures
    assert f"tier '{NEW_TIER}' is not in table" in failures

    # What is running, and what waits?
    jobs = on_stack("jobs", "--json").json
    states = {job["tenantId"]: job["states"] for job in jobs["jobs"]}
    running = [*tenants.of("running"), *tenants.of("waiting")]
    assert states == {
        **{tenant: ["open"] for tenant in running},
        **{tenant: ["in doubt"] for tenant in tenants.of("in doubt")},
    }
    waiting = {tenant["tenantId"]: tenant["waitingFor"] for tenant in jobs["waiting"]["tenants"]}
    assert waiting == dict.fromkeys(tenants.of("waiting"), "tenant busy")
    shown.append(on_stack("jobs").out)

    # What will this event do?
    event = tmp_path / "event.json"
    event.write_text(json.dumps(tenants.deprovisioning("running-00")))
    explained = on_stack("explain", str(event))
    shown.append(explained.out)
    assert "yet: tenant busy" in explained.out
    assert explained.out.splitlines()[-1] == "the event would wait in its queue, and be tried again"

    # Send that again: one event, then all that failed for its reason.
    stack.put("TierDetailsTable", {"tier": NEW_TIER, **sandbox.TIERS["PREMIUM"]})
    again = on_stack("redrive", tenants.events["rejected-01"], "--yes")
    assert (again.code, again.out.splitlines()[-1]) == (0, "1 redriven, 0 kept")
    assert on_stack("status", "rejected-01", "--json").json["record"]["status"] == "PROVISIONING"
    rest = on_stack("redrive", "--reason", "ConfigurationError", "--yes")
    shown += [again.out, rest.out]
    assert (rest.code, rest.out.splitlines()[-1]) == (0, f"{2 * TENS - 1} redriven, 0 kept")
    assert on_stack("failures", "--json").json["failures"] == []
    assert {job["tenantId"] for job in on_stack("jobs", "--json").json["jobs"]} >= set(tenants.of("rejected"))

    assert [secret for secret in SECRETS if secret in "".join(shown)] == []
