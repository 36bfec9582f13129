"""Events as Lambda gets them, and how it calls a handler."""

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
    """Make what a rule sends of what was published."""
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
    """Make what CodeBuild tells the default bus of a build."""
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
    """Read a sample event that happens now, with some of its top-level fields changed."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {**json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8")), "time": now, **changes}


def changed(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Copy an event with the value at a dotted path replaced, or removed where the value is `...`."""
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
    """Call a handler as Lambda does: with JSON in, and an answer that must be JSON."""
    answer = handler(json.loads(json.dumps(event)), LocalContext())
    assert json.loads(json.dumps(answer)) == answer
    return answer


def json_lines(text: str) -> list[dict[str, Any]]:
    """Read what was logged."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
