"""Logs and metrics of an event, in the form that CloudWatch receives."""

import logging
import os
import subprocess
import sys
import threading

import pytest

from orchestrator import Application, Event, OrchestratorError, Registry, create_handler, telemetry
from tests.support.events import changed, invoke, json_lines, sample

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


def test_an_event_is_logged_in_one_line_with_its_identity(
    handler: Application, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", TRACE)
    event = sample("tenant-provisioning")

    answer = invoke(handler, event)

    (line,) = [line for line in json_lines(capsys.readouterr().out) if "_aws" not in line]
    assert line["level"] == "INFO"
    assert line["message"] == "event handled"
    assert line["service"] == "orchestrator"
    assert line["correlation_id"] == event["id"]
    assert line["event_type"] == "TENANT_PROVISIONING"
    assert line["xray_trace_id"] == "1-5759e988-bd862e3fe1be46a994272793"
    assert line["consumers"][0]["outcomes"] == answer["consumers"][0]["outcomes"]


def test_an_event_is_counted_by_type_and_its_jobs_by_builder(
    handler: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(handler, sample("tenant-provisioning"))

    metrics = {
        definition["Metrics"][0]["Name"]: line
        for line in json_lines(capsys.readouterr().out)
        for definition in line.get("_aws", {}).get("CloudWatchMetrics", [])
    }
    assert set(metrics) == {"EventHandled", "JobStarted"}
    assert metrics["EventHandled"]["event_type"] == "TENANT_PROVISIONING"
    assert metrics["JobStarted"]["builder"] == "CODE_BUILD"
    for line in metrics.values():
        (definition,) = line["_aws"]["CloudWatchMetrics"]
        assert definition["Namespace"] == "Orchestrator"
        assert "service" in definition["Dimensions"][0]


@pytest.mark.usefixtures("side_by_side")
def test_no_secret_and_no_contact_is_logged(handler: Application, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("tenant-provisioning", "tenant-provisioning-subscription", "tenant-provisioning-success"):
        invoke(handler, sample(name))

    output = capsys.readouterr().out
    for secret in ("example-callback-secret", "example-client-secret", "zoe.mueller", "Acme Robotics"):
        assert secret not in output


def test_log_lines_of_consumers_in_threads_carry_the_events_id(capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry()
    together = threading.Barrier(2, timeout=10)

    def log(event: Event) -> None:
        together.wait()
        telemetry.logger.info("working")

    registry.consumer("A", name="a")(log)
    registry.consumer("A", name="b")(log)

    invoke(create_handler(registry), sample("tenant-provisioning", id="event-1") | {"detail-type": "A"})

    lines = [line for line in json_lines(capsys.readouterr().out) if line.get("message") == "working"]
    assert [line["correlation_id"] for line in lines] == ["event-1", "event-1"]


@pytest.mark.usefixtures("side_by_side")
def test_log_keys_of_one_event_are_not_kept_for_the_next(
    handler: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(handler, sample("tenant-provisioning", id="one") | {"replay-name": "again"})
    invoke(handler, sample("tenant-provisioning", id="two"))

    first, second = (line for line in json_lines(capsys.readouterr().out) if "_aws" not in line)
    assert (first["correlation_id"], first["replay_name"]) == ("one", "again")
    assert second["correlation_id"] == "two"
    assert "replay_name" not in second


def test_the_log_keeps_following_stdout() -> None:
    (handler,) = telemetry.logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    with pytest.raises(AttributeError):
        handler.stream = sys.stderr


def test_a_long_dimension_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.count("EventHandled", {"event_type": "x" * 5000})

    (metric,) = json_lines(capsys.readouterr().out)
    assert metric["event_type"] == "x" * 255


def test_an_invalid_log_level_does_not_stop_the_function_from_starting() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import orchestrator"],
        capture_output=True,
        check=True,
        env={**os.environ, "POWERTOOLS_LOG_LEVEL": "LOUD"},
        text=True,
    )
    assert "POWERTOOLS_LOG_LEVEL is not a log level; correct it (INFO is used" in done.stdout


def test_the_template_log_level_applies_besides_lambdas_own() -> None:
    code = "from orchestrator import telemetry; telemetry.logger.info('quiet'); telemetry.logger.error('loud')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={**os.environ, "AWS_LAMBDA_LOG_LEVEL": "INFO", "POWERTOOLS_LOG_LEVEL": "ERROR"},
        text=True,
    )

    assert [line["message"] for line in json_lines(done.stdout)] == ["loud"]


def test_every_failed_event_is_counted_for_the_alarm(handler: Application, capsys: pytest.CaptureFixture[str]) -> None:
    for event in ({"no": "event"}, changed(sample("tenant-provisioning"), "detail.planConfig.tier", "GOLD")):
        with pytest.raises(OrchestratorError):
            invoke(handler, event)
        counted = [line for line in json_lines(capsys.readouterr().out) if "FailedEvents" in line]
        assert [(line["FailedEvents"], line["service"]) for line in counted] == [([1.0], "orchestrator")]
        assert counted[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]


@pytest.mark.parametrize(
    ("message", "expected"),
    [('{"step": 1}', {"step": 1}), ("[1]", [1]), ("{step", "{step"), ("17", "17"), ("working", "working")],
)
def test_a_message_that_is_a_json_document_is_logged_as_json(
    message: str, expected: object, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry.logger.info(message)

    (line,) = json_lines(capsys.readouterr().out)
    assert line["message"] == expected
