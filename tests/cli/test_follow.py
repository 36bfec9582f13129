"""`orchestrator invoke --follow` lets tenants live their whole life."""

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.local import sandbox
from orchestrator.timing import clock
from tests.support.events import EVENTS, changed, sample

PROVISIONING = str(EVENTS / "tenant-provisioning.json")
STANDARD = str(EVENTS / "tenant-provisioning-enveloped.json")
ENTERPRISE = str(EVENTS / "tenant-provisioning-jenkins.json")
DEDICATED = str(EVENTS / "tenant-provisioning-step-functions.json")
DEPROVISIONING = str(EVENTS / "tenant-deprovisioning.json")
MACHINE = sandbox.TIERS["DEDICATED"]["jobName"]
TENANT_ID = sandbox.TENANT["tenantId"]

OWN_HANDLER = """
from orchestrator import Event, JobRejected, PublishEvent, Registry, StartJob, Unavailable, create_handler
from orchestrator.errors import WaitReason
from orchestrator.lifecycle import registry as lifecycle

registry = Registry()
registry.include(lifecycle)

@registry.consumer("PING", leads_to=["PING"])
def ping(event: Event) -> PublishEvent:
    return PublishEvent(type="PING", detail=event.detail)

@registry.consumer("TENANT_SUSPENDED")
def suspend(event: Event) -> StartJob:
    return StartJob(name="suspend-tenant", variables={"tenant": event.detail["id"]})

class Full:
    def check(self, name): pass
    def start(self, job):
        raise Unavailable("the queue is full", ambiguous=False, waits_for=WaitReason.BUILD_QUEUE_FULL)
    def find(self, job):
        return None

class RefusesAtLast(Full):
    tries = 0
    def start(self, job):
        self.tries += 1
        if self.tries > 1:
            raise JobRejected("the job is gone")
        return super().start(job)

lambda_handler = create_handler(registry)
full = create_handler(registry, builders={"CODE_BUILD": Full()})
refuses_at_last = create_handler(registry, builders={"CODE_BUILD": RefusesAtLast()})
only_own = Registry()
only_own.include(registry)
for name in ("sweep_runs", "publish_build_ending"):
    only_own.remove(name)
unswept = create_handler(only_own)

on_machines = Registry()
on_machines.include(lifecycle)

@on_machines.consumer("TENANT_SUSPENDED")
def execute(event: Event) -> StartJob:
    machine = "arn:aws:states:eu-central-1:999999999999:stateMachine:suspend"
    return StartJob(builder="STEP_FUNCTIONS", name=machine, variables={"tenant": event.detail["id"]})

machines = create_handler(on_machines)
"""


@pytest.fixture(autouse=True)
def _fresh_handler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    for module in ("orchestrator.handler", "own"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "own.py").write_text(OWN_HANDLER)


class Followed:
    """What a run with `--follow` has printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.story = err.splitlines()

    @property
    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def types(self) -> list[str]:
        return [answer["eventType"] for answer in self.answers if "eventType" in answer]

    @property
    def steps(self) -> list[str]:
        """The story's lines, without ids and links."""
        return [line.partition(", ")[0] for line in self.story if "://" not in line]


Follow = Callable[..., Followed]


@pytest.fixture
def follow(capsys: pytest.CaptureFixture[str]) -> Follow:
    def follow(*arguments: str) -> Followed:
        code = main(["invoke", "--follow", *arguments])
        output = capsys.readouterr()
        return Followed(code, output.out, output.err)

    return follow


@pytest.fixture
def event_file(tmp_path: Path) -> Callable[..., str]:
    def event_file(event_type: str, detail: dict[str, Any], name: str = "event.json") -> str:
        event = sample("tenant-provisioning", **{"detail-type": event_type, "detail": detail})
        (tmp_path / name).write_text(json.dumps(event))
        return name

    return event_file


def in_order(steps: Sequence[str], *expected: str) -> bool:
    """Whether the expected lines are among the steps, in this order."""
    rest = iter(steps)
    return all(line in rest for line in expected)


def test_a_tenant_without_a_deployment_job_is_deployed_after_its_provisioning(follow: Follow) -> None:
    done = follow(PROVISIONING)

    assert done.code == 0
    assert [step for step in done.steps if not step.startswith("    ")] == [
        "event TENANT_PROVISIONING",
        "  tenant record: PROVISIONING",
        "  job started: CODE_BUILD premium-tenant-provisioning",
        "job ended: CODE_BUILD premium-tenant-provisioning",
        "event CodeBuild Build State Change",
        "  published: TENANT_PROVISIONING_SUCCESS",
        "event TENANT_PROVISIONING_SUCCESS",
        "  tenant record: PROVISIONED",
        "  published: TENANT_DEPLOYMENT",
        "event TENANT_DEPLOYMENT",
        "  tenant record: DEPLOYED",
        "  webhook to control-plane.example.com: status 1",
        f"tenant {TENANT_ID}: DEPLOYED",
    ]


def test_standard_output_has_one_answer_for_each_event(follow: Follow) -> None:
    done = follow(PROVISIONING)

    assert done.types == [
        "TENANT_PROVISIONING",
        "CodeBuild Build State Change",
        "TENANT_PROVISIONING_SUCCESS",
        "TENANT_DEPLOYMENT",
    ]
    assert len({answer["eventId"] for answer in done.answers}) == 4


@pytest.mark.parametrize(
    ("file", "job"),
    [
        (PROVISIONING, "CODE_BUILD premium-tenant-provisioning"),
        (ENTERPRISE, "JENKINS tenants/enterprise-provisioning"),
        (DEDICATED, f"STEP_FUNCTIONS {MACHINE}"),
    ],
)
def test_a_started_job_is_printed_with_the_ids_and_the_link_of_the_answer(follow: Follow, file: str, job: str) -> None:
    done = follow(file)

    outcome = done.answers[0]["consumers"][0]["outcomes"][-1]
    place = done.story.index(f"  job started: {job}")
    assert done.story[place + 1 : place + 4] == [
        f"    run {outcome['runId']}",
        f"    id {outcome['id']}",
        f"    {outcome['link']}",
    ]


def test_a_tenant_with_a_deployment_job_is_deployed_when_that_job_has_ended(follow: Follow) -> None:
    done = follow(STANDARD)

    assert done.code == 0
    assert in_order(
        done.steps,
        "event TENANT_DEPLOYMENT",
        "  job started: CODE_BUILD standard-tenant-deployment",
        "job ended: CODE_BUILD standard-tenant-deployment",
        "event TENANT_DEPLOYMENT_SUCCESS",
        "  webhook to control-plane.example.com: status 1",
        f"tenant {TENANT_ID}: DEPLOYED",
    )
    assert done.steps.count("  webhook to control-plane.example.com: status 1") == 1


def test_on_jenkins_a_sweep_finds_the_end_of_each_job(follow: Follow) -> None:
    done = follow(ENTERPRISE)

    assert done.code == 0
    assert in_order(
        done.steps,
        "  job started: JENKINS tenants/enterprise-provisioning",
        "job ended: JENKINS tenants/enterprise-provisioning",
        "5 minutes pass",
        "event Scheduled Event",
        "  published: TENANT_PROVISIONING_SUCCESS",
        "  job started: JENKINS tenants/enterprise-deployment",
        "job ended: JENKINS tenants/enterprise-deployment",
        "5 minutes pass",
        "event Scheduled Event",
        "  published: TENANT_DEPLOYMENT_SUCCESS",
        "  webhook to control-plane.example.com: status 1",
        "tenant 7c2e9d14-8b60-4f5d-a1c3-2e6f9b0d4a83: DEPLOYED",
    )
    assert done.types.count("Scheduled Event") == 2


def test_on_step_functions_an_event_reports_the_end_of_each_job(follow: Follow) -> None:
    done = follow(DEDICATED)

    assert done.code == 0
    assert done.types == [
        "TENANT_PROVISIONING",
        "Step Functions Execution Status Change",
        "TENANT_PROVISIONING_SUCCESS",
        "TENANT_DEPLOYMENT",
    ]
    assert "event Step Functions Execution Status Change, from Step Functions" in done.story
    assert done.story[-1].endswith(": DEPLOYED")


def test_a_state_machine_of_any_account_can_be_added(follow: Follow, event_file: Callable[..., str]) -> None:
    machine = "arn:aws:states:eu-central-1:999999999999:stateMachine:suspend"

    done = follow("--handler", "own:machines", "--job", machine, event_file("TENANT_SUSPENDED", {"id": "t1"}))

    assert done.code == 0
    assert f"job ended: STEP_FUNCTIONS {machine}" in done.steps
    assert done.types == ["TENANT_SUSPENDED", "Step Functions Execution Status Change", "TENANT_SUSPENDED_SUCCESS"]


@pytest.mark.parametrize(
    ("file", "job"),
    [
        (PROVISIONING, "premium-tenant-provisioning"),
        (ENTERPRISE, "tenants/enterprise-provisioning"),
        (DEDICATED, MACHINE),
    ],
)
def test_a_job_that_is_to_fail_fails_the_provisioning(follow: Follow, file: str, job: str) -> None:
    done = follow("--fail", job, file)

    assert done.code == 0  # every event was handled
    assert done.types[-1] == "TENANT_PROVISIONING_FAILURE"
    assert done.steps[-2] == "  webhook to control-plane.example.com: status 0"
    assert ": PROVISIONING_FAILED (" in done.story[-1]


def test_several_jobs_can_fail(follow: Follow) -> None:
    jobs = ("tenants/enterprise-provisioning", "standard-tenant-deployment")

    done = follow("--fail", jobs[0], "--fail", jobs[1], STANDARD, ENTERPRISE)

    assert done.code == 0
    assert f"tenant {TENANT_ID}: DEPLOYMENT_FAILED (" in done.story[-2]
    assert ": PROVISIONING_FAILED (" in done.story[-1]


def test_a_job_that_is_to_fail_but_is_never_started_is_an_error(follow: Follow) -> None:
    done = follow("--fail", "standard-tenant-deployment", PROVISIONING)

    assert done.code == 1
    assert done.story[-1] == (
        "orchestrator: --fail standard-tenant-deployment: ConfigurationError: no event started this job, so no run of "
        "it has failed"
    )


def test_a_deprovisioning_waits_until_the_provisioning_has_ended(follow: Follow) -> None:
    done = follow(PROVISIONING, DEPROVISIONING)

    assert done.code == 0
    assert in_order(
        done.steps,
        "event TENANT_PROVISIONING",
        "event TENANT_DEPROVISIONING",
        "  waits: tenant busy",
        "job ended: CODE_BUILD premium-tenant-provisioning",
        "event TENANT_PROVISIONING_SUCCESS",
        "event TENANT_DEPROVISIONING",
        "  job started: CODE_BUILD premium-tenant-deprovisioning",
        "job ended: CODE_BUILD premium-tenant-deprovisioning",
        "event TENANT_DEPROVISIONING_SUCCESS",
        f"tenant {TENANT_ID}: DEPROVISIONED",
    )
    assert {"batchItemFailures": []} in done.answers


def test_a_deprovisioning_waits_for_a_job_on_jenkins_as_well(follow: Follow, tmp_path: Path) -> None:
    tenant = json.loads(Path(ENTERPRISE).read_text())["detail"]["tenant"]
    (tmp_path / "remove.json").write_text(json.dumps(sample("tenant-deprovisioning", detail={"tenant": tenant})))

    done = follow(ENTERPRISE, "remove.json")

    assert in_order(
        done.steps,
        "  waits: tenant busy",
        "event Scheduled Event",
        "event TENANT_DEPROVISIONING",
        "  job started: JENKINS tenants/enterprise-deprovisioning",
        "event Scheduled Event",
        f"tenant {tenant['id']}: DEPROVISIONED",
    )


def test_a_deprovisioning_alone_removes_the_tenant_of_the_samples(follow: Follow) -> None:
    done = follow(DEPROVISIONING)

    assert done.steps[-1] == f"tenant {TENANT_ID}: DEPROVISIONED"


def test_the_failure_of_a_consumer_reaches_the_control_plane_and_the_exit_code(follow: Follow, tmp_path: Path) -> None:
    event = changed(sample("tenant-provisioning"), "detail.planConfig.tier", "GOLD")
    (tmp_path / "gold.json").write_text(json.dumps(event))

    done = follow("gold.json")

    assert done.code == 1
    assert any(line.startswith("orchestrator: gold.json: ConfigurationError: tier 'GOLD'") for line in done.story)
    assert done.steps[-2] == "  webhook to control-plane.example.com: status 0"


def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_being_followed(follow: Follow) -> None:
    done = follow("absent.json", PROVISIONING)

    assert done.code == 1
    assert done.story[0].startswith("orchestrator: absent.json: InvalidEvent: cannot be read")
    assert done.steps[-1] == f"tenant {TENANT_ID}: DEPLOYED"


def test_events_that_lead_to_one_another_without_end_are_stopped(
    follow: Follow, event_file: Callable[..., str]
) -> None:
    done = follow("--handler", "own:lambda_handler", event_file("PING", {"id": "t1"}))

    assert done.code == 1
    assert len(done.answers) == 50
    assert done.story[-1] == (
        "orchestrator: ConfigurationError: --follow stopped at event 'PING', because more than 50 events for each "
        "one in the files were handled; look for a consumer whose event leads to the same event again"
    )


def test_secrets_of_events_are_not_printed(follow: Follow) -> None:
    done = follow("-v", STANDARD)

    printed = "".join([done.out, *done.story])
    assert "TENANT_DEPLOYMENT_SUCCESS" in printed
    assert sandbox.CALLBACK_SECRET not in printed
    assert "Zoë" not in printed


def test_a_job_of_ones_own_ends_too(follow: Follow, event_file: Callable[..., str]) -> None:
    file = event_file("TENANT_SUSPENDED", {"id": "t1"})

    done = follow("--handler", "own:lambda_handler", "--job", "suspend-tenant", file)

    assert done.code == 0
    assert done.types == ["TENANT_SUSPENDED", "CodeBuild Build State Change", "TENANT_SUSPENDED_SUCCESS"]
    assert "  no consumer takes it: its type 'TENANT_SUSPENDED_SUCCESS' has no consumer" in done.steps


def test_without_consumers_of_endings_a_run_ends_unnoticed(follow: Follow, event_file: Callable[..., str]) -> None:
    file = event_file("TENANT_SUSPENDED", {"id": "t1"})

    done = follow("--handler", "own:unswept", "--job", "suspend-tenant", file)

    assert done.types == ["TENANT_SUSPENDED", "CodeBuild Build State Change", "Scheduled Event"]


def test_a_tenant_without_a_record_is_printed_as_such(follow: Follow, event_file: Callable[..., str]) -> None:
    done = follow("--handler", "own:lambda_handler", event_file("TENANT_RENAMED", {"tenantId": "t9"}))

    assert done.story == [
        "event TENANT_RENAMED, from event.json",
        "  no consumer takes it: its type 'TENANT_RENAMED' has no consumer",
        "tenant t9: no record",
    ]


def test_callbacks_other_than_webhooks_are_printed_with_their_host_only(follow: Follow) -> None:
    sys.path.insert(0, str(EVENTS.parent))

    done = follow(
        "--handler", "tests.examples.app_plane:lambda_handler", str(EVENTS / "tenant-deployment-app-plane.json")
    )

    assert [line for line in done.story if line.startswith("  ")] == [
        "  tenant record: DEPLOYED",
        "  callback to control-plane.example.com",
        "  callback to acme.example.com",
        "  callback to acme.example.com",
        "  webhook to control-plane.example.com: status 1",
    ]


def test_an_event_that_waits_in_vain_has_failed(follow: Follow) -> None:
    done = follow("--handler", "own:full", PROVISIONING)

    assert done.code == 1
    assert in_order(done.steps, "  waits: build queue full", "event TENANT_PROVISIONING", "  waits on")
    assert (
        "orchestrator: TENANT_PROVISIONING: Unavailable: the event still waits, and no emulated job is left to end"
        in done.story
    )


def test_an_event_that_is_moved_to_the_failure_queue_has_failed(follow: Follow) -> None:
    done = follow("--handler", "own:refuses_at_last", PROVISIONING)

    assert done.code == 1
    assert "orchestrator: TENANT_PROVISIONING: JobRejected: the job is gone" in done.story
    assert done.types[-1] == "TENANT_PROVISIONING_FAILURE"


def test_a_webhook_with_another_secret_is_refused(follow: Follow, tmp_path: Path) -> None:
    path = "detail.builderConfig.config.environmentOverride.secret"
    (tmp_path / "event.json").write_text(json.dumps(changed(sample("tenant-provisioning"), path, "another")))

    done = follow("event.json")

    assert any(line.startswith("  webhook to control-plane.example.com: status 1, answered 401") for line in done.story)


@pytest.mark.parametrize("text", ["[]", "{}"])
def test_an_event_that_is_not_valid_is_reported_and_ends_the_life(follow: Follow, tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)

    done = follow("bad.json")

    assert done.code == 1
    assert done.story[0] == "event without a type, from bad.json"
    assert done.story[1].startswith("orchestrator: bad.json: InvalidEvent: ")
    assert len(done.story) == 2


def test_the_messages_of_a_batch_are_followed(follow: Follow) -> None:
    done = follow(str(EVENTS / "sqs-batch.json"))

    assert done.code == 0
    assert [line.partition(": ")[2] for line in done.steps[-2:]] == ["DEPLOYED", "DEPLOYED"]


def test_the_events_of_an_array_are_followed(follow: Follow) -> None:
    done = follow(str(EVENTS / "custom-event-bus.json"))

    assert done.code == 0
    assert done.story[0].startswith("event array of 2, from ")
    assert [line.partition(": ")[2] for line in done.steps[-2:]] == ["DEPLOYED", "DEPLOYED"]


def test_what_an_array_does_not_lead_to_is_printed_for_each_event(follow: Follow, tmp_path: Path) -> None:
    unknown = sample("tenant-provisioning", **{"detail-type": "TENANT_RENAMED"})
    (tmp_path / "array.json").write_text(json.dumps([unknown, unknown]))

    nothing = "  no consumer takes it: its type 'TENANT_RENAMED' has no consumer"
    assert follow("array.json").story.count(nothing) == 2


def test_a_batch_with_a_message_that_fails_has_failed(follow: Follow, tmp_path: Path) -> None:
    batch = json.loads((EVENTS / "sqs-batch.json").read_text())
    batch["Records"][0]["body"] = "{"
    (tmp_path / "batch.json").write_text(json.dumps(batch))

    done = follow("batch.json")

    assert done.code == 1
    assert any(line.startswith("orchestrator: batch.json: Unavailable: 1 messages failed") for line in done.story)


def test_verbose_adds_the_log_of_the_function(follow: Follow) -> None:
    done = follow("-v", PROVISIONING)

    assert any('"message":"event handled"' in line for line in done.story)


def test_on_a_terminal_standard_output_has_the_story(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")

    done = follow(PROVISIONING)

    assert done.story == []
    assert done.out.splitlines()[-1] == f"tenant {TENANT_ID}: DEPLOYED"
    assert "{" not in done.out


def test_quiet_leaves_the_story_out(follow: Follow) -> None:
    done = follow("--quiet", PROVISIONING)

    assert (done.code, done.story) == (0, [])
    assert done.types[-1] == "TENANT_DEPLOYMENT"


def test_an_event_that_is_delivered_again_by_a_queue_has_its_outcome_in_the_story(
    follow: Follow, tmp_path: Path
) -> None:
    later = {**sample("tenant-provisioning"), "id": "later"}
    (tmp_path / "later.json").write_text(json.dumps(later))

    done = follow(PROVISIONING, DEPROVISIONING, "later.json")

    place = done.story.index("event TENANT_DEPROVISIONING, from the waiting queue")
    assert done.story[place + 1].startswith("  UpdateTenant superseded: ")


def test_the_story_has_the_outcomes_of_each_message_of_a_batch(follow: Follow) -> None:
    done = follow(str(EVENTS / "sqs-batch.json"))

    place = done.story.index(f"event batch of 2, from {EVENTS / 'sqs-batch.json'}")
    assert [line.partition(" of ")[0] for line in done.story[place + 1 : place + 3]] == ["  tenant record"] * 2
    assert all(line.endswith(": PROVISIONING") for line in done.story[place + 1 : place + 3])


def test_a_strict_run_fails_for_an_event_of_a_file_that_nobody_takes_but_not_for_what_follows(
    follow: Follow, event_file: Callable[..., str]
) -> None:
    unknown = event_file("TENANT_RENAMED", {"tenantId": "t9"}, "renamed.json")
    suspended = event_file("TENANT_SUSPENDED", {"id": "t1"}, "suspended.json")
    own = ("--strict", "--handler", "own:lambda_handler", "--job", "suspend-tenant")

    assert follow(*own, suspended).code == 0
    done = follow(*own, unknown)

    assert done.code == 1
    assert done.story[:2] == [
        "event TENANT_RENAMED, from renamed.json",
        "orchestrator: renamed.json: NoConsumer: no consumer takes it: its type 'TENANT_RENAMED' has no consumer",
    ]


def test_the_clock_is_the_real_one_again_afterwards(follow: Follow) -> None:
    before = clock.now

    follow(ENTERPRISE)

    assert clock.now is before


def test_a_closed_pipe_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())

    assert main(["invoke", "--follow", PROVISIONING]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--follow", "--fail", "absent", PROVISIONING),
            "ConfigurationError: --fail absent: no emulated job has this name; correct it, or add --job absent",
        ),
        (
            ("--fail", "absent", PROVISIONING),
            "ConfigurationError: --fail absent: only --follow ends jobs; add --follow",
        ),
    ],
)
def test_a_wrong_name_of_a_job_is_reported_in_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["invoke", *arguments])

    assert (code, capsys.readouterr().err) == (1, f"orchestrator: {message}\n")


@pytest.mark.parametrize("place", [("--aws",), ("--endpoint-url", "http://127.0.0.1:1")])
def test_only_the_emulation_in_the_process_can_be_followed(
    place: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["invoke", "--follow", *place, PROVISIONING])

    assert caught.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err
