"""Measures a warm event with an empty consumer, against alternatives and with growing numbers of consumers.

    python -m tests.benchmarks.warm [--rounds 15] [--json FILE]

The handlers take turns in one process and discard logs and metrics, so that only their own work is measured.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import parse
from aws_lambda_powertools.utilities.parser.models import EventBridgeModel

from orchestrator import Event, Registry, create_handler
from orchestrator.local.lambda_context import LocalContext
from tests.benchmarks.progress import rounds
from tests.support.lambda_runtime import ROOT

_TYPE = "TENANT_PROVISIONING"
Handler = Callable[[Any, Any], Any]


def provisioning() -> dict[str, Any]:
    event: dict[str, Any] = json.loads((ROOT / "events" / "tenant-provisioning.json").read_text(encoding="utf-8"))
    return event


def ours(consumers: int = 1) -> Handler:
    """Our handler with empty consumers, one of them for the event."""
    registry = Registry()

    def nothing(event: Event) -> None:
        return None

    for number in range(consumers - 1):
        registry.consumer(f"OTHER_{number}", name=f"other_{number}")(nothing)
    registry.consumer(_TYPE)(nothing)
    return create_handler(registry)


def floor() -> Handler:
    """Only Parser, Logger and Metrics of Powertools, which every function of this kind needs."""
    logger, metrics = Logger(service="floor"), Metrics(service="floor", namespace="Floor")

    @metrics.log_metrics
    def lambda_handler(event: Any, context: Any) -> dict[str, str]:
        model = parse(event=event, model=EventBridgeModel)
        metrics.add_metric(name="EventHandled", unit=MetricUnit.Count, value=1)
        logger.info("event handled", event_id=model.id, event_type=model.detail_type)
        return {"eventId": model.id}

    return lambda_handler


def by_hand() -> Handler:
    """The same libraries and a chain of if and elif."""
    logger, metrics = Logger(service="hand"), Metrics(service="hand", namespace="Hand")

    @metrics.log_metrics
    def lambda_handler(event: Any, context: Any) -> dict[str, str]:
        model = parse(event=event, model=EventBridgeModel)
        logger.append_keys(correlation_id=model.id, event_type=model.detail_type)
        if model.detail_type == "TENANT_DEPROVISIONING":
            outcome = "deprovisioned"
        elif model.detail_type == "TENANT_DEPLOYMENT":
            outcome = "deployed"
        elif model.detail_type == _TYPE:
            outcome = "nothing"
        else:
            outcome = "unknown"
        metrics.add_dimension(name="event_type", value=model.detail_type)
        metrics.add_metric(name="EventHandled", unit=MetricUnit.Count, value=1)
        logger.info("event handled", outcome=outcome)
        return {"eventId": model.id, "outcome": outcome}

    return lambda_handler


def router(event: Any) -> tuple[Handler, Any]:
    """Powertools' HTTP router, with the event as a request's body."""
    app, logger = APIGatewayRestResolver(), Logger(service="router")
    metrics = Metrics(service="router", namespace="Router")

    @app.post("/events")
    def take() -> dict[str, str]:
        model = parse(event=app.current_event.json_body, model=EventBridgeModel)
        metrics.add_metric(name="EventHandled", unit=MetricUnit.Count, value=1)
        logger.info("event handled", event_type=model.detail_type)
        return {"eventId": model.id}

    @metrics.log_metrics
    def lambda_handler(event: Any, context: Any) -> Any:
        return app.resolve(event, context)

    request = {
        "resource": "/events",
        "path": "/events",
        "httpMethod": "POST",
        "headers": {"Content-Type": "application/json"},
        "requestContext": {"stage": "prod"},
        "body": json.dumps(event),
    }
    return lambda_handler, request


def sized(kilobytes: int) -> dict[str, Any]:
    """The sample event with a detail of this size."""
    rows: list[dict[str, Any]] = []
    event = {**provisioning(), "detail": {"rows": rows}}
    row = {"name": "a row of the detail", "on": True, "size": 1}
    rows.extend({**row, "size": number} for number in range(kilobytes * 1024 // (len(json.dumps(row)) + 4)))
    return event


def waiting(consumers: int) -> Handler:
    """Our handler with several consumers of one type that each wait for 100 ms."""
    registry = Registry()

    def wait(event: Event) -> None:
        time.sleep(0.1)

    for number in range(consumers):
        registry.consumer(_TYPE, name=f"wait_{number}")(wait)
    return create_handler(registry)


def batch(events: Sequence[Any]) -> dict[str, Any]:
    """A batch of SQS messages, one for each event."""
    record = {
        "receiptHandle": "x",
        "attributes": {"SentTimestamp": str(round(time.time() * 1000)), "ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:buffer",
        "awsRegion": "eu-west-1",
    }
    return {
        "Records": [
            {**record, "messageId": str(number), "body": json.dumps(event)} for number, event in enumerate(events)
        ]
    }


def microseconds(handler: Handler, event: Any, least: float = 0.02) -> float:
    """Call a handler for at least `least` seconds; return the microseconds of one call."""
    context, calls = LocalContext(), 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < least:
        handler(event, context)
        calls += 1
    return elapsed / calls * 1e6


def copies(handler: Handler, event: Any) -> float:
    """Handle an event; return the peak memory of this, in multiples of the detail's size."""
    handler(event, LocalContext())
    tracemalloc.start()
    handler(event, LocalContext())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / len(json.dumps(event["detail"]))


def groups() -> dict[str, dict[str, tuple[Handler, Any]]]:
    """Return the handlers to compare, by group; the first of each group is the reference."""
    event, plain = provisioning(), ours()
    routed, request = router(event)
    return {
        "a consumer that does nothing": {
            "parser + logger + metrics (the floor)": (floor(), event),
            "ours": (plain, event),
            "the same by hand, if and elif": (by_hand(), event),
            "APIGatewayRestResolver": (routed, request),
        },
        "ours, registered consumers": {f"{number:,}": (ours(number), event) for number in (10, 100, 1000, 10_000)},
        "ours, detail in KB": {str(size): (plain, sized(size)) for size in (1, 10, 100, 250)},
        "ours, consumers that each wait 100 ms": {str(number): (waiting(number), event) for number in (1, 5, 20)},
        "ours, batches of messages": {str(size): (plain, batch([event] * size)) for size in (1, 10, 100)},
        "ours, batches of messages that wait 100 ms": {
            str(size): (waiting(1), batch([event] * size)) for size in (10, 100)
        },
    }


def measured(group: str, subjects: Mapping[str, tuple[Handler, Any]], count: int) -> dict[str, float]:
    """Let the subjects of a group take turns, and return the median of each."""
    taken: dict[str, list[float]] = {}
    for _ in rounds(f"warm: {group}", count + 1):
        for name, (handler, event) in subjects.items():
            taken.setdefault(name, []).append(microseconds(handler, event))
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write JSON with `--json`."""
    parser = argparse.ArgumentParser(description="Measure warm events.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    os.environ.setdefault("AWS_REGION", "eu-west-1")
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        medians = {group: measured(group, subjects, options.rounds) for group, subjects in groups().items()}
        memory = copies(ours(), sized(250))
    for group, times in medians.items():
        print(f"{group:<44}{'µs':>10}{'/ first':>9}")
        first = next(iter(times.values()))
        for name, time_ in times.items():
            print(f"  {name:<42}{time_:>10,.0f}{time_ / first:>9.2f}")
    print(f"memory of an event with a detail of 250 KB: {memory:.2f} times its size")
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"{options.rounds} rounds in turns; {machine}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"microseconds": medians, "copies": memory}, indent=2))


if __name__ == "__main__":
    main()
