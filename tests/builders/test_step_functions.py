"""What only Step Functions does: names that stay in use, inputs and outputs, types of state machines, KMS keys."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ConfigurationError, InvalidEvent, Job, JobRejected, Unavailable
from orchestrator.aws.clients import Clients
from orchestrator.builders.step_functions import StepFunctions, console_link, variables_in
from orchestrator.errors import WaitReason
from orchestrator.event import Start
from orchestrator.job import StartedJob
from orchestrator.local.step_functions import EXPRESS, StepFunctionsServer

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:tenant-provisioning"
EXECUTION = "arn:aws:states:eu-west-1:123456789012:execution:tenant-provisioning:run-1"
SECRET = "do-not-tell"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StepFunctionsServer]:
    with StepFunctionsServer([MACHINE], now=NOW.timestamp()) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", server.url)
        yield server


@pytest.fixture
def builder(server: StepFunctionsServer) -> StepFunctions:
    clients = Clients()
    return StepFunctions(lambda region: clients.get("stepfunctions", region))


def job(name: str = MACHINE, run_id: str = "run-1", **variables: str) -> Job:
    return Job(name=name, run_id=run_id, since=NOW, variables=variables)


def started_job(run_id: str = "run-1") -> StartedJob:
    return StartedJob(
        builder="STEP_FUNCTIONS",
        name=MACHINE,
        run_id=run_id,
        since=NOW,
        event_id="event",
        event_type="TENANT_PROVISIONING",
        start=Start(event_id="event", at=NOW),
    )


def operations(server: StepFunctionsServer) -> list[str]:
    return [request.headers["X-Amz-Target"].partition(".")[2] for request in server.requests]


def refuse(server: StepFunctionsServer, code: str, *, on: str = "StartExecution") -> None:
    server.next.answer(400, json.dumps({"__type": code}), {"Content-Type": "application/x-amz-json-1.0"}, on=on)


def test_the_run_id_is_the_name_and_the_variables_are_the_input(
    builder: StepFunctions, server: StepFunctionsServer
) -> None:
    run = builder.start(job(tenant='{"id":"t1"}', city="Köln"))

    (execution,) = server.executions
    assert (execution["name"], execution["stateMachineArn"]) == ("run-1", MACHINE)
    assert json.loads(execution["input"]) == {"tenant": '{"id":"t1"}', "city": "Köln"}
    assert run.id == execution["executionArn"] == EXECUTION
    assert run.link == (
        f"https://eu-west-1.console.aws.amazon.com/states/home?region=eu-west-1#/v2/executions/details/{EXECUTION}"
    )


def test_the_order_of_the_variables_makes_no_difference(builder: StepFunctions, server: StepFunctionsServer) -> None:
    builder.start(job(a="1", b="2"))
    run = builder.start(job(b="2", a="1"))

    assert not run.already_started  # for Step Functions, it was the same request
    assert len(server.executions) == 1


def test_a_run_with_other_variables_is_the_run_that_was_started(
    builder: StepFunctions, server: StepFunctionsServer
) -> None:
    first = builder.start(job(size="small"))
    second = builder.start(job(size="large"))

    assert (second.id, second.link, second.already_started) == (first.id, first.link, True)
    assert len(server.executions) == 1


def test_a_run_that_has_ended_is_not_started_again(builder: StepFunctions, server: StepFunctionsServer) -> None:
    builder.start(job())
    server.finish(server.executions[0])

    assert builder.start(job()).already_started
    assert len(server.executions) == 1


@pytest.mark.parametrize("qualifier", [":PROD", ":3"])
def test_a_version_or_an_alias_is_started_and_its_execution_found(
    builder: StepFunctions, server: StepFunctionsServer, qualifier: str
) -> None:
    run = builder.start(job(MACHINE + qualifier))

    sent = json.loads(server.requests[-1].body)
    assert sent["stateMachineArn"] == MACHINE + qualifier
    assert run.id == EXECUTION
    assert builder.find(job(MACHINE + qualifier)) is not None


def test_the_region_is_that_of_the_state_machine(server: StepFunctionsServer) -> None:
    regions: list[str] = []

    def client(region: str) -> Any:
        regions.append(region)
        return Clients().get("stepfunctions", region)

    arn = "arn:aws-us-gov:states:us-gov-west-1:123456789012:stateMachine:m"
    server.machines[arn] = "STANDARD"
    run = StepFunctions(client).start(job(arn))

    assert set(regions) == {"us-gov-west-1"}
    assert (run.link or "").startswith("https://us-gov-west-1.console.amazonaws-us-gov.com/states/")


def test_a_partition_without_a_known_console_has_no_link() -> None:
    assert console_link("arn:aws-iso:states:us-iso-east-1:123456789012:execution:m:r") is None


@pytest.mark.parametrize(
    "name",
    [
        "tenant-provisioning",
        f"{MACHINE}/label",
        f"{MACHINE}:PROD:1",
        f"{MACHINE}-with-two words",
        MACHINE.replace(":stateMachine:", ":execution:"),
        MACHINE.replace("states", "codebuild"),
        MACHINE.replace("123456789012", ""),
        f"{MACHINE}\n",
    ],
)
def test_a_name_that_is_no_state_machine_is_refused(builder: StepFunctions, name: str) -> None:
    with pytest.raises(JobRejected, match="is not a state machine's ARN"):
        builder.check(name)


@pytest.mark.parametrize("name", [MACHINE, f"{MACHINE}:PROD", f"{MACHINE}:12", f"{MACHINE}-ä@(1)!"])
def test_a_state_machine_is_a_name(builder: StepFunctions, name: str) -> None:
    builder.check(name)


def test_an_express_state_machine_is_refused_and_not_started(
    builder: StepFunctions, server: StepFunctionsServer
) -> None:
    server.machines[MACHINE] = EXPRESS

    with pytest.raises(JobRejected, match=r"'tenant-provisioning' was not started: it is an Express state machine"):
        builder.start(job())

    assert server.executions == []


def test_the_type_of_a_state_machine_is_read_once(builder: StepFunctions, server: StepFunctionsServer) -> None:
    for number in range(3):
        builder.start(job(MACHINE if number else f"{MACHINE}:PROD", f"run-{number}"))

    assert operations(server) == ["DescribeStateMachine", *["StartExecution"] * 3]


def test_a_full_account_lets_the_event_wait(builder: StepFunctions, server: StepFunctionsServer) -> None:
    refuse(server, "ExecutionLimitExceeded")

    with pytest.raises(Unavailable, match="as many executions are running as the account may have") as caught:
        builder.start(job())

    assert (caught.value.waits_for, caught.value.ambiguous) == (WaitReason.BUILD_QUEUE_FULL, False)


def test_a_refusal_after_a_lost_answer_is_in_doubt(builder: StepFunctions, server: StepFunctionsServer) -> None:
    server.next.drop(on="StartExecution", after_acting=True)
    refuse(server, "ExecutionLimitExceeded")

    with pytest.raises(Unavailable, match="to the SDK's second try") as caught:
        builder.start(job())

    assert caught.value.ambiguous
    assert builder.find(job()) is not None


@pytest.mark.parametrize("code", ["ThrottlingException", "KmsThrottlingException"])
def test_throttling_is_unavailable(builder: StepFunctions, server: StepFunctionsServer, code: str) -> None:
    for _ in range(3):
        refuse(server, code)

    with pytest.raises(Unavailable, match=code):
        builder.start(job())


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("StateMachineDeleting", JobRejected, "the state machine is being deleted"),
        ("AccessDeniedException", ConfigurationError, "allow StartExecution to the function's role"),
        ("KmsAccessDeniedException", ConfigurationError, "allow kms:Decrypt and kms:GenerateDataKey"),
        ("InvalidExecutionInput", JobRejected, "AWS answered InvalidExecutionInput to StartExecution"),
    ],
)
def test_a_refusal_names_the_state_machine_and_the_remedy(
    builder: StepFunctions, server: StepFunctionsServer, code: str, error: type[Exception], message: str
) -> None:
    refuse(server, code)

    with pytest.raises(error, match=f"state machine 'tenant-provisioning' was not started: .*{message}"):
        builder.start(job())


def test_variables_that_are_too_large_are_named(builder: StepFunctions, server: StepFunctionsServer) -> None:
    fits = job(large="x" * (262_144 - len('{"large":""}')))
    builder.start(fits)
    server.requests.clear()

    with pytest.raises(InvalidEvent, match=r"262,144; shorten them \(the largest is 'large'\)") as caught:
        builder.start(job(large=fits.variables["large"] + "é", small=SECRET))

    assert "2 variables have 262,1" in str(caught.value)
    assert server.requests == []


def test_the_type_of_a_machine_without_permission_is_a_configuration_error(
    builder: StepFunctions, server: StepFunctionsServer
) -> None:
    refuse(server, "AccessDeniedException", on="DescribeStateMachine")

    with pytest.raises(ConfigurationError, match="allow DescribeStateMachine to the function's role"):
        builder.start(job())


def test_scalars_of_the_output_replace_variables_of_the_input(
    builder: StepFunctions, server: StepFunctionsServer
) -> None:
    builder.start(job(tenant="t1", size="small"))
    output = {"size": "large", "count": 3.0, "ok": True, "none": None, "a-b": "no name", "list": [1], "object": {}}
    server.finish(server.executions[0], output=output)

    ending = builder.endings([started_job()])["run-1"]

    assert ending.succeeded
    assert ending.variables == {
        "tenant": "t1",
        "size": "large",
        "count": "3",
        "ok": "true",
        "none": "",
        "BUILD_URL": console_link(EXECUTION),
    }


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_a_failure_has_the_name_of_its_error_and_not_the_cause(
    builder: StepFunctions, server: StepFunctionsServer, status: str
) -> None:
    builder.start(job(tenant="t1"))
    server.finish(server.executions[0], status, error="States.TaskFailed", cause=SECRET)

    ending = builder.endings([started_job()])["run-1"]

    assert not ending.succeeded
    assert ending.reason == (
        f"Step Functions execution tenant-provisioning:run-1 ended {status} with error 'States.TaskFailed'"
    )
    assert SECRET not in f"{ending}{dict(ending.variables)}"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_any_output_leads_to_variables(value: Any) -> None:
    text = json.dumps({"A": value, "B": "b"})

    found = variables_in(text)

    assert found["B"] == "b"
    assert all(isinstance(one, str) for one in found.values())


@pytest.mark.parametrize(
    "text", [None, "", "null", "[1]", '"text"', "{", "1" * 5000, '{"A": ' + "[" * 100_000, '{"A": "\\ud800"}']
)
def test_an_output_without_variables_has_none(text: str | None) -> None:
    assert variables_in(text) == {}


def test_a_number_that_no_variable_can_have_is_left_out() -> None:
    assert variables_in('{"A": 1' + "0" * 5000 + ', "B": 1e999, "C": "c"}') == {"C": "c"}


def test_endings_stop_when_the_time_is_up(
    builder: StepFunctions, server: StepFunctionsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = []
    for number in range(5):
        builder.start(job(run_id=f"run-{number}"))
        server.finish(server.executions[-1])
        jobs.append(started_job(f"run-{number}"))
    clock = SimpleNamespace(has_time=answers(True, True, False))
    monkeypatch.setattr("orchestrator.builders.step_functions.deadline", clock)

    assert builder.endings(jobs).keys() == {"run-0", "run-1", "run-2"}


def answers(*values: bool) -> Callable[[], bool]:
    given = iter(values)
    return lambda: next(given)


def test_a_name_is_known_for_a_month_at_least(builder: StepFunctions) -> None:
    assert builder.covers == timedelta(days=30)
