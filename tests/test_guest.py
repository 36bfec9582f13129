"""The package leaves its host's logging, metrics, event loop and warnings unchanged."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

from orchestrator import Application, Context, Event, Registry, create_handler, telemetry
from tests.support.aws import Requests
from tests.support.events import EVENTS, invoke, json_lines, sample

# Each of these is in a sample event, in the emulated AWS, or opens the emulated Jenkins.
SECRETS = (
    "example-callback-secret",
    "example-callback-context",
    "example-client-secret",
    "an-api-token-of-no-worth",
    "zoe.mueller",
    "Acme Robotics",
    "1 Example Street",
    "/webhook",
)


def host(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a host program in which warnings are errors; its `handle` calls a handler with one consumer."""
    program = f"""
import asyncio, json, logging, logging.config, sys
from pathlib import Path

def handle(consumer=lambda event: None):
    from orchestrator import Registry, create_handler
    from orchestrator.local.lambda_context import LocalContext
    registry = Registry()
    registry.consumer("TENANT_PROVISIONING", name="theirs")(consumer)
    event = json.loads(Path({str(EVENTS / "tenant-provisioning.json")!r}).read_text())
    create_handler(registry)(event, LocalContext())

{code}
"""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_powertools_decorators_accept_the_handler() -> None:
    """Decorators that accept only functions, such as `event_source`, can wrap a function that calls the handler."""
    done = host(
        "from aws_lambda_powertools import Logger\n"
        "from aws_lambda_powertools.middleware_factory import lambda_handler_decorator\n"
        "from orchestrator import Registry, create_handler\n"
        "from orchestrator.local.lambda_context import LocalContext\n"
        "@lambda_handler_decorator\n"
        "def middleware(handler, event, context):\n"
        "    return handler(event, context)\n"
        "application = create_handler(Registry())\n"
        "@middleware\n"
        "def wrapped(event, context):\n"
        "    return application(event, context)\n"
        "decorated = Logger(service='theirs').inject_lambda_context(application)\n"
        f"event = json.loads(Path({str(EVENTS / 'tenant-provisioning.json')!r}).read_text())\n"
        "answers = [handler(event, LocalContext())['consumers'] for handler in (wrapped, decorated)]\n"
        "assert answers == [[], []]"
    )

    assert done.returncode == 0, done.stderr


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return json_lines(done.stdout)


# A host's Logger.


def test_a_logger_of_the_same_service_may_be_made_before_ours() -> None:
    done = host("""
from aws_lambda_powertools import Logger
theirs = Logger(service="orchestrator", level="WARNING")
handle()
theirs.warning("theirs")
""")

    logged = [line for line in lines(done) if "message" in line]
    assert [line["message"] for line in logged] == ["event handled", "theirs"]
    assert "correlation_id" in logged[0]
    assert "correlation_id" not in logged[1]


def test_a_logger_of_the_same_service_may_be_made_after_ours(
    handler: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = Logger(service=telemetry.SERVICE, stream=sys.stdout, level="WARNING", utc=True)

    invoke(handler, sample("tenant-provisioning"))
    theirs.info("too quiet")
    theirs.warning("theirs")

    messages = [line["message"] for line in json_lines(capsys.readouterr().out) if "message" in line]
    assert messages == ["event handled", "theirs"]


def test_keys_of_a_hosts_logger_stay_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    theirs = Logger(service="theirs", stream=sys.stdout)
    registry = Registry()
    registry.consumer("A", name="a")(lambda event: theirs.info("within"))
    theirs.thread_safe_append_keys(correlation_id="of-the-host")

    invoke(create_handler(registry), sample("tenant-provisioning") | {"detail-type": "A"})
    theirs.info("after")
    theirs.thread_safe_clear_keys()

    found = [line for line in json_lines(capsys.readouterr().out) if line.get("service") == "theirs"]
    assert [line["correlation_id"] for line in found] == ["of-the-host", "of-the-host"]


def test_a_hosts_lines_do_not_get_our_fields() -> None:
    done = host("""
logging.basicConfig(stream=sys.stdout, format='{"logger": "%(name)s"}', level=logging.INFO)
handle()
for name in ("my_orchestrator.consumers", "orchestrator", "orchestrator.theirs"):
    logging.getLogger(name).info("theirs")
""")

    assert [line["logger"] for line in lines(done) if "logger" in line] == [
        "my_orchestrator.consumers",
        "orchestrator",
        "orchestrator.theirs",
    ]


def test_a_host_that_disables_existing_loggers_does_not_silence_ours() -> None:
    done = host("""
import orchestrator.handler
logging.config.dictConfig({"version": 1, "disable_existing_loggers": True})
handle()
""")

    assert "event handled" in [line.get("message") for line in lines(done)]


def test_a_changed_log_level_applies_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    logger = telemetry.logger
    logger.debug("too quiet")
    try:
        logger.setLevel("DEBUG")
        logger.debug("loud enough")
        logging.disable(logging.CRITICAL)
        logger.error("disabled")
    finally:
        logging.disable(logging.NOTSET)
        logger.setLevel("INFO")
    logger.error("enabled again")

    assert [line["message"] for line in json_lines(capsys.readouterr().out)] == ["loud enough", "enabled again"]


# Logs of the libraries that the package uses.


def test_no_secret_is_logged_even_if_the_host_logs_everything() -> None:
    done = host(f"""
from orchestrator.local import environment
with environment.embedded():
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)
    from orchestrator.handler import lambda_handler
    from orchestrator.local.lambda_context import LocalContext
    for name in ("tenant-provisioning", "tenant-provisioning-jenkins", "tenant-deployment", "scheduled-sweep"):
        lambda_handler(json.loads(Path({str(EVENTS)!r}, name + ".json").read_text()), LocalContext())
""")

    assert "event handled" in [line.get("message") for line in lines(done)]
    assert "DEBUG:" in done.stderr  # otherwise the test would prove nothing
    assert [secret for secret in SECRETS if secret in done.stdout + done.stderr] == []


CALLBACK = """
import threading
from orchestrator import Registry, SendCallback, create_handler
from orchestrator.local.control_plane import ControlPlane
from orchestrator.local.lambda_context import LocalContext

logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)
plane = ControlPlane("key", "").__enter__()
registry = Registry()

@registry.consumer("TENANT_SUSPENDED")
def tell(event):
    return SendCallback(url=plane.url, body={}, secret="key")

def suspended(name):
    return {"version": "0", "id": name, "detail-type": "TENANT_SUSPENDED", "source": "me", "account": "1",
            "time": "2026-11-24T09:00:00Z", "region": "eu-west-1", "resources": [], "detail": {}}
"""


def test_the_address_of_a_callback_is_not_logged_by_a_cold_function() -> None:
    done = host(
        CALLBACK + "create_handler(registry)(suspended('1'), LocalContext())", CALLBACK_ALLOWED_HOSTS="127.0.0.1"
    )

    assert "event handled" in [line.get("message") for line in lines(done)]
    assert "/webhook" not in done.stderr


def test_the_address_of_a_callback_is_not_logged_by_the_threads_of_a_batch() -> None:
    code = """
records = [{"messageId": str(n), "receiptHandle": "x", "body": json.dumps(suspended(str(n))), "attributes": {},
            "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "eu-west-1",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:q"} for n in range(8)]
create_handler(registry)({"Records": records}, LocalContext())
"""
    done = host(CALLBACK + code, CALLBACK_ALLOWED_HOSTS="127.0.0.1")

    assert [line["message"] for line in lines(done) if line.get("level") == "INFO"] == ["event handled"] * 8
    assert "/webhook" not in done.stderr


def test_no_request_is_logged_by_a_thread_that_a_consumer_starts(
    aws: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry()

    @registry.consumer("A")
    def look(event: Event, context: Context) -> None:
        thread = threading.Thread(target=context.tiers.get, args=["PREMIUM"])
        thread.start()
        thread.join()

    with caplog.at_level(logging.DEBUG):
        invoke(create_handler(registry), sample("tenant-provisioning") | {"detail-type": "A"})

    assert "GetItem" in aws.operations
    assert "Sending http request" not in caplog.text


def test_the_loggers_that_boto3_creates_when_a_consumer_imports_it_are_filtered() -> None:
    code = """
import logging
from orchestrator import telemetry
with telemetry.quiet_libraries:
    import boto3
    loggers = logging.root.manager.loggerDict.values()
    created = [one for one in loggers if isinstance(one, logging.Logger) and one.name.startswith("boto3.")]
    print(len(created), [one.name for one in created if telemetry.quiet_libraries not in one.filters])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "5 []\n"


def test_requests_of_the_host_are_logged_as_before(handler: Application, caplog: pytest.LogCaptureFixture) -> None:
    import boto3

    invoke(handler, sample("tenant-provisioning"))
    with caplog.at_level(logging.DEBUG):
        boto3.client("dynamodb").list_tables()

    assert "botocore.endpoint" in {record.name for record in caplog.records}


def test_the_levels_of_other_loggers_stay_as_they_were() -> None:
    done = host("""
handle()
print(json.dumps({name: logging.getLogger(name).level for name in ("", "urllib3", "botocore")}))
""")

    assert lines(done)[-1] == {"": logging.WARNING, "urllib3": logging.NOTSET, "botocore": logging.NOTSET}


# A host's event loop.


def test_after_an_async_consumer_the_host_still_has_its_event_loop() -> None:
    done = host("""
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)

async def later(event):
    await asyncio.sleep(0)

handle(later)
assert asyncio.get_event_loop() is loop
loop.close()

async def leaves_a_task(event):
    tasks.append(asyncio.create_task(asyncio.sleep(60)))

tasks = []
handle(leaves_a_task)
""")

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


# A host's metrics and warnings.


def test_metrics_of_the_host_are_not_mixed_with_ours(handler: Application, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = Metrics(namespace="Theirs", service="theirs")
    theirs.add_metric(name="Orders", unit=MetricUnit.Count, value=3)
    theirs.add_dimension(name="shop", value="one")

    invoke(handler, sample("tenant-provisioning"))
    theirs.flush_metrics()

    counted = [line for line in json_lines(capsys.readouterr().out) if "_aws" in line]
    by_namespace: dict[str, list[Mapping[str, Any]]] = {}
    for line in counted:
        by_namespace.setdefault(line["_aws"]["CloudWatchMetrics"][0]["Namespace"], []).append(line)
    (orders,) = by_namespace["Theirs"]
    assert (orders["Orders"], orders["shop"]) == ([3.0], "one")
    assert all("shop" not in line and "Orders" not in line for line in by_namespace["Orchestrator"])


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "ERROR"])
def test_different_log_levels_cause_no_warning(level: str) -> None:
    done = host(
        "from orchestrator.handler import lambda_handler", AWS_LAMBDA_LOG_LEVEL="INFO", POWERTOOLS_LOG_LEVEL=level
    )

    assert (done.returncode, done.stderr) == (0, "")
