"""A CodeBuild server for tests; unlike moto's, it keeps variables and idempotency tokens."""

import json
import threading
import uuid
from collections.abc import Collection
from types import TracebackType
from typing import Any, Self

from orchestrator.local.http_server import Answer, LocalServer, Request

ACCOUNT = "arn:aws:codebuild:eu-west-1:123456789012"
TOKEN_LIFETIME_SECONDS = 300
_PAGE = 100


class CodeBuildServer:
    """Serves the CodeBuild operations that the package uses, on loopback; only `advance` moves its clock.

    Attributes:
        url: The value for `AWS_ENDPOINT_URL_CODEBUILD`.
        next: Scripts faults for the next requests.
        builds: Every build, oldest first.
    """

    def __init__(self, projects: Collection[str] = (), *, now: float = 0.0) -> None:
        self.projects = set(projects)
        self.builds: list[dict[str, Any]] = []
        self.now = now
        self._tokens: dict[str, tuple[float, dict[str, Any], dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._http = LocalServer(self._respond)
        self.url = f"{self._http.scheme}://{self._http.address}"
        self.requests = self._http.requests
        self.next = self._http.script

    def __enter__(self) -> Self:
        self._http.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.stop()

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def variables(self, build: dict[str, Any]) -> dict[str, str]:
        return {entry["name"]: entry["value"] for entry in build["environment"]["environmentVariables"]}

    def finish(self, build: dict[str, Any], status: str = "SUCCEEDED", **exported: str) -> None:
        """End a build with this status, also of its phase BUILD, and with exported variables."""
        with self._lock:
            build["buildStatus"] = status
            build["phases"] = [{"phaseType": "BUILD", "phaseStatus": status}, {"phaseType": "COMPLETED"}]
            variables = [{"name": name, "value": value} for name, value in exported.items()]
            build["exportedEnvironmentVariables"] = variables

    def _respond(self, request: Request) -> Answer:
        operation = request.headers["X-Amz-Target"].partition(".")[2]
        body = json.loads(request.body)
        with self._lock:
            match operation:
                case "StartBuild":
                    return self._start(body)
                case "ListBuildsForProject":
                    return self._list(body)
                case "BatchGetBuilds":
                    wanted = set(body["ids"])
                    assert len(wanted) <= _PAGE
                    return _json({"builds": [build for build in self.builds if build["id"] in wanted]})
        return _error("InvalidInputException")

    def _start(self, body: dict[str, Any]) -> Answer:
        project = body["projectName"]
        if project not in self.projects:
            return _error("ResourceNotFoundException")
        token = body.pop("idempotencyToken", None)
        known = self._tokens.get(token)
        if known is not None and self.now - known[0] < TOKEN_LIFETIME_SECONDS:
            return _json({"build": known[2]}) if known[1] == body else _error("InvalidInputException")
        name = f"{project}:{uuid.uuid4()}"
        build = {
            "id": name,
            "arn": f"{ACCOUNT}:build/{name}",
            "projectName": project,
            "buildStatus": "IN_PROGRESS",
            "startTime": self.now,
            "environment": {"environmentVariables": body["environmentVariablesOverride"]},
        }
        self.builds.append(build)
        if token is not None:
            self._tokens[token] = (self.now, body, build)
        return _json({"build": build})

    def _list(self, body: dict[str, Any]) -> Answer:
        if body["projectName"] not in self.projects:
            return _error("ResourceNotFoundException")
        ids = [build["id"] for build in reversed(self.builds) if build["projectName"] == body["projectName"]]
        start = int(body.get("nextToken", 0))
        answer: dict[str, Any] = {"ids": ids[start : start + _PAGE]}
        if len(ids) > start + _PAGE:
            answer["nextToken"] = str(start + _PAGE)
        return _json(answer)


def _json(body: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status, json.dumps(body), {"Content-Type": "application/x-amz-json-1.1"})


def _error(code: str) -> Answer:
    return _json({"__type": code, "message": "refused"}, 400)
