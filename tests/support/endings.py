"""Helpers for tests of endings: started builds, their reports and their open records."""

import contextlib
import io
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import boto3

from orchestrator import Application
from orchestrator.local import sandbox
from orchestrator.local.codebuild import CodeBuildServer
from tests.support.aws import Requests, stored
from tests.support.events import invoke, json_lines, sample

PROJECT = "premium-tenant-provisioning"
TENANT_ID = sandbox.TENANT["tenantId"]
SECRET = "do-not-tell"
HOUR = timedelta(hours=1)


def as_report(codebuild: CodeBuildServer, build: dict[str, Any], event_type: str, **changes: Any) -> dict[str, Any]:
    """Build the event that a buildspec publishes itself; its detail holds the whole environment."""
    own = {
        "HOME": "/root",
        "CODEBUILD_BUILD_ID": build["id"],
        "CODEBUILD_BUILD_SUCCEEDING": "1" if event_type.endswith("_SUCCESS") else "0",
    }
    detail = {**codebuild.variables(build), **own, **changes}
    return sample(
        "tenant-provisioning-success", id=f"by-the-buildspec-{event_type}", **{"detail-type": event_type}, detail=detail
    )


def assert_ignored(handler: Application, aws: Requests, event: dict[str, Any], reason: str) -> None:
    """Deliver a report and check that it is ignored with this reason and changes nothing."""
    before, operations = stored(), len(aws)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        answer = invoke(handler, event)
    assert answer["consumers"] == []
    assert [name for name in aws.operations[operations:] if name != "GetItem"] == []
    assert stored() == before
    lines = json_lines(out.getvalue())
    (line,) = [line for line in lines if line.get("level") == "WARNING"]
    assert line["message"].startswith(f"{event['detail-type']} is ignored: ")
    assert reason in line["message"]
    assert [line["EndingIgnored"] for line in lines if "EndingIgnored" in line] == [[1.0]]


def open_records() -> list[dict[str, Any]]:
    return boto3.client("dynamodb").scan(TableName="idempotency", IndexName="open-jobs")["Items"]


def outcome(answer: Mapping[str, Any], consumer: str) -> Any:
    (found,) = [entry["outcomes"] for entry in answer["consumers"] if entry["name"] == consumer]
    return found[0] if found else None


def provisioned(handler: Application, codebuild: CodeBuildServer, **changes: Any) -> dict[str, Any]:
    """Provision a tenant and return its build."""
    invoke(handler, sample("tenant-provisioning", **changes))
    return codebuild.builds[-1]
