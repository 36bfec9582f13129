"""Runs the built artifact with Lambda's own Python runtime client, against an emulated Runtime API.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import fcntl
import io
import json
import os
import platform
import queue
import shutil
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orchestrator.local.http_server import Answer, LocalServer, Request

ROOT = Path(__file__).parents[2]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
STANDARD_HANDLER = "orchestrator.handler.lambda_handler"
_API = "/2018-06-01/runtime"
_PATIENCE_SECONDS = 30.0
# Lambda provides only these; everything else must be in the artifact.
_RUNTIME = ("awslambdaric", "snapshot-restore-py", "simplejson")
_MACHINES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def build_once(artifact: Path, make: Callable[[Path], object]) -> Path:
    """Build an artifact and make it read-only, unless another test process has built it already."""
    with artifact.with_name(f"{artifact.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = artifact.with_name(f"{artifact.name}.done")
        if not done.exists():
            make(artifact)
            for entry in (artifact, *artifact.rglob("*")):
                entry.chmod(entry.stat().st_mode & ~0o222)
            done.touch()
    return artifact


def make_artifact(artifact: Path, python: str, environment: Mapping[str, str] = {}) -> str:
    """Run the Makefile target that `sam build` runs, and return its output."""
    artifact.mkdir()
    variables = {"LAMBDA_PYTHON": python, "LAMBDA_ARCHITECTURE": _MACHINES[platform.machine()]}
    # The build looks for Lambda's Python on PATH, so this Python's folder comes first.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"LAMBDA_PACKAGES": "", "LAMBDA_REQUIREMENTS": "", "LAMBDA_AWS_SERVICES": ""}
    return subprocess.run(
        ["make", "--silent", "build-OrchestratorFunction", *(f"{name}={value}" for name, value in variables.items())],  # noqa: S607
        cwd=ROOT,
        env={**os.environ, **own, "PATH": path, "ARTIFACTS_DIR": str(artifact), **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def zipped(folder: Path) -> bytes:
    """Zip a folder as the SAM CLI does, without times and with mode 0755, but in the order of the names."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            entry = zipfile.ZipInfo(str(file.relative_to(folder)))
            entry.create_system, entry.external_attr = 3, 0o100755 << 16
            archive.writestr(entry, file.read_bytes(), compress_type=zipfile.ZIP_DEFLATED)
    return written.getvalue()


def copy_runtime(folder: Path) -> Path:
    """Copy the runtime client to its own folder, so that no other installed package can be imported."""
    for name in _RUNTIME:
        for file in distribution(name).files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)
    return folder


@dataclass(frozen=True, slots=True)
class Reply:
    """A request of the runtime to the Runtime API: an invocation's result, or an error at the function's start."""

    path: str
    body: Any
    error_type: str | None


class Function:
    """One process that runs the function as Lambda does; `with` starts and stops it."""

    def __init__(
        self, artifact: Path, runtime: Path, variables: Mapping[str, str] = {}, handler: str = STANDARD_HANDLER
    ) -> None:
        self._command = [sys.executable, "-S", "-m", "awslambdaric", handler]
        self._artifact = artifact
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._replies: queue.Queue[Reply] = queue.Queue()
        self._http = LocalServer(self._respond)
        self.restored = False
        self._environment = {
            "AWS_LAMBDA_RUNTIME_API": self._http.address,
            "AWS_LAMBDA_FUNCTION_NAME": "orchestrator",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_LAMBDA_LOG_LEVEL": "INFO",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "LAMBDA_TASK_ROOT": str(artifact),
            "LAMBDA_RUNTIME_DIR": str(runtime),
            "PYTHONPATH": str(runtime),
            "TZ": ":UTC",
            "LANG": "en_US.UTF-8",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            **variables,
        }

    def __enter__(self) -> Self:
        self._http.start()
        self._process = subprocess.Popen(
            self._command,
            cwd=self._artifact,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self.output = self._process.communicate()[0]
        self._http.stop()

    def invoke(self, event: object) -> Reply:
        """Send one event and wait for the result."""
        self._events.put((str(uuid.uuid4()), event))
        return self.next_reply()

    def next_reply(self) -> Reply:
        """Wait for the runtime's next request to the Runtime API."""
        return self._replies.get(timeout=_PATIENCE_SECONDS)

    @property
    def log(self) -> list[dict[str, Any]]:
        """The JSON lines of the output, after the process has ended."""
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]

    def _respond(self, request: Request) -> Answer:
        if request.path == f"{_API}/invocation/next":
            name, event = self._events.get()
            deadline = int((time.time() + 60) * 1000)
            headers = {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": name,
                "Lambda-Runtime-Deadline-Ms": str(deadline),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:orchestrator",
                "Lambda-Runtime-Trace-Id": "Root=1-5e1b4151-5ac6c58dc39a6b9f4a5d3f3e;Sampled=0",
            }
            return Answer(200, json.dumps(event), headers)
        if request.path == f"{_API}/restore/next":
            self.restored = True
            return Answer(200)
        body = json.loads(request.body) if request.body else None
        error_type = request.headers.get("Lambda-Runtime-Function-Error-Type")
        self._replies.put(Reply(request.path.rpartition("/")[2], body, error_type))
        return Answer(202, json.dumps({"status": "OK"}))
