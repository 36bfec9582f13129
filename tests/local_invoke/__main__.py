"""Runs events in containers, with `sam local invoke` and in an image: `python -m tests.local_invoke`."""

import argparse
import contextlib
import json
import os
import platform
import shlex
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import urllib3

from orchestrator.cli.emulate import EMULATOR_PORT
from orchestrator.local import environment
from tests.local_invoke.podman import GATEWAY, Podman, alone
from tests.support.commands import run
from tests.support.events import changed, sample
from tests.support.lambda_runtime import ROOT

_EVENTS = ROOT / "events"
_DOCKERFILE = ROOT / "orchestrator" / "Dockerfile"
_START_SECONDS = 30
_ACCOUNT = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": environment.REGION}
# The statuses in an answer's outcomes; for a batch, the failed messages.
_EXPECTED: dict[str, list[Any]] = {
    "tenant-provisioning": ["saved", "started"],
    "sqs-batch": [],
    "scheduled-sweep": ["swept"],
}
_EXPECTED_BUILDS = {"premium-tenant-provisioning": 3, "basic-tenant-provisioning": 1}


class Sam:
    """The SAM CLI with this repository's template, for this machine's architecture."""

    def __init__(self, command: str, folder: Path, podman: Podman) -> None:
        machine = platform.machine()
        self.architecture = {"aarch64": "arm64"}.get(machine, machine)
        self._command = ["env", *shlex.split(command)]
        self._folder = folder
        self._overrides = ("--parameter-overrides", f"Architecture={self.architecture}")
        # Without credentials, SAM gives the function fake ones and calls no account.
        mine = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._environment = {
            **mine,
            **podman.environment,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "LAMBDA_ARCHITECTURE": self.architecture,
        }

    @property
    def artifact(self) -> Path:
        return self._folder / "OrchestratorFunction"

    def build(self) -> None:
        run(*self._command, "build", "--build-dir", self._folder, *self._overrides, environment=self._environment)

    def invoke(self, event: str, image: str, env_file: Path) -> tuple[str, str]:
        """Run one event; return the function's answer, as SAM prints it, and the container's log."""
        options = {
            "--config-file": ROOT / "samconfig.toml",
            "--template": self._folder / "template.yaml",
            "--event": _EVENTS / f"{event}.json",
            "--env-vars": env_file,
            "--invoke-image": image,
            "--add-host": f"host.docker.internal:{GATEWAY}",
        }
        flags = [word for option in options.items() for word in option]
        command = (*self._command, "local", "invoke", "--skip-pull-image", *flags, *self._overrides)
        return run(*command, environment=self._environment, seconds=180)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.local_invoke", description=__doc__)
    parser.add_argument("--sam", required=True, help="the command of the SAM CLI")
    options = parser.parse_args()
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # also stops everything on SIGTERM
    began = time.monotonic()
    try:
        architecture = prove(options.sam)
    except RuntimeError as error:
        print(f"sam local invoke: FAILED\n{error}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - began
    events = f"{len(_EXPECTED)} events handled in a container, and 1 in an image"
    print(f"sam local invoke: {events} ({architecture}), in {seconds:.0f} s")
    return 0


def prove(sam_command: str) -> str:
    """Build the function, run every event in a container, check the results, and return the architecture.

    Raises:
        RuntimeError: A step failed or an answer is wrong; the text includes the log.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="local-invoke-")))
        stack.enter_context(alone())
        podman = Podman(folder, cache_folder())
        sam = Sam(sam_command, folder / "build", podman)
        image = podman.image(sam_command)
        print("building the function", flush=True)
        sam.build()
        stack.enter_context(podman.service())
        url = stack.enter_context(environment.running_emulator("0.0.0.0", 0))  # noqa: S104 (for the container)
        env_file = folder / "env.json"
        shipped = (_EVENTS / "local" / "env.json").read_text()
        env_file.write_text(shipped.replace(f":{EMULATOR_PORT}", f":{url.rpartition(':')[2]}"))

        before = builds(url)
        for event in _EXPECTED:
            answer, log = sam.invoke(event, image, env_file)
            print(f"events/{event}.json: {answer.strip()}", flush=True)
            check(event, answer, log)
        settings = json.loads(env_file.read_text())["OrchestratorFunction"]
        answer = invoke_image(podman, podman.build(_DOCKERFILE, image, sam.artifact), settings)
        print(f"an image: {answer}", flush=True)
        check("tenant-provisioning", answer, "")
        if (started := builds(url) - before) != Counter(_EXPECTED_BUILDS):
            raise RuntimeError(f"the emulator has the new builds {dict(started)}, expected {_EXPECTED_BUILDS}")
    return sam.architecture


def invoke_image(podman: Podman, image: str, settings: Mapping[str, str]) -> str:
    """Run an image of the function, send it the event of a tenant of its own, and return the answer."""
    event = changed(sample("tenant-provisioning", id=str(uuid.uuid4())), "detail.tenant.id", "of-the-image")
    with podman.container(image, {**_ACCOUNT, **settings}) as url:
        for _ in range(_START_SECONDS * 10):
            try:
                return urllib3.request("POST", url, json=event, retries=False, timeout=60).data.decode()
            except urllib3.exceptions.HTTPError:
                time.sleep(0.1)
    raise RuntimeError(f"nothing answers at {url}")


def cache_folder() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "orchestrator-local-invoke"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def builds(url: str) -> Counter[str]:
    """Count the builds of each project."""
    codebuild = boto3.client(
        "codebuild",
        environment.REGION,
        endpoint_url=url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    return Counter(name.partition(":")[0] for name in codebuild.list_builds()["ids"])


def check(event: str, answer: str, log: str) -> None:
    try:
        body = json.loads(answer)
        found = body["batchItemFailures"] if "batchItemFailures" in body else statuses(body)
    except (ValueError, LookupError, TypeError):
        found = None
    if found != _EXPECTED[event]:
        raise RuntimeError(f"{event}: {found}, expected {_EXPECTED[event]}; the container's log:\n{log}")


def statuses(answer: dict[str, Any]) -> list[str]:
    return [outcome["status"] for consumer in answer["consumers"] for outcome in consumer["outcomes"]]


if __name__ == "__main__":
    sys.exit(main())
