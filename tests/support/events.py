"""Builds events as Lambda receives them, and calls a handler as Lambda does."""

import copy
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.local.lambda_context import LocalContext
from tests.support.aws import ACCOUNT_ID, REGION

EVENTS = Path(__file__).parents[2] / "events"


SAMPLES = sorted(EVENTS.glob("tenant-*.json"))


def as_event(entry: Mapping[str, Any], event_id: str = "published") -> dict[str, Any]:
    """Convert a published entry to the event that a rule sends."""
    return {
        "version": "0",
        "id": event_id,
        "detail-type": entry["DetailType"],
        "source": entry["Source"],
        "account": ACCOUNT_ID,
        "time": datetime.fromtimestamp(int(entry["Time"]), UTC).isoformat(),
        "region": REGION,
        "resources": entry["Resources"],
        "detail": json.loads(entry["Detail"]),
    }


def state_change(build: Mapping[str, Any]) -> dict[str, Any]:
    """Create the event that CodeBuild publishes when a build changes its state."""
    return sample(
        "codebuild-build-state-change",
        id=f"{build['id']} {build['buildStatus']}",
        detail={
            "build-status": build["buildStatus"],
            "project-name": build["projectName"],
            "build-id": build["arn"],
            "additional-information": {
                "environment": {"environment-variables": build["environment"]["environmentVariables"]}
            },
        },
    )


def sample(name: str, **changes: Any) -> dict[str, Any]:
    """Read a sample event, with the current time and with these top-level fields replaced."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {**json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8")), "time": now, **changes}


def changed(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Copy an event and replace the value at a dotted path; `...` removes it."""
    event = copy.deepcopy(event)
    *parents, last = path.split(".")
    target: Any = event
    for part in parents:
        target = target[int(part) if isinstance(target, list) else part]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return event


def invoke(handler: Callable[[Any, Any], Any], event: Any) -> Any:
    """Call a handler as Lambda does: the event and the answer pass through JSON."""
    answer = handler(json.loads(json.dumps(event)), LocalContext())
    assert json.loads(json.dumps(answer)) == answer
    return answer


def json_lines(text: str) -> list[dict[str, Any]]:
    """Parse the lines of a log that are JSON objects."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
