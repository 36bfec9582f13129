"""A consumer declares which event reports how its job ended: its types, its source and its detail."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator import (
    Application,
    ConfigurationError,
    ConsumerFailed,
    Context,
    Ended,
    EndingEvent,
    Event,
    Registry,
    StartJob,
    UpdateTenant,
    create_handler,
)
from orchestrator.lifecycle import endings
from orchestrator.local.codebuild import CodeBuildServer
from tests.support.aws import Requests, published, stored
from tests.support.endings import PROJECT, TENANT_ID, open_records, outcome
from tests.support.events import as_event, invoke, json_lines, sample, state_change

SOURCE = "my.app"
RUN = ["ORCHESTRATOR_RUN_ID", "ORCHESTRATOR_EVENT_ID", "ORCHESTRATOR_EVENT_TYPE", "ORCHESTRATOR_TENANT_ID"]


def summary(ended: Ended) -> dict[str, Any]:
    state = "frozen" if ended.succeeded else "failed"
    return {"order": ended.kept.get("order"), "state": state, "disk": {"id": ended.variables.get("DISK")}}


FROZEN = EndingEvent(
    success="Tenant frozen", failure="Freezing failed", source=SOURCE, detail=summary, keeps=["order", "number"]
)


def freeze(event: Event) -> StartJob:
    return StartJob(name=event.detail.get("job", PROJECT), variables={"tier": "PREMIUM"})


def note(event: Event, context: Context) -> UpdateTenant:
    changes = {"status": event.detail["state"], "order": event.detail["order"]}
    return UpdateTenant(tenant_id=TENANT_ID, changes=changes, create=True)


def consumers(ending: EndingEvent | None = FROZEN) -> Registry:
    registry = Registry()
    registry.include(endings.registry)
    if ending is not None:
        registry.consumer("Freeze tenant", ending=ending)(freeze)
        registry.consumer("Tenant frozen", "Freezing failed")(note)
    return registry


def request(**detail: Any) -> dict[str, Any]:
    own = {"tenantId": TENANT_ID, "order": "o-1", "number": 7, **detail}
    return sample("tenant-provisioning", id="freeze-1", source="control", detail=own) | {"detail-type": "Freeze tenant"}


def sweep(handler: Application) -> Any:
    return outcome(invoke(handler, sample("scheduled-sweep")), "sweep_runs")


@pytest.fixture
def frozen(codebuild: CodeBuildServer) -> Application:
    handler = create_handler(consumers())
    invoke(handler, request())
    return handler


@pytest.mark.parametrize(
    ("status", "event_type", "state"),
    [("SUCCEEDED", "Tenant frozen", "frozen"), ("FAILED", "Freezing failed", "failed")],
)
def test_a_state_change_publishes_the_declared_event(
    frozen: Application, codebuild: CodeBuildServer, aws: Requests, status: str, event_type: str, state: str
) -> None:
    (build,) = codebuild.builds
    codebuild.finish(build, status, DISK="d-1")

    invoke(frozen, state_change(build))

    (entry,) = published(aws)
    assert (entry["DetailType"], entry["Source"]) == (event_type, SOURCE)
    detail = json.loads(entry["Detail"])
    assert {name: detail[name] for name in ("order", "state", "disk")} == {
        "order": "o-1",
        "state": state,
        "disk": {"id": "d-1"},
    }
    reason = [] if status == "SUCCEEDED" else ["reason"]
    assert list(detail) == ["order", "state", "disk", *RUN, "tenant", *reason]


def test_a_sweep_in_another_environment_publishes_the_declared_event(
    frozen: Application, codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    codebuild.finish(codebuild.builds[0], DISK="d-1")
    later(timedelta(minutes=6))

    assert sweep(create_handler(consumers()))["published"] == 1

    (entry,) = published(aws)
    assert (entry["DetailType"], entry["Source"]) == ("Tenant frozen", SOURCE)
    assert json.loads(entry["Detail"])["order"] == "o-1"


def test_a_build_that_is_gone_is_reported_with_what_was_kept(
    frozen: Application, codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    codebuild.builds.clear()
    later(timedelta(days=2))

    sweep(create_handler(consumers()))

    (entry,) = published(aws)
    detail = json.loads(entry["Detail"])
    assert (entry["DetailType"], detail["order"], detail["disk"]) == ("Freezing failed", "o-1", {"id": None})


def test_a_success_that_was_reported_before_the_build_was_deleted_has_its_reason(
    codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    ending = replace(FROZEN, detail=lambda ended: {"succeeded": ended.succeeded, "reason": ended.reason})
    registry = Registry()
    registry.include(endings.registry)
    registry.consumer("Freeze tenant", ending=ending)(freeze)
    handler = create_handler(registry)
    invoke(handler, request())
    variables = {name: codebuild.variables(codebuild.builds[0])[name] for name in RUN}

    @registry.consumer("Tenant frozen")
    def fail(event: Event, context: Context) -> None:
        raise RuntimeError("not now")

    report = sample("tenant-provisioning-success", source=SOURCE, detail=variables) | {"detail-type": "Tenant frozen"}
    with pytest.raises(ConsumerFailed):
        invoke(handler, report)
    codebuild.builds.clear()
    later(timedelta(days=2))
    sweep(handler)

    (entry,) = published(aws)
    detail = json.loads(entry["Detail"])
    assert entry["DetailType"] == "Tenant frozen"
    assert (detail["succeeded"], detail["reason"]) == (True, "an earlier event said that this run succeeded")


def test_a_job_that_cannot_be_started_is_reported_in_the_declared_form(
    codebuild: CodeBuildServer, aws: Requests
) -> None:
    with pytest.raises(Exception, match="no-such-project"):
        invoke(create_handler(consumers()), request(job="no-such-project"))

    (entry,) = published(aws)
    assert (entry["DetailType"], entry["Source"]) == ("Freezing failed", SOURCE)
    detail = json.loads(entry["Detail"])
    assert (detail["order"], detail["state"]) == ("o-1", "failed")
    assert list(detail) == ["tenant", "order", "state", "disk", "reason", "error", *RUN[1:]]


def test_the_declared_event_that_comes_back_ends_the_run(
    frozen: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    codebuild.finish(codebuild.builds[0])
    invoke(frozen, state_change(codebuild.builds[0]))
    (entry,) = published(aws)
    assert len(open_records()) == 1

    first = invoke(frozen, as_event(entry, "one"))
    second = invoke(frozen, as_event(entry, "other"))

    assert (outcome(first, "note")["status"], outcome(second, "note")["status"]) == ("updated", "already updated")
    assert (stored()["status"], stored()["order"]) == ("frozen", "o-1")
    assert open_records() == []


def test_a_failure_to_start_that_comes_back_twice_is_handled_once(codebuild: CodeBuildServer, aws: Requests) -> None:
    handler = create_handler(consumers())
    with pytest.raises(Exception, match="no-such-project"):
        invoke(handler, request(job="no-such-project"))
    (entry,) = published(aws)

    first, second = (invoke(handler, as_event(entry, event_id)) for event_id in ("one", "other"))

    assert (outcome(first, "note")["status"], outcome(second, "note")["status"]) == ("updated", "already updated")


def test_a_copy_from_another_source_does_not_count_as_published_by_the_function(
    frozen: Application, codebuild: CodeBuildServer, aws: Requests
) -> None:
    codebuild.finish(codebuild.builds[0])
    invoke(frozen, state_change(codebuild.builds[0]))
    (entry,) = published(aws)

    invoke(frozen, as_event({**entry, "Source": "somebody.else"}))

    assert len(open_records()) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ORCHESTRATOR_RUN_ID": "unknown"}, "the ledger has no record of that run"),
        ({"tenant": '{"id": "another"}'}, "that run belongs to another tenant"),
    ],
)
def test_a_declared_event_that_contradicts_the_ledger_is_ignored(
    frozen: Application,
    codebuild: CodeBuildServer,
    aws: Requests,
    capsys: pytest.CaptureFixture[str],
    change: Mapping[str, str],
    reason: str,
) -> None:
    codebuild.finish(codebuild.builds[0])
    invoke(frozen, state_change(codebuild.builds[0]))
    event = as_event(published(aws)[0])
    capsys.readouterr()

    assert invoke(frozen, {**event, "detail": {**event["detail"], **change}})["consumers"] == []

    messages = [line["message"] for line in json_lines(capsys.readouterr().out) if line.get("level") == "WARNING"]
    assert messages == [f"Tenant frozen is ignored: {reason}"]


def test_the_default_event_about_a_job_with_a_declared_one_is_ignored(
    frozen: Application, codebuild: CodeBuildServer
) -> None:
    run_id = codebuild.variables(codebuild.builds[0])["ORCHESTRATOR_RUN_ID"]
    event = request(ORCHESTRATOR_RUN_ID=run_id) | {"detail-type": "Freeze tenant_SUCCESS", "id": "forged"}

    assert invoke(frozen, event)["consumers"] == []
    assert len(open_records()) == 1


def test_the_ending_waits_until_its_consumer_is_registered_again(
    frozen: Application, codebuild: CodeBuildServer, aws: Requests, later: Callable[[timedelta], None]
) -> None:
    codebuild.finish(codebuild.builds[0])
    error = "consumer 'freeze', which started it, declares no ending= any more; register that consumer again"

    with pytest.raises(ConfigurationError, match=error):
        invoke(create_handler(consumers(ending=None)), state_change(codebuild.builds[0]))
    later(timedelta(minutes=6))
    assert sweep(create_handler(consumers(ending=None)))["published"] == 0
    assert published(aws) == []

    later(timedelta(minutes=20))
    assert sweep(create_handler(consumers()))["published"] == 1


def test_a_function_that_fails_is_named_without_its_text(codebuild: CodeBuildServer, aws: Requests) -> None:
    def broken(ended: Ended) -> dict[str, Any]:
        raise KeyError(f"secret {ended.variables}")

    handler = create_handler(consumers(EndingEvent(success="Tenant frozen", failure="Freezing failed", detail=broken)))
    invoke(handler, request())
    codebuild.finish(codebuild.builds[0])

    with pytest.raises(ConsumerFailed, match=rf"^ending= of job '{PROJECT}' raised KeyError in broken, test_declared"):
        invoke(handler, state_change(codebuild.builds[0]))

    assert len(open_records()) == 1


def test_only_the_types_can_be_declared(codebuild: CodeBuildServer, aws: Requests) -> None:
    handler = create_handler(consumers(EndingEvent(success="Tenant frozen")))
    invoke(handler, request())
    codebuild.finish(codebuild.builds[0], DISK="d-1")

    invoke(handler, state_change(codebuild.builds[0]))

    (entry,) = published(aws)
    assert (entry["DetailType"], entry["Source"]) == ("Tenant frozen", "saas.tenant.provisioning.codebuild")
    assert json.loads(entry["Detail"])["DISK"] == "d-1"
