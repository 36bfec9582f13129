"""The command line, on a terminal and in scripts."""

import io
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from orchestrator import telemetry
from orchestrator.cli.main import main
from orchestrator.local.codebuild import CodeBuildServer
from tests.support.events import EVENTS, changed, sample

OWN_HANDLER = """
from orchestrator import Event, Registry, StartJob, create_handler

registry = Registry()

@registry.consumer("TENANT_SUSPENDED")
def scale_down(event: Event) -> StartJob:
    return StartJob(name="basic-tenant-provisioning", variables={"tenant": event.detail["id"]})

lambda_handler = create_handler(registry)
not_a_handler = 7
"""

FAILING = """
@registry.consumer("TENANT_SUSPENDED")
def fail(event: Event) -> None:
    raise KeyError("do-not-tell")
"""

MOVING = """
from orchestrator.lifecycle import registry as lifecycle

registry.include(lifecycle)

@registry.consumer("TENANT_MOVED", when=lambda event: event.detail["region"] == "eu")
def move(event: Event) -> None:
    return None
"""

PROVISIONING = str(EVENTS / "tenant-provisioning.json")
UNKNOWN_RUN = {"tenantId": "t1", "region": "us", "ORCHESTRATOR_RUN_ID": "0" * 32}


@pytest.fixture(autouse=True)
def _fresh_handler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    for module in ("orchestrator.handler", "own", "broken"):
        monkeypatch.delitem(sys.modules, module, raising=False)


@pytest.fixture
def own_handler(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(OWN_HANDLER)
    return "own:lambda_handler"


@pytest.fixture
def own_event(tmp_path: Path) -> str:
    file = tmp_path / "suspended.json"
    file.write_text(
        json.dumps(sample("tenant-provisioning") | {"detail-type": "TENANT_SUSPENDED", "detail": {"id": "t1"}})
    )
    return str(file)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def run_on_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command with a terminal, which knows no colours, as standard output and standard error."""

    def run_on_terminal(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setenv("TERM", "dumb")
        return run(*arguments)

    return run_on_terminal


def started(answer: str) -> dict[str, Any]:
    (consumer,) = json.loads(answer)["consumers"]
    outcome: dict[str, Any] = consumer["outcomes"][-1]
    return outcome


def test_the_installed_command_runs_an_event() -> None:
    command = Path(sys.executable).with_name("orchestrator")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}

    done = subprocess.run(
        [command, "invoke", EVENTS / "tenant-provisioning.json"],
        capture_output=True,
        check=True,
        env=environment,
        text=True,
    )

    assert started(done.stdout)["name"] == "premium-tenant-provisioning"
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_stdout_has_only_the_answer(run: Run) -> None:
    code, out, err = run("invoke", str(EVENTS / "tenant-provisioning.json"))

    assert (code, err) == (0, "")
    assert started(out)["status"] == "started"


def test_on_a_terminal_a_summary_takes_the_place_of_the_answer(run_on_terminal: Run) -> None:
    code, out, err = run_on_terminal("invoke", PROVISIONING)

    answer_lines = out.splitlines()
    assert (code, err) == (0, "")
    assert answer_lines[:3] == [
        f"event TENANT_PROVISIONING, from {PROVISIONING}",
        "  tenant record saved: 4b1f6c0e-3c1d-4a58-9a55-7d9f0e6a2c11",
        "  job started: CODE_BUILD premium-tenant-provisioning",
    ]
    assert [line.split()[0] for line in answer_lines[3:5]] == ["run", "id"]
    assert answer_lines[5].startswith("    https://eu-west-1.console.aws.amazon.com/")
    assert len(answer_lines) == 6


def test_a_quiet_terminal_gets_the_answer(run_on_terminal: Run) -> None:
    code, out, err = run_on_terminal("invoke", "--quiet", PROVISIONING)

    assert (code, err) == (0, "")
    assert out.startswith('{\n  "eventId": ')


def test_verbose_shows_the_log_and_the_variables_without_a_terminal(run: Run) -> None:
    _, _, err = run("invoke", "-v", PROVISIONING)

    assert '"message":"event handled"' in err
    assert "was requested with 16 variables" in err
    assert "tokenExpirationSeconds   3600" in err
    assert "ORCHESTRATOR_TENANT_ID   4b1f6c0e" in err
    assert "… (6" in err  # the tenant's JSON is cut


def test_quiet_and_verbose_contradict_each_other(run: Run) -> None:
    assert run("invoke", "-q", "-v", PROVISIONING)[0] == 1


def test_a_failure_is_shown_once_beside_what_the_other_consumers_did(
    run_on_terminal: Run, tmp_path: Path, own_event: str
) -> None:
    (tmp_path / "own.py").write_text(OWN_HANDLER + FAILING)

    code, out, err = run_on_terminal("invoke", "--handler", "own:lambda_handler", own_event)

    assert code == 1
    assert "  job started: CODE_BUILD basic-tenant-provisioning" in out
    assert "KeyError" not in out
    assert err.count("KeyError") == err.count("\n") == 1


def test_several_files_are_counted(run_on_terminal: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("[]")
    (tmp_path / "renamed.json").write_text(json.dumps(sample("tenant-provisioning", **{"detail-type": "RENAMED"})))

    _, out, _ = run_on_terminal(
        "invoke", "bad.json", "renamed.json", PROVISIONING, str(EVENTS / "scheduled-sweep.json")
    )

    assert out.splitlines()[-1] == "4 files: 2 handled, 1 failed, 1 not taken"


def test_a_batch_has_its_outcomes_in_the_summary_and_its_failures_are_errors(
    run_on_terminal: Run, tmp_path: Path
) -> None:
    batch = json.loads((EVENTS / "sqs-batch.json").read_text())
    batch["Records"][0]["body"] = "{"
    (tmp_path / "batch.json").write_text(json.dumps(batch))

    code, out, err = run_on_terminal("invoke", "batch.json")

    assert code == 1
    assert "  job started: CODE_BUILD basic-tenant-provisioning" in out
    assert err.startswith("orchestrator: batch.json: InvalidEvent: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark_is_read(run: Run, tmp_path: Path, encoding: str) -> None:
    (tmp_path / "event.json").write_text(json.dumps(sample("tenant-provisioning")), encoding=encoding)

    code, out, _ = run("invoke", "event.json")

    assert (code, started(out)["status"]) == (0, "started")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_standard_input_is_read_in_the_encodings_of_files(
    run: Run, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    event = changed(sample("tenant-provisioning"), "detail.tenant.name", "Müller €")
    content = json.dumps(event, ensure_ascii=False).encode(encoding)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    code, out, _ = run("invoke", "-")

    assert (code, started(out)["status"]) == (0, "started")


@pytest.mark.parametrize(
    ("event_type", "text"),
    [
        ("TENANT_RENAMED", "no consumer takes it: its type 'TENANT_RENAMED' has no consumer"),
        (
            "TENANT_MOVED",
            "no consumer takes it: the condition of move is false (event.detail['region'] == 'eu')",
        ),
        ("TENANT_DEPLOYMENT_SUCCESS", "ignored: the ledger has no record of that run"),
    ],
)
def test_an_event_that_nobody_takes_says_why_and_is_an_error_only_if_strict(
    run: Run, tmp_path: Path, event_type: str, text: str
) -> None:
    (tmp_path / "own.py").write_text(OWN_HANDLER + MOVING)
    event = sample("tenant-deployment-success", **{"detail-type": event_type, "detail": UNKNOWN_RUN})
    (tmp_path / "event.json").write_text(json.dumps(event))
    arguments = ("invoke", "--handler", "own:lambda_handler", "event.json")

    code, out, err = run(*arguments)

    assert (code, json.loads(out)["consumers"]) == (0, [])
    assert err == f"orchestrator: event.json: {text}\n"
    assert run(*arguments, "--strict")[::2] == (1, f"orchestrator: event.json: NoConsumer: {text}\n")
    assert run(*arguments, "--quiet")[2] == ""


def test_why_nobody_takes_an_event_is_said_whatever_the_level_of_the_log(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "event.json").write_text(json.dumps(sample("tenant-provisioning", **{"detail-type": "RENAMED"})))
    level = telemetry.logger.log_level
    telemetry.logger.setLevel("CRITICAL")
    try:
        _, _, err = run("invoke", "-v", "event.json")
        assert telemetry.logger.log_level == logging.CRITICAL
    finally:
        telemetry.logger.setLevel(level)

    assert "no consumer takes it: its type 'RENAMED' has no consumer" in err
    assert '"level"' not in err


def test_the_jenkins_sample_runs_on_an_embedded_jenkins(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JENKINS_URL", "http://real.jenkins.invalid")
    monkeypatch.setenv("JENKINS_CREDENTIALS_SECRET", "real")
    monkeypatch.setenv("JENKINS_CA_BUNDLE", "/not/there.pem")

    code, out, err = run("invoke", "-v", str(EVENTS / "tenant-provisioning-jenkins.json"))

    assert code == 0
    outcome = started(out)
    assert (outcome["status"], outcome["builder"]) == ("started", "JENKINS")
    assert outcome["link"].startswith("http://127.0.0.1:")
    assert "was requested with 16 variables" in err
    assert "instanceSize             xlarge" in err


def test_the_sample_for_step_functions_runs_on_an_embedded_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", "http://real.invalid")

    code, out, err = run("invoke", "-v", str(EVENTS / "tenant-provisioning-step-functions.json"))

    assert code == 0
    outcome = started(out)
    assert (outcome["status"], outcome["builder"]) == ("started", "STEP_FUNCTIONS")
    assert outcome["id"].endswith(f":execution:dedicated-tenant-provisioning:{outcome['runId']}")
    assert "was requested with 14 variables" in err
    assert "STORAGE_GB               1000" in err


def test_the_events_of_a_folder_are_run_one_by_one(run: Run) -> None:
    code, out, _ = run("invoke", str(EVENTS))

    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(answers) == len(list(EVENTS.glob("*.json")))


def test_a_custom_handler_can_be_run(run: Run, own_handler: str, own_event: str) -> None:
    code, out, _ = run("invoke", "--handler", own_handler, own_event)

    assert code == 0
    assert started(out)["name"] == "basic-tenant-provisioning"


def test_a_failed_event_is_reported_in_one_line_and_the_others_still_run(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("[]")

    code, out, err = run("invoke", str(bad), str(EVENTS / "tenant-provisioning.json"))

    (line,) = [line for line in err.splitlines() if line.startswith("orchestrator: ")]
    assert code == 1
    assert line.startswith(f"orchestrator: {bad}: InvalidEvent: event: an empty list is not an EventBridge event")
    assert started(out)["status"] == "started"
    assert "Traceback" not in err


def test_debug_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("[]")

    _, _, err = run("invoke", "--debug", str(bad))

    assert "Traceback (most recent call last)" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not valid JSON: Expecting property name enclosed in double quotes in line 1, column 2"),
        (b"", "is not valid JSON: Expecting value in line 1, column 1"),
        (b'{"a": NaN}', "is not valid JSON: NaN is not a JSON number"),
        (b"\xff", "is neither UTF-8 text nor UTF-16 with a byte-order mark"),
        (b"\xff\xfe\x00", "is neither UTF-8 text nor UTF-16 with a byte-order mark"),
    ],
)
def test_a_file_that_is_not_json_is_named(run: Run, tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "event.json"
    file.write_bytes(content)

    code, out, err = run("invoke", str(file))

    assert (code, out) == (1, "")
    assert err == f"orchestrator: {file}: InvalidEvent: {message}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("invoke", "absent.json"), "absent.json: InvalidEvent: cannot be read: No such file or directory"),
        (("invoke", "."), "InvalidEvent: .: contains no .json file; name a file or a folder with events"),
        (("routes", "--handler", "own"), "ConfigurationError: --handler own: write it as module:name"),
        (("routes", "--handler", "absent:x"), "ConfigurationError: --handler absent:x: module absent does not exist"),
        (("routes", "--handler", "json:x"), "module 'json' has no attribute 'x'"),
        (("routes", "--handler", "json:loads"), "has no registry; create the handler with create_handler(registry)"),
        (("invoke", "--endpoint-url", "localhost", "x.json"), "--endpoint-url 'localhost' is not an http(s) URL"),
    ],
)
def test_a_wrong_argument_is_reported_in_one_line(run: Run, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = run(*arguments)

    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("text", ["raise KeyError('x')", "def", "import orchestrator.absent"])
def test_a_handler_that_cannot_be_imported_is_reported_in_one_line(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.py").write_text(text)

    code, _, err = run("routes", "--handler", "broken:lambda_handler")

    assert code == 1
    assert err.startswith("orchestrator: ConfigurationError: --handler broken:lambda_handler: ")
    assert err.count("\n") == 1


def test_a_running_emulator_is_used(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        url = f"http://{host}:{port}"
        first = run("invoke", "--endpoint-url", url, str(EVENTS / "tenant-provisioning.json"))
        sys.modules.pop("orchestrator.handler", None)
        again = run("invoke", "--endpoint-url", url, str(EVENTS / "tenant-provisioning.json"))
    finally:
        server.stop()

    assert (first[0], again[0]) == (0, 0)
    assert started(first[1])["name"] == "premium-tenant-provisioning"


def free_port(host: str) -> int:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as server:
        port: int = server.getsockname()[1]
    return port


def has_ipv6() -> bool:
    try:
        return bool(free_port("::1"))
    except OSError:
        return False


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        pytest.param("::", "[::1]", marks=pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")),
    ],
)
def test_an_emulator_runs_until_it_is_interrupted_and_works_with_the_samples(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str, shown: str
) -> None:
    for name in ("AWS_REGION", "DYNAMO_DB_REGION", "TIER_DETAILS_TABLE"):
        monkeypatch.setenv(name, "eu-west-2")
    found: dict[str, list[str]] = {}

    class Interrupted:
        def wait(self) -> None:
            found["words"] = capsys.readouterr().out.split()
            url = found["words"][4]
            found["tables"] = boto3.client("dynamodb", "us-east-1", endpoint_url=url).list_tables()["TableNames"]
            found["projects"] = boto3.client("codebuild", "us-east-1", endpoint_url=url).list_projects()["projects"]
            raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.cli.emulate.threading", SimpleNamespace(Event=Interrupted))

    code, _, err = run("emulate", "--host", host, "--port", str(free_port(host)))

    assert (code, err) == (130, "")
    assert " ".join(found["words"]).startswith(f"AWS is emulated at http://{shown}:")
    assert {"idempotency-records", "tenant-records", "tier-details"} <= set(found["tables"])
    assert "premium-tenant-provisioning" in found["projects"]


def test_an_emulator_that_cannot_listen_is_reported_in_one_line(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, err = run("emulate", "--host", "127.0.0.1", "--port", port)

    assert (code, out) == (1, "")
    assert err.startswith(f"orchestrator: ConfigurationError: cannot listen on 127.0.0.1:{port} (")
    assert err.count("\n") == 1


def test_the_callers_environment_is_restored(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    before = dict(os.environ)

    code, _, _ = run("invoke", str(EVENTS / "tenant-provisioning.json"))

    assert code == 0
    assert dict(os.environ) == before


def test_values_of_a_real_account_are_not_shown(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps(sample("tenant-provisioning")))
    with CodeBuildServer(["PREMIUM-job"]) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", server.url)
        code, _, err = run("invoke", "--aws", "--yes", "-v", str(event))

    assert code == 0
    assert "secret                   …" in err
    assert "example-callback-secret" not in err


def test_control_characters_in_a_value_are_escaped(run: Run, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    override = "detail.builderConfig.config.environmentOverride.note"
    event.write_text(json.dumps(changed(sample("tenant-provisioning"), override, "a\x1b[2J\nb")))

    _, _, err = run("invoke", "-v", str(event))

    assert "note                     a\\x1b[2J\\nb" in err


def test_a_number_that_cannot_be_read_is_reported_with_its_place(run: Run, tmp_path: Path) -> None:
    event = changed(sample("tenant-provisioning"), "detail.appConfig", "LONG")
    (tmp_path / "event.json").write_text(json.dumps(event).replace('"LONG"', "9" * 5000))

    code, out, err = run("invoke", "event.json")

    assert (code, out) == (1, "")
    assert "InvalidEvent: event: detail.appConfig is a number of more than 4,300 digits" in err.splitlines()[-1]


def test_json_that_cannot_be_read_is_reported_in_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text("[" * 100_000)

    code, out, err = run("invoke", "event.json")

    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("orchestrator: event.json: InvalidEvent: cannot be read as JSON (")


@pytest.mark.parametrize("url", ["http://", "http://[bad", "http://h:99999", "localhost:5000", "ftp://h"])
def test_an_invalid_address_of_an_emulator_is_reported_in_one_line(run: Run, url: str) -> None:
    code, out, err = run("invoke", "--endpoint-url", url, str(EVENTS / "tenant-provisioning.json"))

    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "is not an http(s) URL; write it as http://HOST:PORT" in err


def test_the_real_account_is_used_only_on_request(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    code, out, err = run("invoke", "--aws", "--yes", "-v", str(EVENTS / "tenant-provisioning.json"))

    assert (code, out) == (1, "")
    assert "NoCredentialsError; set AWS_PROFILE, or give the function a role" in err


def test_routes_are_a_table_json_or_a_diagram(run: Run, own_handler: str) -> None:
    assert "start_provisioning_job" in run("routes")[1]
    entries = json.loads(run("routes", "--handler", own_handler, "--json")[1])
    assert entries == [
        {
            "eventType": "TENANT_SUSPENDED",
            "consumer": "scale_down",
            "condition": None,
            "function": "own:scale_down",
            "leadsTo": [],
        }
    ]
    assert run("routes", "--handler", "own:registry", "--mermaid")[1].startswith("flowchart LR")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])

    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("orchestrator 0.")


def test_a_closed_pipe_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())

    assert main(["routes"]) == 1


def test_without_moto_the_error_names_the_remedy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moto", None)

    code, _, err = run("invoke", str(EVENTS / "tenant-provisioning.json"))

    assert code == 1
    assert "pip install 'tenant-orchestrator[local]'" in err
