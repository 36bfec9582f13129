"""How the handler runs consumers: conditions, fan-out, failures, async consumers, logs and metrics."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import UnknownServiceError
from pydantic import BaseModel

from orchestrator import (
    Action,
    Application,
    ConfigurationError,
    ConsumerFailed,
    Context,
    EndingEvent,
    Event,
    InvalidEvent,
    Job,
    JobRejected,
    Registry,
    Run,
    SaveTenant,
    StartJob,
    StaticTierDetails,
    Unavailable,
    create_handler,
)
from tests.support.aws import Requests, published
from tests.support.builder import Recorder
from tests.support.events import invoke, json_lines, sample

SECRET = "do-not-tell"


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def builder() -> Recorder:
    return Recorder()


@pytest.fixture
def handler(registry: Registry, builder: Recorder) -> Application:
    return create_handler(registry, builders={"CODE_BUILD": builder}, tiers=StaticTierDetails())


def event(**detail: Any) -> dict[str, Any]:
    return {**sample("tenant-provisioning"), "detail-type": "TENANT_SUSPENDED", "detail": detail}


def job(name: str, **fields: Any) -> Callable[[Event], StartJob]:
    return lambda event: StartJob(name=name, **fields)


def test_a_consumer_takes_the_event_whose_condition_holds(
    registry: Registry, handler: Application, builder: Recorder
) -> None:
    @registry.consumer("TENANT_SUSPENDED", when=lambda event: event.detail["tier"] == "PREMIUM")
    def scale_down(event: Event) -> StartJob:
        return StartJob(name="scale-down", variables={"tenant": event.detail["id"]})

    invoke(handler, event(tier="BASIC", id="a"))
    invoke(handler, event(tier="PREMIUM", id="b"))

    assert [job.variables["tenant"] for job in builder.jobs] == ["b"]


def test_a_condition_gets_the_validated_detail(registry: Registry, handler: Application, builder: Recorder) -> None:
    class Suspension(BaseModel):
        days: int

    def suspend(event: Any) -> StartJob:
        return StartJob(name=f"days-{event.detail.days}")

    suspend.__annotations__["event"] = Event[Suspension]
    registry.consumer("TENANT_SUSPENDED", when=lambda event: event.detail.days > 2)(suspend)

    invoke(handler, event(days="2"))
    invoke(handler, event(days="3"))

    assert [job.name for job in builder.jobs] == ["days-3"]


def test_an_action_may_be_of_a_derived_class(registry: Registry, handler: Application, builder: Recorder) -> None:
    class NightlyJob(StartJob):
        """Derived from an action."""

    @registry.consumer("TENANT_SUSPENDED")
    def nightly(event: Event) -> StartJob:
        return NightlyJob(name="nightly")

    invoke(handler, event())

    assert [job.name for job in builder.jobs] == ["nightly"]


def test_consumers_run_in_parallel(registry: Registry, handler: Application) -> None:
    everyone_is_here = threading.Barrier(20, timeout=10)

    def wait(event: Event) -> None:
        everyone_is_here.wait()

    for number in range(20):
        registry.consumer("TENANT_SUSPENDED", name=f"c{number}")(wait)

    answer = invoke(handler, event())

    assert [consumer["name"] for consumer in answer["consumers"]] == [f"c{number}" for number in range(20)]


def test_async_consumers_run_too(registry: Registry, handler: Application, builder: Recorder) -> None:
    @registry.consumer("TENANT_SUSPENDED")
    async def later(event: Event) -> StartJob:
        await asyncio.sleep(0)
        return StartJob(name="later")

    invoke(handler, event())

    assert [job.name for job in builder.jobs] == ["later"]


def test_async_consumers_run_in_parallel_with_others(registry: Registry, handler: Application) -> None:
    both_are_here = threading.Barrier(2, timeout=10)

    @registry.consumer("TENANT_SUSPENDED")
    async def later(event: Event) -> None:
        await asyncio.to_thread(both_are_here.wait)

    @registry.consumer("TENANT_SUSPENDED")
    def now(event: Event) -> None:
        both_are_here.wait()

    assert len(invoke(handler, event())["consumers"]) == 2


def test_an_async_consumer_runs_even_if_the_caller_has_a_running_loop(
    registry: Registry, handler: Application, builder: Recorder
) -> None:
    @registry.consumer("TENANT_SUSPENDED")
    async def later(event: Event) -> StartJob:
        return StartJob(name="later")

    async def caller() -> Any:
        return invoke(handler, event())

    asyncio.run(caller())

    assert [job.name for job in builder.jobs] == ["later"]


def test_several_actions_are_performed_in_order(registry: Registry, handler: Application, builder: Recorder) -> None:
    @registry.consumer("TENANT_SUSPENDED")
    def both(event: Event) -> Iterator[Action]:
        yield StartJob(name="first")
        yield StartJob(name="second")

    answer = invoke(handler, event())

    assert [job.name for job in builder.jobs] == ["first", "second"]
    assert [outcome["name"] for outcome in answer["consumers"][0]["outcomes"]] == ["first", "second"]


def test_each_action_has_its_own_run_id(registry: Registry, handler: Application, builder: Recorder) -> None:
    registry.consumer("TENANT_SUSPENDED", name="a")(lambda event: [StartJob(name="x"), StartJob(name="x")])
    registry.consumer("TENANT_SUSPENDED", name="b")(lambda event: StartJob(name="x"))

    invoke(handler, event())

    assert len({job.run_id for job in builder.jobs}) == 3
    assert all(job.variables["ORCHESTRATOR_RUN_ID"] == job.run_id for job in builder.jobs)


def test_if_an_action_is_refused_none_is_performed(registry: Registry, handler: Application, builder: Recorder) -> None:
    registry.consumer("TENANT_SUSPENDED", name="a")(
        lambda event: [StartJob(name="good"), StartJob(name="bad", variables={"PATH": "/evil"})]
    )

    with pytest.raises(InvalidEvent, match="'PATH'"):
        invoke(handler, event())
    assert builder.jobs == []


def test_an_action_that_fails_stops_those_after_it(registry: Registry, handler: Application, builder: Recorder) -> None:
    builder.failing["second"] = Unavailable("the builder is busy")
    registry.consumer("TENANT_SUSPENDED", name="a")(
        lambda event: [StartJob(name="first"), StartJob(name="second"), StartJob(name="third")]
    )

    with pytest.raises(Unavailable):
        invoke(handler, event())
    assert [job.name for job in builder.jobs] == ["first"]


@pytest.mark.parametrize("decision", [7, "job", ["job"], [StartJob(name="x"), 7], {"a": 1}])
def test_a_decision_that_is_not_an_action_is_refused(
    registry: Registry, handler: Application, builder: Recorder, decision: Any
) -> None:
    registry.consumer("TENANT_SUSPENDED", name="a")(lambda event: decision)

    with pytest.raises(ConfigurationError, match="consumer 'a' returned"):
        invoke(handler, event())
    assert builder.jobs == []


def test_a_consumer_that_fails_does_not_stop_the_others(
    registry: Registry, handler: Application, builder: Recorder
) -> None:
    builder.failing["bad"] = JobRejected("the job is disabled")
    registry.consumer("TENANT_SUSPENDED", name="a")(job("bad"))
    registry.consumer("TENANT_SUSPENDED", name="b")(job("good"))

    with pytest.raises(JobRejected, match="the job is disabled"):
        invoke(handler, event())
    assert [job.name for job in builder.jobs] == ["good"]


def test_several_failures_are_all_raised(registry: Registry, handler: Application, builder: Recorder) -> None:
    builder.failing = {"x": JobRejected("x is disabled"), "y": Unavailable("y is busy")}
    for name in ("x", "y", "z"):
        registry.consumer("TENANT_SUSPENDED", name=name)(job(name))

    with pytest.raises(ExceptionGroup) as caught:
        invoke(handler, event())

    assert {type(error) for error in caught.value.exceptions} == {JobRejected, Unavailable}
    assert "2 consumers of TENANT_SUSPENDED event" in caught.value.message
    assert "JobRejected: x is disabled; Unavailable: y is busy" in caught.value.message
    assert [job.name for job in builder.jobs] == ["z"]


def test_a_foreign_error_of_a_consumer_is_raised_without_its_text(
    registry: Registry, handler: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(event: Event) -> None:
        raise ValueError(SECRET)

    registry.consumer("TENANT_SUSPENDED")(broken)

    with pytest.raises(ConsumerFailed) as caught:
        invoke(handler, event())
    assert str(caught.value).startswith("consumer 'broken' raised ValueError in broken, test_dispatcher.py line ")
    assert isinstance(caught.value.__cause__, ValueError)
    assert SECRET not in capsys.readouterr().out


@pytest.mark.parametrize("raised", [SystemExit(SECRET), asyncio.CancelledError(SECRET), GeneratorExit(SECRET)])
def test_an_exit_in_a_consumer_does_not_stop_the_others(
    registry: Registry, handler: Application, builder: Recorder, raised: BaseException
) -> None:
    builder.failing["bad"] = JobRejected("bad is disabled")

    def leave(event: Event) -> None:
        raise raised

    registry.consumer("TENANT_SUSPENDED")(leave)
    registry.consumer("TENANT_SUSPENDED", name="b")(job("bad"))
    registry.consumer("TENANT_SUSPENDED", name="c")(job("good"))

    with pytest.raises(ExceptionGroup) as caught:
        invoke(handler, event())
    assert {type(error) for error in caught.value.exceptions} == {ConsumerFailed, JobRejected}
    assert SECRET not in str(caught.value)
    assert [job.name for job in builder.jobs] == ["good"]


def test_a_change_of_the_detail_by_a_consumer_does_not_affect_the_others(
    registry: Registry, handler: Application
) -> None:
    seen: list[Any] = []

    def change(event: Event) -> None:
        event.detail["tenant"]["id"] = "evil"
        seen.append(event.detail["tenant"]["id"])

    registry.consumer("TENANT_SUSPENDED", name="a")(change)
    registry.consumer("TENANT_SUSPENDED", name="b")(lambda event: seen.append(event.detail["tenant"]["id"]))

    invoke(handler, event(tenant={"id": "good"}))

    assert sorted(seen) == ["evil", "good"]


def test_the_message_of_an_error_is_one_line(registry: Registry, handler: Application) -> None:
    def broken(event: Event) -> None:
        raise InvalidEvent("two\nlines")

    registry.consumer("TENANT_SUSPENDED")(broken)

    with pytest.raises(InvalidEvent, match=r"^two lines$"):
        invoke(handler, event())


def test_a_failed_condition_is_a_failure_of_its_consumer(registry: Registry, handler: Application) -> None:
    registry.consumer("TENANT_SUSPENDED", name="a", when=lambda event: event.detail["tier"] == "X")(job("x"))

    with pytest.raises(ConsumerFailed, match="consumer 'a' raised KeyError"):
        invoke(handler, event())


def test_the_context_has_tiers_tenants_settings_and_lambdas_context(registry: Registry, handler: Application) -> None:
    seen: list[Context] = []

    @registry.consumer("TENANT_SUSPENDED")
    def look(event: Event, context: Context) -> None:
        seen.append(context)

    invoke(handler, event())

    (context,) = seen
    assert context.tiers.get("BASIC") == {"tier": "BASIC", "jobName": "BASIC-job"}
    assert context.tenants.get("unknown") is None
    assert context.settings.default_builder == "CODE_BUILD"
    assert context.lambda_context.get_remaining_time_in_millis() > 0


def test_a_custom_builder_is_found_by_its_name(registry: Registry) -> None:
    own = Recorder()
    registry.consumer("TENANT_SUSPENDED", name="a")(job("x", builder="GITHUB"))

    answer = invoke(create_handler(registry, builders={"GITHUB": own}), event())

    assert [job.name for job in own.jobs] == ["x"]
    run_id = own.jobs[0].variables["ORCHESTRATOR_RUN_ID"]
    assert answer["consumers"][0]["outcomes"] == [
        {"action": "StartJob", "status": "started", "builder": "GITHUB", "name": "x", "id": "x#1", "runId": run_id}
    ]


@pytest.mark.parametrize("builder", [5, object(), type("OnlyStart", (), {"start": lambda self, job: None})()])
def test_an_invalid_builder_is_refused_when_the_handler_is_created(registry: Registry, builder: Any) -> None:
    with pytest.raises(ConfigurationError, match="builder 'X' lacks a method start or find"):
        create_handler(registry, builders={"X": builder})


def test_a_foreign_error_of_a_builder_names_the_builder_and_its_line(registry: Registry) -> None:
    class Broken(Recorder):
        def start(self, job: Job) -> Run:
            raise ValueError(SECRET)

    registry.consumer("TENANT_SUSPENDED", name="a")(job("x", builder="X"))

    with pytest.raises(
        ConsumerFailed, match=r"^builder 'X' raised ValueError in start, test_dispatcher\.py line \d+; cor"
    ):
        invoke(create_handler(registry, builders={"X": Broken()}), event())


LEFT_OUT = "needs AWS service 'quantum', which the artifact leaves out; add it to LAMBDA_AWS_SERVICES and build again"


def test_a_builder_whose_service_is_not_in_the_artifact_names_it_and_the_variable(registry: Registry) -> None:
    class Quantum(Recorder):
        def start(self, job: Job) -> Run:
            boto3.client("quantum")  # type: ignore[call-overload]  # there is no such service
            return super().start(job)

    registry.consumer("TENANT_SUSPENDED", name="a")(job("x", builder="X"))

    with pytest.raises(ConfigurationError, match=f"^builder 'X' {LEFT_OUT}$"):
        invoke(create_handler(registry, builders={"X": Quantum()}), event())


def test_a_service_that_is_not_in_the_artifact_is_a_permanent_failure(registry: Registry, aws: Requests) -> None:
    builder = Recorder(failing={"x": UnknownServiceError(service_name="quantum", known_service_names="codebuild")})
    registry.consumer("TENANT_SUSPENDED", name="a", ending=EndingEvent())(job("x", builder="X"))

    with pytest.raises(ConfigurationError):
        invoke(create_handler(registry, builders={"X": builder}), event(tenantId="t1"))

    (failure,) = published(aws)
    assert failure["DetailType"] == "TENANT_SUSPENDED_FAILURE"
    assert LEFT_OUT in json.loads(failure["Detail"])["reason"]


@pytest.mark.parametrize("factory", ["client", "resource"])
def test_a_consumer_whose_service_is_not_in_the_artifact_names_it_and_the_variable(
    registry: Registry, factory: str
) -> None:
    registry.consumer("TENANT_SUSPENDED", name="a")(lambda event: getattr(boto3, factory)("quantum"))

    with pytest.raises(ConfigurationError, match=f"^consumer 'a' {LEFT_OUT}$"):
        invoke(create_handler(registry), event())


def test_a_service_without_resources_does_not_count_as_left_out(registry: Registry) -> None:
    registry.consumer("TENANT_SUSPENDED", name="a")(lambda event: getattr(boto3, "resource")("codebuild"))  # noqa: B009

    with pytest.raises(ConsumerFailed, match="consumer 'a' raised ResourceNotExistsError"):
        invoke(create_handler(registry), event())


def test_a_builder_that_returns_no_run_is_named(registry: Registry) -> None:
    class Broken(Recorder):
        def start(self, job: Job) -> Any:
            return "abc"

    registry.consumer("TENANT_SUSPENDED", name="a")(job("x", builder="X"))

    with pytest.raises(ConsumerFailed, match="builder 'X' did not return a Run from start"):
        invoke(create_handler(registry, builders={"X": Broken()}), event())


def test_a_search_that_returns_no_run_does_not_count_as_none_found(registry: Registry, aws: Requests) -> None:
    class Broken(Recorder):
        def find(self, job: Job) -> Any:
            return "abc"

    builder = Broken({"x": Unavailable("no answer")})
    registry.consumer("TENANT_SUSPENDED", name="a")(job("x", builder="X"))
    handler, suspended = create_handler(registry, builders={"X": builder}), event()
    with pytest.raises(Unavailable):
        invoke(handler, suspended)
    builder.failing.clear()
    boto3.client("dynamodb").update_item(
        TableName="idempotency",
        Key={"id": boto3.client("dynamodb").scan(TableName="idempotency")["Items"][0]["id"]},
        UpdateExpression="SET lockedUntil = :past",
        ExpressionAttributeValues={":past": {"N": "0"}},
    )

    with pytest.raises(ConsumerFailed, match="builder 'X' returned neither a Run nor None from find"):
        invoke(handler, suspended)
    assert builder.jobs == []


def test_if_a_job_name_is_invalid_no_action_is_performed(registry: Registry, aws: Requests) -> None:
    registry.consumer("TENANT_SUSPENDED", name="a")(
        lambda event: [StartJob(name="premium-tenant-provisioning"), StartJob(name="bad name")]
    )

    with pytest.raises(JobRejected, match="'bad name' is not a CodeBuild project name"):
        invoke(create_handler(registry), event())
    assert aws == []


@pytest.mark.parametrize(
    ("detail", "tenant_id"),
    [
        ({"tenant": {"id": "t1"}}, "t1"),
        ({"type": "x", "data": {"tenant": {"id": "t2"}}}, "t2"),
        ({"tenant": '{"id": "t3"}'}, "t3"),
        ({"tenantId": "t4"}, "t4"),
        ({"tenant": "no json"}, ""),
        ({"tenant": {"id": 5}}, ""),
        ({}, ""),
    ],
)
def test_a_job_gets_the_id_of_its_tenant(
    registry: Registry, handler: Application, builder: Recorder, detail: dict[str, Any], tenant_id: str
) -> None:
    registry.consumer("TENANT_SUSPENDED", name="a")(job("x"))

    invoke(handler, event(**detail))

    assert builder.jobs[0].variables["ORCHESTRATOR_TENANT_ID"] == tenant_id


def test_an_event_without_a_consumer_is_logged_and_counted(
    handler: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = invoke(handler, event(secret=SECRET))

    log, metric = json_lines(capsys.readouterr().out)
    assert answer["consumers"] == []
    assert (log["level"], log["message"]) == ("WARNING", "no consumer takes this event")
    assert (log["event_type"], log["correlation_id"]) == ("TENANT_SUSPENDED", answer["eventId"])
    assert (log["not_taken"], log["declined"]) == ("its type 'TENANT_SUSPENDED' has no consumer", [])
    assert metric["EventUnhandled"] == [1.0]
    assert SECRET not in str(log)


def test_an_event_whose_conditions_do_not_hold_counts_as_unhandled(
    registry: Registry, handler: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.consumer("TENANT_SUSPENDED", name="a", when=lambda event: False)(job("x"))

    invoke(handler, event())

    log, metric = json_lines(capsys.readouterr().out)
    assert (log["not_taken"], log["declined"]) == ("the condition of a is false", ["a"])
    assert metric["EventUnhandled"] == [1.0]


def test_several_conditions_that_do_not_hold_are_all_named(
    registry: Registry, handler: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        registry.consumer("TENANT_SUSPENDED", name=name, when=lambda event: False)(job("x"))

    invoke(handler, event())

    assert json_lines(capsys.readouterr().out)[0]["not_taken"] == "the conditions of a, b are false"


def test_a_repr_shows_no_secret() -> None:
    actions = [
        StartJob(name="x", variables={"secret": SECRET}, trusted_variables={"secret": SECRET}),
        SaveTenant(tenant_id="t", record={"secret": SECRET}),
        Job(name="x", run_id="1", since=datetime.now(UTC), variables={"secret": SECRET}),
    ]

    assert SECRET not in repr(actions)
