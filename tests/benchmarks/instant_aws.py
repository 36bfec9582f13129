"""An AWS on loopback that answers at once, so that benchmarks measure only its clients.

    python -m tests.benchmarks.instant_aws [START_SECONDS [TABLE_SECONDS]]

prints its address and serves until standard input ends. Each StartBuild takes START_SECONDS, and each request to a
table TABLE_SECONDS.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from subprocess import PIPE, Popen
from typing import Any

from orchestrator.local.http_server import Answer, LocalServer, Request

_ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "GetItem": {"Item": {"tier": {"S": "PREMIUM"}, "jobName": {"S": "premium-tenant-provisioning"}}},
    "StartBuild": {"build": {"id": "p:1", "arn": "arn:aws:codebuild:eu-west-1:123456789012:build/p:1"}},
}
# Lambda serves these to functions with SnapStart.
_CREDENTIALS = {
    "AccessKeyId": "testing",
    "SecretAccessKey": "testing",
    "Token": "testing",
    "Expiration": "2099-01-01T00:00:00Z",
}


class InstantAws(LocalServer):
    """Answers at once, or after delays, and records when the first job was requested."""

    def __init__(self, start_seconds: float = 0.0, table_seconds: float = 0.0) -> None:
        super().__init__(lambda request: Answer(500))
        self.started = 0.0
        self._start_seconds = start_seconds
        self._table_seconds = table_seconds

    def handle(self, request: Request) -> Answer | None:
        if request.path == "/credentials":
            return Answer(200, json.dumps(_CREDENTIALS), {"Content-Type": "application/json"})
        operation = request.headers["X-Amz-Target"].rpartition(".")[2]
        if operation == "StartBuild":
            self.started = self.started or time.perf_counter()
            time.sleep(self._start_seconds)
        else:
            time.sleep(self._table_seconds)
        return Answer(200, json.dumps(_ANSWERS.get(operation, {})), {"Content-Type": "application/x-amz-json-1.1"})


def environment(address: str) -> dict[str, str]:
    """Return the environment variables for a handler to use it."""
    return {
        "AWS_ENDPOINT_URL": f"http://{address}",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "TIER_DETAILS_TABLE": "tiers",
        "DATA_STORE_TABLE": "tenants",
        "IDEMPOTENCY_TABLE": "idempotency",
    }


@contextmanager
def running(start_seconds: float = 0.0, table_seconds: float = 0.0) -> Iterator[str]:
    """Serve in another process, so that its work is not measured, and return the address."""
    command = [sys.executable, "-m", __name__, str(start_seconds), str(table_seconds)]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        assert process.stdin is not None
        process.stdin.close()


if __name__ == "__main__":
    server = InstantAws(*map(float, sys.argv[1:]))
    server.start()
    print(server.address, flush=True)
    sys.stdin.read()
    server.stop()
