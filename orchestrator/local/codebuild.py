"""An emulated CodeBuild.

In contrast to moto's CodeBuild, builds keep their environment variables, a repeated idempotency token starts no second
build, and a build runs until `CodeBuildServer.finish` ends it.
"""

import json
import threading
import uuid
from collections.abc import Collection
from typing import Any, Self

from orchestrator.local.http_server import Answer, LocalServer, Request

TOKEN_LIFETIME_SECONDS = 300
"""How long CodeBuild recognises a repeated request by its idempotency token."""

_ACCOUNT_ID = "123456789012"
_PAGE = 100


class CodeBuildServer:
    """Serves, on a loopback port, the CodeBuild operations that this package uses.

    The server's clock moves only when `advance` is called. The clock gives the builds' `startTime`, and determines when
    an idempotency token expires.

    Attributes:
        url: The server's URL, for the environment variable `AWS_ENDPOINT_URL_CODEBUILD`.
        projects: The names of the projects.
        builds: Every build, oldest first, in the form that BatchGetBuilds returns.
        now: The clock's time, in seconds since 1970.
        requests: Every request received, in order.
        next: The `http_server.Script` whose methods make the next requests fail.
    """

    def __init__(self, projects: Collection[str] = (), *, now: float = 0.0, region: str = "eu-west-1") -> None:
        """Bind a free port; a `with` block starts and stops the server.

        Args:
            projects: The names of the projects that exist at first. A client can create more.
            now: The time to which the clock is set at first, in seconds since 1970.
            region: The region in the ARNs of projects and builds.
        """
        self.projects = set(projects)
        self.builds: list[dict[str, Any]] = []
        self.now = now
        self._arn = f"arn:aws:codebuild:{region}:{_ACCOUNT_ID}"
        self._tokens: dict[str, tuple[float, dict[str, Any], dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._http = LocalServer(self._respond)
        self.url = f"{self._http.scheme}://{self._http.address}"
        self.requests = self._http.requests
        self.next = self._http.script

    def __enter__(self) -> Self:
        self._http.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.stop()

    def advance(self, seconds: float) -> None:
        """Move this server's clock forward."""
        self.now += seconds

    def variables(self, build: dict[str, Any]) -> dict[str, str]:
        """Return the environment variables of a build, by name."""
        return {entry["name"]: entry["value"] for entry in build["environment"]["environmentVariables"]}

    def finish(self, build: dict[str, Any], status: str = "SUCCEEDED", **exported: str) -> None:
        """End a build.

        Args:
            build: The build, one of `builds`.
            status: The final status of the build and of its phase `BUILD`, such as `TIMED_OUT`.
            exported: The environment variables that the build exports, by name.
        """
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
                case "CreateProject":
                    return self._create(body)
                case "StartBuild":
                    return self._start(body)
                case "ListBuildsForProject":
                    return self._list(body)
                case "BatchGetBuilds" if len(wanted := set(body["ids"])) <= _PAGE:
                    return _json({"builds": [build for build in self.builds if build["id"] in wanted]})
        return _error("InvalidInputException")

    def _create(self, body: dict[str, Any]) -> Answer:
        name = body["name"]
        if name in self.projects:
            return _error("ResourceAlreadyExistsException")
        self.projects.add(name)
        return _json({"project": {"name": name, "arn": f"{self._arn}:project/{name}"}})

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
            "arn": f"{self._arn}:build/{name}",
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
