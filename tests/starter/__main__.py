"""Writes a project with the built wheel, and tests, builds and runs it: `python -m tests.starter`."""

import argparse
import contextlib
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any

from orchestrator.local import environment, sandbox
from tests.support.commands import run
from tests.support.lambda_runtime import PYTHON, ROOT, Function, copy_runtime

_JOBS = ("suspend-tenant", "tenants/scale-down")
_EVENT = "tenant-suspended.json"
_MARK = "of_another_wheel.py"
_MACHINES = {"aarch64": "arm64"}


class Project:
    """A project in an empty folder, with an environment in which only the wheel is installed."""

    def __init__(self, folder: Path, wheel: Path, sam: str) -> None:
        self.folder = folder / "work" / "my-tenants"
        self._sam = ["env", *shlex.split(sam)]
        venv = folder / "venv"
        run("uv", "venv", "--quiet", "--python", sys.executable, venv)
        install = ("uv", "pip", "install", "--quiet", "--python", venv / "bin" / "python")
        run(*install, "--constraint", ROOT / "tests" / "requirements.txt", f"{wheel}[local]", "mypy", "pytest")
        # LAMBDA_… stay, as a user may have them; make sets some of them to nothing.
        foreign = ("AWS_", "PYTHON", "MAKE")
        mine = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        machine = platform.machine()
        self._environment = {
            **mine,
            "PATH": os.pathsep.join([str(venv / "bin"), os.environ["PATH"]]),
            "LAMBDA_ARCHITECTURE": _MACHINES.get(machine, machine),
        }
        self.folder.parent.mkdir()
        run("orchestrator", "init", self.folder.name, environment=self._environment, folder=self.folder.parent)

    def run(self, *command: object, **variables: str) -> str:
        """Run a command in the project, and return its standard output."""
        return run(*command, environment={**self._environment, **variables}, folder=self.folder)[0]

    def sam(self, *arguments: str, **variables: str) -> None:
        self.run(*self._sam, *arguments, **variables)

    def build_for(self, python: str) -> None:
        """Build the artifact for a version of Python that this machine has."""
        makefile = self.folder / "Makefile"
        makefile.write_text(makefile.read_text().replace("LAMBDA_PYTHON := 3.13", f"LAMBDA_PYTHON := {python}"))

    @property
    def artifact(self) -> Path:
        return self.folder / ".aws-sam" / "build" / "OrchestratorFunction"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.starter", description=__doc__)
    parser.add_argument("--sam", required=True, help="the command of the SAM CLI")
    options = parser.parse_args()
    began = time.monotonic()
    try:
        prove(options.sam)
    except RuntimeError as error:
        print(f"orchestrator init: FAILED\n{error}", file=sys.stderr)
        return 1
    print(f"orchestrator init: a project from the wheel was tested, built and run, in {time.monotonic() - began:.0f} s")
    return 0


def prove(sam: str) -> None:
    """Do what the project's README says, and send an event to what it builds.

    Raises:
        RuntimeError: A step failed; the text includes its output.
    """
    with tempfile.TemporaryDirectory(prefix="starter-") as name:
        folder = Path(name)
        run("uv", "build", "--quiet", "--wheel", "--out-dir", folder / "dist", folder=ROOT)
        (wheel,) = (folder / "dist").glob("*.whl")
        project = Project(folder, wheel, sam)
        project.build_for(PYTHON)
        print(project.run("mypy", "--strict", "app.py", "consumers.py", "tests").strip(), flush=True)
        print(project.run("make", "test").strip().splitlines()[-1], flush=True)
        check("orchestrator invoke", json.loads(project.run("make", "--silent", "invoke")))
        project.sam("validate", "--lint")
        runtime = copy_runtime(folder / "runtime")
        project.sam("build")
        check("the artifact with the installed orchestrator", handled(project, runtime))
        project.sam("build", LAMBDA_ORCHESTRATOR=str(other_wheel(wheel)))
        if not (project.artifact / "orchestrator" / _MARK).exists():
            raise RuntimeError("LAMBDA_ORCHESTRATOR named another wheel, but the installed orchestrator was built in")
        check("the artifact with the orchestrator of another wheel", handled(project, runtime))


def other_wheel(wheel: Path) -> Path:
    """Return a copy of a wheel that has one more file in the package."""
    folder = wheel.parent / "other"
    folder.mkdir()
    other = Path(shutil.copy(wheel, folder))
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr(f"orchestrator/{_MARK}", "")
    return other


def handled(project: Project, runtime: Path) -> Any:
    """Let the artifact handle the project's event, with AWS and Jenkins emulated, and return its answer."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(environment.running_emulator("127.0.0.1", 0, _JOBS))
        jenkins = stack.enter_context(sandbox.jenkins(_JOBS))
        variables = {
            **environment.TABLES,
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": environment.REGION,
            "AWS_DEFAULT_REGION": environment.REGION,
            "JENKINS_URL": jenkins.url,
            "JENKINS_CREDENTIALS_SECRET": sandbox.JENKINS_SECRET,
        }
        function = stack.enter_context(Function(project.artifact, runtime, variables, "app.lambda_handler"))
        event = json.loads((project.folder / "events" / _EVENT).read_text())
        # The emulated AWS keeps what it has seen, so each call needs another event, of another tenant.
        own = {"id": str(uuid.uuid4()), "detail": {**event["detail"], "tenantId": str(uuid.uuid4())}}
        return function.invoke({**event, **own}).body


def check(step: str, answer: Any) -> None:
    """Raise `RuntimeError` unless both consumers of the project have started their jobs."""
    try:
        outcomes = [outcome for consumer in answer["consumers"] for outcome in consumer["outcomes"]]
        started = [outcome["name"] for outcome in outcomes if outcome["status"] == "started"]
    except (LookupError, TypeError):
        started = []
    if started != list(_JOBS):
        raise RuntimeError(f"{step} started {started}, expected {list(_JOBS)}: {answer}")
    print(f"{step} started {' and '.join(started)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
